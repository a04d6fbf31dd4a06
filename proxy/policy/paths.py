"""The one form of a path, as the data plane makes it (fast/path.pxd), for what is compared with it.

Written for reading: split, decode, resolve. A test compares the two on many paths.
"""

import re
from typing import Final

_ESCAPE: Final = re.compile(rb"%(..?)?")
_HEX: Final = re.compile(rb"[0-9A-Fa-f]{2}")
_UNRESERVED: Final = re.compile(rb"[A-Za-z0-9._~-]")
_REFUSED: Final = b"\0/\\"


def normalize(path: bytes) -> bytes | None:
    """Return the one form of a path without a query; None: there is none that all read alike."""
    if not path.startswith(b"/") or b"\\" in path:
        return None
    try:
        decoded = _ESCAPE.sub(_decoded, path)
    except ValueError:
        return None
    resolved: list[bytes] = []
    segments = [segment for segment in decoded.split(b"/")[1:-1] if segment]
    segments.append(decoded.rpartition(b"/")[2])
    for segment in segments:
        if segment.startswith((b".;", b"..;")):
            return None
        if segment == b"..":
            resolved = resolved[:-1]
        elif segment != b".":
            resolved.append(segment)
    if segments[-1] in {b".", b".."}:
        resolved.append(b"")
    return b"/" + b"/".join(resolved)


def _decoded(escape: re.Match[bytes]) -> bytes:
    digits = escape[1] or b""
    if not _HEX.fullmatch(digits):
        raise ValueError
    byte = bytes([int(digits, 16)])
    if byte in _REFUSED:
        raise ValueError
    return byte if _UNRESERVED.fullmatch(byte) else b"%" + digits.upper()
