"""Whether the API server may come, and if not, what is missing."""

from typing import Final

CERTIFICATE: Final = "certificate"
CA_BUNDLE: Final = "caBundle"
DRAINING: Final = "draining"


class Health:
    """Named things that are still missing, each with the last that is known of it."""

    def __init__(self, *names: str) -> None:
        self._missing = dict.fromkeys(names, "not there yet")

    @property
    def missing(self) -> list[str]:
        """What is missing, and why; empty when ready."""
        return [f"{name}: {why}" if why else name for name, why in self._missing.items()]

    def done(self, name: str) -> None:
        """Note that something is there. It stays so when nobody can look any more."""
        self._missing.pop(name, None)

    def failed(self, why: str) -> None:
        """Note why what is missing still is."""
        self._missing = dict.fromkeys(self._missing, why)

    def withdraw(self, name: str, why: str = "") -> None:
        """Be ready no more."""
        self._missing[name] = why
