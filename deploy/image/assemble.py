"""Make the root filesystem of the image out of Debian packages and wheels.

Runs as root in the stage of deploy/Dockerfile that has the tools, with the standard library only:

    assemble.py TREE --wheels DIR [--epoch SECONDS]     the image, in the new directory TREE
    assemble.py TREE --debug                            what the -debug image has besides

A package is unpacked and not installed: no script of its runs, and nothing of it is left that only
a package manager needs. What is in it says /var/lib/dpkg/status.d, as scanners know it from
other images of this kind.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
PYTHON: Final = f"python{sys.version_info.major}.{sys.version_info.minor}"
PACKAGES: Final = Path("usr/local/lib", PYTHON, "dist-packages")
STATUS: Final = Path("var/lib/dpkg/status.d")
USER: Final = 1337  # of the proxy; the redirection knows it by this number (inject/reasons.py)

# Merged, as Debian has them: a package may still name either.
MERGED: Final = ("bin", "sbin", "lib", "lib64")

# Isolated: neither the environment nor the folder of a pod decides what is imported.
LAUNCHER: Final = f"""\
#!/usr/bin/{PYTHON} -IB
import sys

from proxy.cli import main

sys.exit(main())
"""
PASSWD: Final = f"""\
root:x:0:0:root:/root:/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin
remora:x:{USER}:{USER}:remora:/nonexistent:/sbin/nologin
"""
GROUP: Final = f"""\
root:x:0:
nogroup:x:65534:
remora:x:{USER}:
"""
# Where a runtime mounts; and what may be written to, if nothing is mounted there.
FOLDERS: Final = (
    *(("dev", 0o755), ("proc", 0o555), ("sys", 0o555), ("root", 0o700)),
    *(("etc", 0o755), ("run", 0o755), ("tmp", 0o1777), ("var", 0o755)),
)
ELF: Final = b"\x7fELF"


def rows(name: str) -> list[str]:
    """Return the lines of a list beside this file, without comments."""
    lines = (line.strip() for line in (HERE / name).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def run(*words: str | Path, cwd: Path | None = None) -> None:
    """Run a program; its words are ours, and its failure ends the build."""
    subprocess.run([str(word) for word in words], check=True, cwd=cwd)


def said(*words: str | Path) -> str:
    """Run a program and return what it printed."""
    return subprocess.check_output([str(word) for word in words], text=True)


def lay_out(tree: Path) -> None:
    """Make the folders, links and files that belong to no package."""
    tree.mkdir(mode=0o755)
    for name in MERGED:
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    for name, mode in FOLDERS:
        (tree / name).mkdir(exist_ok=True)
        (tree / name).chmod(mode)
    (tree / "var/run").symlink_to("/run")
    # Runtimes give what they mount there the mode that they find, and root as its owner.
    (tree / "run/remora").mkdir()
    (tree / "run/remora").chmod(0o1777)
    os.chown(tree / "run/remora", USER, USER)
    (tree / "etc/passwd").write_text(PASSWD, encoding="utf-8")
    (tree / "etc/group").write_text(GROUP, encoding="utf-8")


def unpack(tree: Path, names: Sequence[str]) -> None:
    """Put the files of Debian packages into the tree, and note which they were."""
    (tree / STATUS).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *names, cwd=Path(folder))
        for archive in sorted(Path(folder).glob("*.deb")):
            unpack_one(tree, archive)


def unpack_one(tree: Path, archive: Path) -> None:
    """Unpack an archive through the links of merged folders, which dpkg-deb -x would replace."""
    files = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE)
    run_tar = ["tar", "-x", "--keep-directory-symlink", "-C", str(tree)]
    subprocess.run(run_tar, check=True, stdin=files.stdout)
    if files.wait() != 0:
        sys.exit(f"assemble: {archive.name} cannot be unpacked")
    name = said("dpkg-deb", "--field", archive, "Package").strip()
    (tree / STATUS / name).write_text(said("dpkg-deb", "--field", archive), encoding="utf-8")


def install(tree: Path, wheels: Path) -> None:
    """Install the wheels, all of them and nothing else, and the command."""
    target = tree / PACKAGES
    found = sorted(wheels.glob("*.whl"))
    words = ("--quiet", "--no-index", "--no-deps", "--no-compile", "--target", target)
    run(sys.executable, "-m", "pip", "install", *words, *found)
    launcher = tree / "usr/local/bin/remora"
    launcher.parent.mkdir(parents=True, exist_ok=True)
    launcher.write_text(LAUNCHER, encoding="utf-8")
    launcher.chmod(0o755)


def install_applets(tree: Path) -> None:
    """Make a name for each of busybox' programs that no package has.

    The shell is dash: that of busybox takes its own programs before those of packages.
    """
    programs = tree / "usr/bin"
    (programs / "sh").unlink(missing_ok=True)
    (programs / "sh").symlink_to("dash")
    for name in said(programs / "busybox", "--list").split():
        if not any((tree / "usr" / folder / name).exists() for folder in ("bin", "sbin")):
            (programs / name).symlink_to("busybox")


def trim(tree: Path, patterns: Iterable[str]) -> None:
    """Take out what the patterns name."""
    for path in (path for pattern in patterns for path in tree.glob(pattern)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    for path in sorted(tree.glob("usr/share/doc/**/*"), reverse=True):
        if path.name != "copyright" and not path.is_dir():
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def strip(tree: Path) -> None:
    """Take symbols off the extensions of wheels; ours keeps its functions' names, for profilers."""
    for path in (tree / PACKAGES).rglob("*.so"):
        is_ours = path.parent.name == "proxy"
        run("strip", "--strip-debug" if is_ours else "--strip-unneeded", path)


def compile_all(tree: Path) -> None:
    """Write byte code, which no container could keep, and which never asks whether it is stale."""
    for folder in (Path("usr/lib", PYTHON), PACKAGES):
        words = ("-q", "--invalidation-mode", "unchecked-hash", "-s", tree, "-p", "/")
        run(f"/usr/bin/{PYTHON}", "-m", "compileall", *words, tree / folder)


def everything(tree: Path) -> Iterator[Path]:
    """Yield all paths below the tree, and it last."""
    yield from sorted(tree.rglob("*"), reverse=True)
    yield tree


def date(tree: Path, epoch: int) -> None:
    """Give everything the same time, so that the same input makes the same image."""
    for path in everything(tree):
        os.utime(path, (epoch, epoch), follow_symlinks=False)


def main() -> None:
    """Make one tree."""
    parser = argparse.ArgumentParser()
    parser.add_argument("tree", type=Path)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--debug", action="store_true")
    parser.add_argument("--epoch", type=int, default=0)
    words = parser.parse_args()
    os.umask(0o022)
    tree: Path = words.tree
    lay_out(tree)
    if words.debug:
        unpack(tree, rows("debug.packages"))
        install_applets(tree)
    else:
        unpack(tree, rows("run.packages"))
        install(tree, words.wheels)
    trim(tree, rows("trimmed"))
    if not words.debug:
        strip(tree)
        compile_all(tree)
    date(tree, words.epoch)


if __name__ == "__main__":
    main()
