"""An image as files: read, packed into one archive, and unpacked into a tree."""

import io
import json
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Json = dict[str, Any]

ARCHITECTURES: Final = {"amd64", "arm64"}


@dataclass(frozen=True)
class Image:
    """What an OCI layout says of its one image: digests as `sha256:...`."""

    digest: str
    config_digest: str
    config: Json
    layers: tuple[str, ...]
    layers_bytes: int


def blob(digest: str) -> str:
    """Return where a layout has it."""
    return f"blobs/{digest.replace(':', '/')}"


def read(layout: Path) -> Image:
    """Read a layout of one image."""

    def load(name: str) -> Json:
        found: Json = json.loads((layout / name).read_text(encoding="utf-8"))
        return found

    (entry,) = load("index.json")["manifests"]
    manifest = load(blob(entry["digest"]))
    return Image(
        entry["digest"],
        manifest["config"]["digest"],
        load(blob(manifest["config"]["digest"])),
        tuple(layer["digest"] for layer in manifest["layers"]),
        sum(layer["size"] for layer in manifest["layers"]),
    )


def pack(layout: Path, image: Image, name: str, target: Path, epoch: int) -> None:
    """Write the layout as one archive, with the file by which `docker load` finds its way.

    Docker before 25 reads manifest.json and no index; containerd and podman read either.
    """
    entry = {
        "Config": blob(image.config_digest),
        "RepoTags": [name],
        "Layers": [blob(layer) for layer in image.layers],
    }
    files = {str(path.relative_to(layout)): path for path in layout.rglob("*") if path.is_file()}
    with tarfile.open(target, "w") as made:
        _add(made, "manifest.json", json.dumps([entry]).encode(), epoch)
        for inside in sorted(files):
            _add(made, inside, files[inside].read_bytes(), epoch)


def _add(made: tarfile.TarFile, name: str, content: bytes, epoch: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(content), epoch, 0o644
    made.addfile(entry, io.BytesIO(content))


def unpack(layout: Path, image: Image, tree: Path) -> None:
    """Put the layers above each other, as a runtime does. They take nothing away again."""
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for layer in image.layers:
        words = ["tar", "-xzpf", str(layout / blob(layer)), "--numeric-owner", "-C", str(tree)]
        subprocess.run(words, check=True)


def size(tree: Path) -> int:
    """Return the bytes of all files, each link of a file counted once."""
    found = (path.lstat() for path in tree.rglob("*"))
    return sum({each.st_ino: each.st_size for each in found}.values())
