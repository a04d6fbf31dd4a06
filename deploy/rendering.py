"""`python -m deploy.rendering HELM`: what is made of the chart, written anew. See `make manifests`.

- deploy/manifests/remora.yaml, the plain manifests: the chart with its defaults
- tests/unit/deploy/rendered/: the chart with other values, so that tests without Helm see it, too
- the table of values in deploy/chart/README.md
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import yaml

DEPLOY: Final = Path(__file__).resolve().parent
CHART: Final = DEPLOY / "chart"
PLAIN: Final = DEPLOY / "manifests" / "remora.yaml"
TESTS: Final = DEPLOY.parent / "tests" / "unit" / "deploy"
NAMESPACE: Final = "remora-system"
# The oldest one that is supported, and the same with every Helm.
KUBERNETES: Final = "1.29.0"
# Values that are tried besides the defaults, each with where its rendering is kept.
SETS: Final = {
    "ha": CHART / "values-ha.yaml",
    **{path.stem: path for path in sorted((TESTS / "values").glob("*.yaml"))},
}
HEADING: Final = "# Made of deploy/chart by `make manifests`: change it there.\n"
TABLE_BEGINS: Final = "<!-- of values.yaml, by `make manifests` -->\n"
TABLE_ENDS: Final = "<!-- end -->\n"
_MARK: Final = "# -- "


class Row(NamedTuple):
    """A value: its name with dots, its default as JSON, what it is."""

    name: str
    default: str
    text: str


def rendered(helm: str, *values: Path) -> str:
    """Return what Helm makes of the chart with files of values. Raises CalledProcessError."""
    flags = [word for path in values for word in ("--values", str(path))]
    words = [helm, "template", "remora", str(CHART), "--namespace", NAMESPACE]
    words += ["--kube-version", KUBERNETES, *flags]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return HEADING + done.stdout


def rows() -> list[Row]:
    """Return the values of the chart in their order. Raises ValueError for one that is untold."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    return list(_rows(yaml.compose(text, yaml.SafeLoader), text.splitlines(), ()))


def _rows(node: yaml.Node | None, lines: list[str], above: tuple[str, ...]) -> Iterator[Row]:
    assert isinstance(node, yaml.MappingNode), above  # noqa: S101 - the file is ours
    for key, value in node.value:
        names = (*above, key.value)
        before = lines[key.start_mark.line - 1].strip()
        if before.startswith(_MARK):
            default = yaml.safe_load(yaml.serialize(value))
            yield Row(".".join(names), json.dumps(default), before.removeprefix(_MARK))
        elif isinstance(value, yaml.MappingNode) and value.value:
            yield from _rows(value, lines, names)
        else:
            raise ValueError(f"{'.'.join(names)} has no {_MARK}above it")


def with_table(page: str) -> str:
    """Return the README with the table of today."""
    before, _, rest = page.partition(TABLE_BEGINS)
    after = rest.partition(TABLE_ENDS)[2]
    table = ["| value | default | |", "|---|---|---|"]
    table += [f"| `{row.name}` | `{row.default}` | {row.text} |" for row in rows()]
    return f"{before}{TABLE_BEGINS}\n" + "\n".join(table) + f"\n\n{TABLE_ENDS}{after}"


def main() -> int:
    """Write all of it; return the exit code."""
    (helm,) = sys.argv[1:]
    try:
        PLAIN.write_text(rendered(helm), encoding="utf-8")
        for name, path in SETS.items():
            (TESTS / "rendered" / f"{name}.yaml").write_text(rendered(helm, path), encoding="utf-8")
    except subprocess.CalledProcessError as fault:
        sys.stderr.write(fault.stderr)
        return 1
    page = CHART / "README.md"
    page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
