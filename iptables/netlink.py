"""Addresses of this network namespace, by rtnetlink: list them, add one to lo, remove one.

Three requests do not need a library, nor the program `ip` in the image. Only the socket knows of
the namespace: it belongs to the one in which it was opened.
"""

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from iptables.spec import Address

# linux/netlink.h and linux/rtnetlink.h
_REQUEST: Final = 0x001
_ACK: Final = 0x004
_DUMP: Final = 0x300
_EXCLUSIVE: Final = 0x200
_CREATE: Final = 0x400
_ERROR: Final = 2
_DONE: Final = 3
_NEW_ADDRESS: Final = 20
_DELETE_ADDRESS: Final = 21
_GET_ADDRESS: Final = 22

# linux/if_addr.h
_ADDRESS: Final = 1
_LOCAL: Final = 2
_FLAGS: Final = 8
_PROTOCOL: Final = 11
_NO_DAD: Final = 0x02
_TENTATIVE: Final = 0x40

_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_BODY: Final = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, interface
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, type
_RECEIVE_BYTES: Final = 1 << 16

# Marks the address as added by us (IFA_PROTO, Linux 5.18; older kernels drop it). The kernel's own
# numbers end at 3; "R" is in nobody's way.
OUR_PROTOCOL: Final = ord("R")


@dataclass(frozen=True)
class Interface:
    """An address on an interface."""

    address: Address
    prefix_length: int
    index: int
    protocol: int  # who added it; 0 where the kernel does not say
    is_tentative: bool


def _attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = data[_ATTRIBUTE.size : length]
        data = data[length + (-length % 4) :]
    return found


def _ask(kind: int, flags: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """Send one request; give type and body of each answer, or raise OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as sock:
        sock.bind((0, 0))
        sock.send(_HEADER.pack(_HEADER.size + len(body), kind, flags | _REQUEST, 1, 0) + body)
        while True:
            data = sock.recv(_RECEIVE_BYTES)
            while data:
                length, answer, _, _, _ = _HEADER.unpack_from(data)
                content, data = data[_HEADER.size : length], data[length + (-length % 4) :]
                if answer == _DONE:
                    return
                if answer == _ERROR:
                    code = -struct.unpack_from("=i", content)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return
                yield answer, content


def addresses() -> list[Interface]:
    """Give every address of both families."""
    found = []
    for answer, content in _ask(_GET_ADDRESS, _DUMP, _BODY.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
        if answer != _NEW_ADDRESS:
            continue
        family, prefix_length, flags, _, index = _BODY.unpack_from(content)
        attributes = _attributes(content[_BODY.size :])
        packed = attributes.get(_LOCAL) or attributes.get(_ADDRESS)
        if family not in (socket.AF_INET, socket.AF_INET6) or packed is None:
            continue
        found.append(
            Interface(
                ipaddress.ip_address(packed),
                prefix_length,
                index,
                attributes.get(_PROTOCOL, b"\0")[0],
                bool(flags & _TENTATIVE),
            )
        )
    return found


def _change_loopback(kind: int, flags: int, address: IPv6Address) -> None:
    loopback = socket.if_nametoindex("lo")
    body = _BODY.pack(socket.AF_INET6, address.max_prefixlen, 0, 0, loopback)
    body += _attribute(_ADDRESS, address.packed) + _attribute(_LOCAL, address.packed)
    # No duplicate detection: nobody else is on lo, and the address must serve at once.
    body += _attribute(_FLAGS, struct.pack("=I", _NO_DAD))
    body += _attribute(_PROTOCOL, bytes([OUR_PROTOCOL]))
    for _ in _ask(kind, flags | _ACK, body):
        pass


def add_to_loopback(address: IPv6Address) -> bool:
    """Add the address to lo, marked as ours. Returns False if it was there; raises OSError."""
    try:
        _change_loopback(_NEW_ADDRESS, _CREATE | _EXCLUSIVE, address)
    except OSError as error:
        if error.errno == errno.EEXIST:
            return False
        raise
    return True


def remove_from_loopback(address: IPv6Address) -> bool:
    """Remove the address from lo. Returns False if it was not there; raises OSError."""
    try:
        _change_loopback(_DELETE_ADDRESS, 0, address)
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            return False
        raise
    return True
