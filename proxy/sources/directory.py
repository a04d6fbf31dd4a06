"""Objects from a directory, noticed when it changes."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.sources.objects import Objects
from proxy.sources.strict import Fault, FaultsError

if TYPE_CHECKING:
    from proxy.sources.loading import Found

SUFFIXES: Final = (".yaml", ".yml", ".json")
# Two looks this far apart must agree before a change is read: writers take their time.
SETTLE_S: Final = 0.1
# A directory in which files are swapped all the time never stands still: then it is read anyway.
UNSETTLED_S_MAX: Final = 1.0
FILES_MAX: Final = 10_000


class _Look(NamedTuple):
    """What tells whether a file changed: another inode, size or time, links followed."""

    name: str
    inode: int
    size: int
    changed_ns: int


class ManifestDirectory:
    """Looks at a directory whenever it is told to. No thread, no timer.

    Looking is one stat(2) a file: it sees plain writes, renames, and the swap of the link `..data`
    by which the kubelet changes all files of a volume at once. Names that begin with a dot are
    not looked at.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._read: list[_Look] | None = None
        self._seen: list[_Look] | None = None
        self._seen_s = 0.0
        self._moved_s = 0.0
        self._found: dict[_Look, Found] = {}

    @property
    def is_settling(self) -> bool:
        """Whether a change was seen that is not read yet: look again after SETTLE_S."""
        return self._seen is not None and self._seen != self._read

    def look(self, now_s: float, on_change: Callable[[], None]) -> None:
        """Call `on_change` for what changed and then stood still for SETTLE_S.

        Whole files that are swapped in are also read while others follow, so that one who never
        rests cannot keep an old state in force. What grows in place is waited for: half of a YAML
        file may look like a whole one.
        """
        looks = self._looks()
        if looks == self._read:
            self._seen = looks
            return
        if looks != self._seen:
            before, before_s = self._seen, self._seen_s
            self._seen, self._seen_s = looks, now_s
            if before == self._read:
                self._moved_s = now_s
            is_late = now_s - self._moved_s >= UNSETTLED_S_MAX and now_s - before_s >= SETTLE_S
            if not is_late or _is_written(before, looks):
                return
        elif now_s - self._seen_s < SETTLE_S:
            return
        on_change()

    def load(self) -> Objects:
        """Read every object now. Raises FaultsError with all that is wrong."""
        objects, faults = self.survey()
        if faults:
            raise FaultsError(faults)
        return objects

    def survey(self) -> tuple[Objects, list[Fault]]:
        """Read every object now; return what could be read, and what is wrong.

        Files that look as they did are not read again.
        """
        from proxy.sources.loading import join, read_file  # noqa: PLC0415 - PyYAML: only who uses it

        self._read = self._seen = self._looks()
        if self._read is None:
            return Objects(), [Fault(str(self.directory), 0, "", "", "is no directory to read")]
        if len(self._read) > FILES_MAX:
            text = f"has {len(self._read)} files; {FILES_MAX} are the most"
            return Objects(), [Fault(str(self.directory), 0, "", "", text)]
        known = self._found
        self._found = {
            look: known[look] if look in known else read_file(self.directory / look.name)
            for look in self._read
        }
        return join(self._found.values())

    def _looks(self) -> list[_Look] | None:
        looks = []
        try:
            for name in sorted(os.listdir(self.directory)):  # noqa: PTH208 - names are enough
                if name.startswith(".") or not name.endswith(SUFFIXES):
                    continue
                found = os.stat(self.directory / name)  # noqa: PTH116 - as Path.stat, in half the time
                if stat.S_ISREG(found.st_mode):
                    looks.append(_Look(name, found.st_ino, found.st_size, found.st_mtime_ns))
        except OSError:
            return None  # gone, or between two states: the next look knows more
        return looks


def _is_written(before: list[_Look] | None, now: list[_Look] | None) -> bool:
    """Whether a file that was there before changed, or that cannot be told."""
    if before is None or now is None:
        return True
    files = {look.inode: look for look in before}
    return any(files.get(look.inode, look) != look for look in now)
