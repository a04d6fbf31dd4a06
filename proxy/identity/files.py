"""Identity from a directory, as others put it there, and noticed when it changes.

Layouts: `tls.key`, `tls.crt`, `ca.crt` (cert-manager's csi-driver-spiffe, Kubernetes secrets); or
one file with the key and then the chain (`credentialbundle.pem`, a PodCertificate volume, KEP-4317)
beside `ca.crt` (a ClusterTrustBundle or ConfigMap).
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from proxy.identity.material import Material, MaterialError, load

KEY: Final = "tls.key"
CHAIN: Final = "tls.crt"
BUNDLE: Final = "ca.crt"
COMBINED: Final = "credentialbundle.pem"
FILE_BYTES_MAX: Final = 1 << 20

# Two looks this far apart must agree before a change is read: writers take their time.
SETTLE_S: Final = 0.1


class _Look(NamedTuple):
    """What tells whether a file changed: another inode, size or time, links followed."""

    inode: int
    size: int
    changed_ns: int


def read_directory(directory: Path) -> Material:
    """Read and check what lies there now; raises MaterialError naming the directory."""
    combined = directory / COMBINED
    try:
        bundle = _read(directory / BUNDLE)
        if combined.exists():
            both = _read(combined)
            return load(both, both, bundle)
        return load(_read(directory / KEY), _read(directory / CHAIN), bundle)
    except OSError as fault:
        where = fault.filename or directory
        raise MaterialError(f"{where}: {fault.strerror or fault}") from fault
    except MaterialError as fault:
        raise MaterialError(f"{directory}: {fault}") from fault


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        text = file.read(FILE_BYTES_MAX + 1)
    if len(text) > FILE_BYTES_MAX:
        raise MaterialError(f"{path.name} is larger than {FILE_BYTES_MAX} bytes")
    return text


class DirectorySource:
    """Looks at a directory whenever it is told to, and tells what is new. No thread, no timer.

    Looking is a few stat(2) calls: it sees plain writes, renames, and the swap of the link `..data`
    by which the kubelet changes all files at once.
    """

    def __init__(
        self,
        directory: Path,
        on_new: Callable[[Material], None],
        on_bad: Callable[[MaterialError], None],
    ) -> None:
        self._directory = directory
        self._on_new = on_new
        self._on_bad = on_bad
        self._read: list[_Look | None] = []
        self._seen: list[_Look | None] = []
        self._seen_s = 0.0
        self._fingerprint = ""

    def look(self, now_s: float) -> None:
        """Read what changed and then stood still for SETTLE_S; `now_s` is a monotonic clock."""
        looks = [_look(self._directory / name) for name in (KEY, CHAIN, BUNDLE, COMBINED)]
        if looks == self._read:
            return
        if looks != self._seen:
            self._seen, self._seen_s = looks, now_s
            return
        if now_s - self._seen_s < SETTLE_S:
            return
        self._read = looks
        self.load()

    def adopt(self, material: Material) -> None:
        """Take what the caller has read already as what was read last."""
        self._fingerprint = material.fingerprint

    def load(self) -> None:
        """Read now. What is bad is told, and the identity before stays."""
        try:
            material = read_directory(self._directory)
        except MaterialError as fault:
            self._on_bad(fault)
            return
        if material.fingerprint != self._fingerprint:
            self._fingerprint = material.fingerprint
            self._on_new(material)


def _look(path: Path) -> _Look | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - follows links, as Path.stat does, in half the time
    except OSError:
        return None
    return _Look(found.st_ino, found.st_size, found.st_mtime_ns)
