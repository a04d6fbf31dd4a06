"""How the init step ends: exit codes that an operator's scripts may rely on, and its one error."""

from enum import IntEnum


class Exit(IntEnum):
    """Numbers from sysexits.h where it has a word; 126 is what service meshes use."""

    OK = 0
    USAGE = 64
    UNAVAILABLE = 69  # a tool or a kernel module is missing
    NOT_APPLIED = 70
    PORT_IN_USE = 71
    NOT_VALID = 126


class InitError(Exception):
    """The step cannot go on. `causes` are sentences for the operator, the main one first."""

    def __init__(self, code: Exit, *causes: str) -> None:
        super().__init__("; ".join(causes))
        self.code = code
        self.causes = causes
