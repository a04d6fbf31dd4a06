"""Addresses of objects, in the spelling that flags have."""

import socket
from typing import Final

from proxy import values
from proxy.sources.strict import Value
from proxy.values import Address

PORT_MAX: Final = values.PORT_MAX


def read_ip(value: Value) -> str:
    """Read an IP address."""
    text = value.text()
    try:
        socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        pass
    else:
        return text  # the system takes one spelling only
    try:
        return values.endpoint(str(Address(text, 1))).host
    except ValueError:
        raise value.fault(f"{text!r} is no IP address") from None


def read_port(value: Value) -> int:
    """Read the number of a port."""
    return value.between(1, PORT_MAX)
