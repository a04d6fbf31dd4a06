"""Text of a flag or variable → value. Every parser raises ValueError with the end of a sentence.

The sentence begins with the flag and the offending word, so a message here reads
"is not a duration (write 500ms, 5s, 1m or 1h)".
"""

import re
import socket
from collections.abc import Callable
from typing import Final, NamedTuple

PORT_MAX: Final = 65535
SOCKET_PATH_BYTES_MAX: Final = 107  # sun_path has 108 with the final NUL, unix(7)

_KEEPALIVE_S_MAX: Final = 32_767  # the kernel's bound of TCP_KEEPIDLE and TCP_KEEPINTVL
_KEEPALIVE_COUNT_MAX: Final = 127  # and of TCP_KEEPCNT
_KEEPALIVE_COUNT: Final = 3

_MAPPED: Final = bytes(10) + b"\xff\xff"  # RFC 4291 section 2.5.5.2: this is an IPv4 address

_UNIT_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)", re.ASCII)
_UNIT_BYTES: Final = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE: Final = re.compile(r"(\d{1,9})(|KiB|MiB|GiB)", re.ASCII)
_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)
_NAME_CHARACTERS_MAX: Final = 253  # RFC 1035 section 2.3.4, without the root's empty label


class Address(NamedTuple):
    """An IP address (or a name, where one is allowed) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return the text that `address` reads."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_ipv6(self) -> bool:
        """Whether the host is an IPv6 address."""
        return ":" in self.host


class Forward(NamedTuple):
    """An explicit listener: what arrives at `listen` goes to `target`."""

    listen: Address
    target: Address

    def __str__(self) -> str:
        """Return the text that `forward` reads."""
        return f"{self.listen}={self.target}"


class Keepalive(NamedTuple):
    """TCP keepalive: first probe after `idle_s` (0: never), then `probes` `interval_s` apart."""

    idle_s: int
    interval_s: int
    probes: int


def is_ip(host: str) -> bool:
    """Whether `host` is the text of an IPv4 or IPv6 address (no brackets, no zone)."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False


def _split_port(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError("has no port (write ADDRESS:PORT, an IPv6 address in brackets)")
    if not (port.isascii() and port.isdigit()) or int(port) > PORT_MAX:
        raise ValueError(f"has a bad port {port!r} (0 to {PORT_MAX})")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            raise ValueError("has brackets around something that is not an IPv6 address")
    elif ":" in host:
        raise ValueError("needs brackets around the IPv6 address: [ADDRESS]:PORT")
    return Address(host, int(port))


def address(text: str) -> Address:
    """Read "127.0.0.1:80" or "[::1]:80". Port 0 lets the system choose."""
    parsed = _split_port(text)
    if not is_ip(parsed.host):
        raise ValueError(f"has a bad IP address {parsed.host!r}")
    return parsed


def endpoint(text: str) -> Address:
    """Read an address with a port other than 0; the same address always gives the same value."""
    host, port = address(text)
    if port == 0:
        raise ValueError("has port 0")
    if ":" in host:
        packed = socket.inet_pton(socket.AF_INET6, host)
        if packed.startswith(_MAPPED):
            return Address(socket.inet_ntop(socket.AF_INET, packed[len(_MAPPED) :]), port)
        host = socket.inet_ntop(socket.AF_INET6, packed)
    return Address(host, port)


def address_or_off(text: str) -> Address | None:
    """Read an address, or None for the word "off"."""
    return None if text == "off" else address(text)


def target(text: str) -> Address:
    """Read as `address` does, but a host name will do and the port cannot be 0."""
    parsed = _split_port(text)
    if not is_ip(parsed.host):
        is_name = _NAME.fullmatch(parsed.host) and len(parsed.host) <= _NAME_CHARACTERS_MAX
        # "10.0.0" or "1.2.3.400" is a mistyped address, and resolvers read some of those as one.
        if not is_name or parsed.host.replace(".", "").isdigit():
            raise ValueError(f"has a bad target {parsed.host!r} (an IP address or a name)")
    if parsed.port == 0:
        raise ValueError("has port 0 as its target")
    return parsed


def forward(text: str) -> Forward:
    """Read "127.0.0.1:8080=app.local:80"."""
    listen, equals, to = text.partition("=")
    if not equals:
        raise ValueError("has no target (write LISTEN:PORT=TARGET:PORT)")
    return Forward(address(listen), target(to))


def duration_ms(text: str) -> int:
    """Read "500ms", "5s", "1.5m", "1h", or "0": milliseconds."""
    if text == "0":
        return 0
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("is not a duration (write 500ms, 5s, 1m or 1h)")
    milliseconds = float(match[1]) * _UNIT_MS[match[2]]
    if milliseconds != int(milliseconds):
        raise ValueError("is finer than a millisecond")
    return int(milliseconds)


def size_bytes(text: str) -> int:
    """Read "0", "65536", "64KiB", "10MiB" or "1GiB"."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise ValueError("is not a size (write 65536, 64KiB, 10MiB or 1GiB)")
    return int(found[1]) * _UNIT_BYTES[found[2]]


def duration_between(low: str, high: str) -> Callable[[str], int]:
    """Return a parser of durations within two others, both included."""
    low_ms, high_ms = duration_ms(low), duration_ms(high)

    def parse(text: str) -> int:
        milliseconds = duration_ms(text)
        if not low_ms <= milliseconds <= high_ms:
            raise ValueError(f"is outside {low} to {high}")
        return milliseconds

    return parse


def integer_between(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of integers within two others, both included."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit()):
            raise ValueError(f"is not a whole number ({low} to {high})")
        if not low <= int(text) <= high:
            raise ValueError(f"is outside {low} to {high}")
        return int(text)

    return parse


def choice(*words: str) -> Callable[[str], str]:
    """Return a parser of one word out of some."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"is none of {', '.join(words)}")
        return text

    return parse


def switch(text: str) -> bool:
    """Read a flag without a value, or the word in its variable."""
    lowered = text.lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off"}:
        return False
    raise ValueError("is neither true nor false")


def keepalive(text: str) -> Keepalive:
    """Read "10s/5s/3": idle, interval, count of probes; later parts may be left out. Or "off"."""
    if text == "off":
        return Keepalive(0, 1, 1)
    idle, _, rest = text.partition("/")
    interval, _, count = rest.partition("/")
    probes = integer_between(1, _KEEPALIVE_COUNT_MAX)(count) if count else _KEEPALIVE_COUNT
    return Keepalive(_whole_seconds(idle), _whole_seconds(interval or idle), probes)


def _whole_seconds(text: str) -> int:
    milliseconds = duration_between("1s", f"{_KEEPALIVE_S_MAX}s")(text)
    if milliseconds % 1000:
        raise ValueError("is finer than a second")
    return milliseconds // 1000


def path(text: str) -> str:
    """Read an absolute path that fits a Unix socket's address."""
    if not text.startswith("/"):
        raise ValueError("is not an absolute path")
    if len(text.encode()) > SOCKET_PATH_BYTES_MAX:
        raise ValueError(f"is longer than the {SOCKET_PATH_BYTES_MAX} bytes of a socket's path")
    return text
