"""`--tls-dir`: tls.crt and tls.key as somebody puts them there, and noticed when they change."""

import asyncio
from pathlib import Path
from typing import Final

from inject.webhook.pair import PairError, checked
from inject.webhook.serving import Serving

CHAIN: Final = "tls.crt"
KEY: Final = "tls.key"
FILE_BYTES_MAX: Final = 1 << 20
LOOK_S: Final = 0.5  # a look reads two small files


class Directory:
    """Reads both files again and again: plain writes, renames, and links that are swapped."""

    def __init__(self, directory: Path, serving: Serving) -> None:
        self._directory = directory
        self._serving = serving
        self._seen: tuple[bytes, bytes] | None = None
        self._taken: tuple[bytes, bytes] | None = None

    async def keep(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            self._serving.watch()
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Take over what is good; tell of what is not once it stands still."""
        try:
            found = (self._read(CHAIN), self._read(KEY))
        except OSError as fault:
            where = fault.filename or self._directory
            self._serving.refuse(PairError(f"{where}: {fault.strerror or fault}"))
            return
        try:
            if found != self._taken:
                self._serving.adopt(checked(*found))
                self._taken = found
        except PairError as fault:
            # Writers take their time: a key that does not fit may be half of a change.
            if found == self._seen or self._taken is None:
                self._serving.refuse(PairError(f"{self._directory}: {fault}"))
        self._seen = found

    def _read(self, name: str) -> bytes:
        path = self._directory / name
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
        if len(text) > FILE_BYTES_MAX:
            raise OSError(0, f"is larger than {FILE_BYTES_MAX} bytes", str(path))
        return text
