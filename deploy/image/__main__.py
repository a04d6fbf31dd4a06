"""`make image`: the image, the debug image, their bills of materials, and how large they are."""

import sys

from deploy.image import build, lock, measure

USAGE = "usage: python -m deploy.image [build|debug|lock|measure]"


def main() -> int:
    """Do what the words say; build both images where there are none."""
    words = sys.argv[1:] or ["build", "debug"]
    if words == ["lock"]:
        lock.main()
        return 0
    if words == ["measure"]:
        return measure.main()
    targets = {"build": "remora", "debug": "debug"}
    if not set(words) <= targets.keys():
        print(USAGE, file=sys.stderr)
        return 64
    try:
        for word in words:
            print(build.build(targets[word]))
    except build.CannotBuild as reason:
        print(f"make image: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
