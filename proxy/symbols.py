"""OpenSSL's functions for the data plane: their addresses, from the wheel of `cryptography`.

The workers call the very library that made the contexts, without the interpreter in between. The
table is complete or there is no TLS: a wheel that lost a function is named, with its version.
"""

from collections.abc import Iterable
from typing import NamedTuple

from cryptography.hazmat.bindings._rust import _openssl

from proxy.errors import EXIT_SOFTWARE, StartError


class Callbacks(NamedTuple):
    """Functions of the workers that OpenSSL calls, as addresses, and what they make of it."""

    alpn: int  # which protocol is chosen
    keylog: int  # where traffic secrets go; 0: nowhere, records stay with OpenSSL
    message: int  # what is agreed on besides; 0 as well
    libcrypto: str  # what the workers read and write records with; "": with OpenSSL


def addresses(names: Iterable[str]) -> dict[str, int]:
    """Return where these functions are; raises StartError naming those that are missing."""
    ffi, lib = _openssl.ffi, _openssl.lib
    found, missing = {}, []
    for name in names:
        try:
            found[name] = int(ffi.cast("uintptr_t", ffi.addressof(lib, name)))
        except AttributeError:
            missing.append(name)
    if missing:
        raise StartError(
            f"{version()} of the package cryptography has no {', '.join(missing)}",
            "install the version of cryptography that remora names (pip install --upgrade remora)",
            EXIT_SOFTWARE,
        )
    return found


def version() -> str:
    """Return the version of OpenSSL inside, as it names itself."""
    text: bytes = _openssl.ffi.string(_openssl.lib.OpenSSL_version(0))
    return text.decode()
