"""Build the image where there is neither Docker nor a registry.

    base      Debian's own packages become the image that deploy/Dockerfile begins with (mmdebstrap)
    wheels    pip fetches the locked wheels, as this machine's pip is set up to
    image     buildah runs deploy/Dockerfile with both
    archive   one file that is an OCI layout and what `docker save` writes
    sbom      what is in it, as CycloneDX JSON

Everything is below build/image; what did not change is not built again.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.image import archive, lock, sbom

ROOT: Final = lock.ROOT
FOLDER: Final = ROOT / "build" / "image"
DOCKERFILE: Final = ROOT / "deploy" / "Dockerfile"
SUITE: Final = "bookworm"
BASE: Final = f"localhost/remora-base:{SUITE}"
TARGETS: Final[Mapping[str, str]] = {"remora": "", "debug": "-debug"}

# What goes into the image. Its last commit is the time of every file: a build can be repeated.
SOURCES: Final = (
    *("pyproject.toml", "README.md", "proxy", "iptables", "inject"),
    *("deploy/Dockerfile", "deploy/image", ".dockerignore"),
)
NEEDED: Final = {"mmdebstrap": "mmdebstrap", "buildah": "buildah", "tar": "tar", "git": "git"}


class CannotBuild(Exception):  # noqa: N818 - says what is the case, as its readers do
    """Something that the build needs is not on this machine; the text names it."""


@dataclass(frozen=True)
class Built:
    """One image: its name, its archive, its files, what it says of itself, what is in it."""

    name: str
    packed: Path
    tree: Path
    image: archive.Image
    sbom: Path

    def __str__(self) -> str:
        """Tell the sizes."""
        return (
            f"{self.name}: {self.image.layers_bytes / 1e6:.1f} MB to pull,"
            f" {archive.size(self.tree) / 1e6:.1f} MB on disk\n"
            f"  {self.packed.relative_to(ROOT)}\n  {self.sbom.relative_to(ROOT)}"
        )


def check_machine() -> None:
    """Raise CannotBuild where something is missing."""
    missing = [package for tool, package in NEEDED.items() if not shutil.which(tool)]
    if missing:
        raise CannotBuild(
            f"needs {', '.join(missing)} (Debian: apt-get install {' '.join(missing)})"
        )
    if os.geteuid() != 0:
        raise CannotBuild("needs root: buildah runs the steps of deploy/Dockerfile in a chroot")


def run(*words: str | Path, **environment: str) -> None:
    """Run a program, quietly unless it fails."""
    done = subprocess.run(
        [str(word) for word in words],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CannotBuild(f"{words[0]} failed:\n{done.stdout}")


def buildah(*words: str | Path) -> None:
    """Call buildah with a storage of its own, which `make clean` removes."""
    driver = os.environ.get("STORAGE_DRIVER", "overlay")
    places = ("--root", FOLDER / "storage", "--runroot", FOLDER / "storage-run")
    run("buildah", *places, "--storage-driver", driver, *words)


def epoch() -> str:
    """Return the time that files get: SOURCE_DATE_EPOCH, or that of the last change of SOURCES."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return given
    words = ["git", "log", "-1", "--format=%ct", "--", *SOURCES]
    return subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def make_base() -> None:
    """Make the image that the Dockerfile begins with, unless it is there."""
    made = FOLDER / "base.tar"
    if made.exists():
        return
    print(f"base: Debian {SUITE}, by mmdebstrap", flush=True)
    part = made.with_suffix(".part.tar")
    run("mmdebstrap", "--quiet", "--mode=root", "--variant=apt", SUITE, part)
    recipe = FOLDER / "base.Dockerfile"
    recipe.write_text(f"FROM scratch\nADD {part.name} /\n", encoding="utf-8")
    buildah("build", "-q", "--isolation=chroot", "-t", BASE, "-f", recipe, FOLDER)
    part.rename(made)


def make_wheels() -> Path:
    """Fetch what the locks name, unless it is there; return the folder."""
    texts = {part: (lock.HERE / f"{part}.lock").read_bytes() for part in lock.pinned()}
    folder = FOLDER / f"wheels-{hashlib.sha256(b''.join(texts.values())).hexdigest()[:12]}"
    if folder.exists():
        return folder
    print("wheels: by pip", flush=True)
    part_folder = folder.with_suffix(".part")
    for part in texts:
        words = [*lock.platform_words(platform.machine()), "--require-hashes"]
        place = part_folder / f"{part}-wheels"
        pip = (sys.executable, "-m", "pip", "download", "-q", "-d", place)
        run(*pip, *words, "-r", lock.HERE / f"{part}.lock")
    part_folder.rename(folder)
    return folder


def make_image(target: str, name: str, wheels: Path) -> None:
    """Run the Dockerfile."""
    print(f"image: {name}, by buildah", flush=True)
    arguments = {"BASE": BASE, "SOURCE_DATE_EPOCH": epoch()}
    buildah(
        *("build", "--isolation=chroot", "--layers", "--format=oci", "--identity-label=false"),
        *(f"--build-arg={key}={text}" for key, text in arguments.items()),
        *(f"--timestamp={epoch()}", f"--build-context=wheels={wheels}", f"--target={target}"),
        *("-t", f"localhost/{name}", "-f", DOCKERFILE, ROOT),
    )


@contextlib.contextmanager
def exported(target: str, name: str) -> Iterator[tuple[Path, archive.Image]]:
    """Build a target and lay it out in files, which are gone afterwards."""
    check_machine()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)  # another build waits here
        yield from _exported(target, name)


def _exported(target: str, name: str) -> Iterator[tuple[Path, archive.Image]]:
    make_base()
    layout = FOLDER / f"layout-{target}"
    shutil.rmtree(layout, ignore_errors=True)
    try:
        make_image(target, name, make_wheels())
        buildah("push", "-q", f"localhost/{name}", f"oci:{layout}:{name.split(':')[1]}")
        yield layout, archive.read(layout)
    finally:
        shutil.rmtree(layout, ignore_errors=True)
        buildah("rm", "--all")  # the working containers of all stages, which stay mounted


def wheel() -> Path:
    """Build the wheel that goes into the image, and return where it is."""
    folder = FOLDER / "wheel"
    with exported("wheel-file", f"remora-wheel:{sbom.version()}") as (layout, image):
        archive.unpack(layout, image, folder)
    (made,) = folder.glob("*.whl")
    return made


def build(target: str) -> Built:
    """Build an image, with its archive and its bill of materials."""
    tag = f"{sbom.version()}{TARGETS[target]}"
    name = f"remora:{tag}"
    packed = FOLDER / f"remora-{tag}.tar"
    tree = FOLDER / f"tree{TARGETS[target]}"
    with exported(target, name) as (layout, image):
        archive.pack(layout, image, name, packed, int(epoch()))
        archive.unpack(layout, image, tree)
    config = FOLDER / f"config{TARGETS[target]}.json"
    config.write_text(json.dumps(image.config), encoding="utf-8")
    bill = FOLDER / f"remora-{tag}.cdx.json"
    bill.write_text(sbom.text(tree, image, int(epoch())), encoding="utf-8")
    return Built(name, packed, tree, image, bill)
