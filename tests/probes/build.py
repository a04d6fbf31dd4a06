"""Test-only builds of proxy/fast: `built(name)` compiles one on demand and returns its path.

Each is made from the very .pxd files of the proxy. They live in build/probes, in folders named by
all that went into them: an edited .pxd means a new build, an unchanged tree means none. What Cython
makes of a source is shared by all builds of it, whatever their compiler.

CC and CFLAGS are honoured. Where ASan is loaded (.ci/sanitized) the compiler is the one of the
sanitizer build; it runs without ASan itself. ThreadSanitizer does not go with ASan: its builds have
gcc for a compiler, always.
"""

import fcntl
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
FOLDER: Final = ROOT / "build" / "probes"
EXTENSION: Final = ROOT / "proxy" / "_fastpath.pyx"
KEPT_BUILDS: Final = 6  # of one name: for each compiler, with and without the last edits

# Calls that tests/probes/faults.c can let fail; the linker leads them there.
MEMORY_CALLS: Final = ("malloc", "calloc", "realloc", "posix_memalign", "free")
FAULTY_CALLS: Final = (
    *MEMORY_CALLS,
    *("PyMem_RawCalloc", "PyMem_RawFree"),
    "dlsym",
    *("accept4", "bind", "connect", "epoll_create1", "epoll_ctl", "epoll_wait", "eventfd"),
    *("fcntl64", "getsockname", "getsockopt", "listen", "pipe2", "pthread_create", "read", "recv"),
    *("send", "setsockopt", "shutdown", "socket", "splice", "write"),
)

BASE: Final = ("-shared", "-fPIC", "-Wall", "-Wno-unused-function", "-fno-strict-aliasing", "-g")
DEBUG: Final = ("-DREMORA_DEBUG=1",)
FAULTS: Final = ("-DFAULTS_OF_CALLS=1",)
# Undefined behaviour ends the process by a trap: no sanitizer runtime has to be loaded first.
TRAPS: Final = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")


THREADS: Final = "-fsanitize=thread"


@dataclass(frozen=True)
class Build:
    """What one module is made of."""

    module: str  # name that its init function carries
    source: Path
    flags: tuple[str, ...]
    wrapped: tuple[str, ...] = ()  # calls that faults.c can let fail

    @property
    def command(self) -> list[str]:
        """The compiler and its flags; sources and output come after them."""
        wraps = [f"-Wl,--wrap={name}" for name in self.wrapped]
        include = "-I" + sysconfig.get_path("include")
        own = [*BASE, *self.flags, include, *wraps]
        if THREADS in self.flags:
            return ["gcc", *own]
        return [*compiler(), *own, *shlex.split(os.environ.get("CFLAGS", ""))]

    @property
    def faults(self) -> list[Path]:
        return [HERE / "faults.c"] if self.wrapped else []

    def key(self) -> str:
        """Hash of what the result depends on."""
        words = [*self.command, sys.version, key_of_code(self.source)]
        return hashed(words, self.faults)


BUILDS: Final = {
    "probe": Build("probe", HERE / "probe.pyx", (*DEBUG, "-O1", *TRAPS), MEMORY_CALLS),
    "http1": Build("http1", HERE / "http1.pyx", (*DEBUG, "-O2", *TRAPS)),
    "policy": Build("policy", HERE / "policy.pyx", (*DEBUG, "-O1", *TRAPS)),
    "records": Build("records", HERE / "records.pyx", (*DEBUG, "-O1", *TRAPS)),
    "decisions": Build("decisions", HERE / "decisions.pyx", (*DEBUG, "-O1", *TRAPS)),
    "decisions_release": Build("decisions", HERE / "decisions.pyx", ("-O2",)),
    "engine_faulty": Build("_fastpath", EXTENSION, (*DEBUG, *FAULTS, "-O0", *TRAPS), FAULTY_CALLS),
    "race": Build("race", HERE / "race.pyx", ("-O2",)),
    "race_tsan": Build("race", HERE / "race.pyx", ("-O1", THREADS)),
    "engine_tsan": Build("_fastpath", EXTENSION, ("-O0", THREADS)),
}


def hashed(words: Iterable[str], paths: Iterable[Path]) -> str:
    digest = hashlib.sha256("\0".join(words).encode())
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def key_of_code(source: Path) -> str:
    """Hash of what the C depends on."""
    folders = (HERE, ROOT / "proxy", ROOT / "proxy" / "fast")
    headers = [path for folder in folders for path in sorted(folder.glob("*.pxd"))]
    return hashed([version("cython")], [source, *headers])


def has_asan() -> bool:
    return "libasan" in os.environ.get("LD_PRELOAD", "")


def compiler() -> list[str]:
    default = str(ROOT / ".ci" / "cc-sanitize") if has_asan() else "gcc"
    return shlex.split(os.environ.get("CC", default))


def built(name: str) -> Path:
    """Return the shared object of that name, compiled if there is none of these sources yet."""
    build = BUILDS[name]
    folder = made_once(name, build.key(), lambda work: compile_into(build, work))
    return folder / f"{build.module}.so"


def translated(source: Path) -> tuple[Path, str]:
    """Return the C that Cython makes of `source`, and what it said: all warnings and hints."""

    def translate(folder: Path) -> None:
        include = ["-I", str(ROOT), "-I", str(HERE)]
        cython = [sys.executable, "-P", "-m", "cython", "-3", "-Wextra", *include, str(source)]
        said = run([*cython, "-o", str(folder / f"{source.stem}.c")], folder)
        (folder / "said").write_text(said)

    folder = made_once(f"c-{source.stem}", key_of_code(source), translate)
    return folder / f"{source.stem}.c", (folder / "said").read_text()


def made_once(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """Return the folder of that name and key, filled by `make` if there is none yet."""
    folder = FOLDER / f"{name}-{key}"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with locked(FOLDER / f"{name}.lock"):
        if not folder.exists():
            work = FOLDER / f"{name}-work"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            make(work)
            work.rename(folder)
            forget_old_builds(name)
    return folder


def compile_into(build: Build, folder: Path) -> None:
    """Cython to C to a shared object. A warning is an error, as it is in the proxy."""
    code, said = translated(build.source)
    if said:
        raise RuntimeError(said)
    output = ["-o", str(folder / f"{build.module}.so")]
    run([*build.command, "-Werror", *map(str, [code, *build.faults]), *output], folder)


def run(command: list[str], folder: Path) -> str:
    """Run it to its good end, and return what it said."""
    hidden = {"LD_PRELOAD", "PYTHONMALLOC", "PYTHONPATH", "PYTHONSAFEPATH"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Two test runs at once build one after the other."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def forget_old_builds(name: str) -> None:
    folders = [path for path in FOLDER.glob(f"{name}-*") if path.is_dir()]
    folders.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in folders[KEPT_BUILDS:]:
        shutil.rmtree(folder, ignore_errors=True)


def loaded(name: str) -> ModuleType:
    """Build if need be, and import."""
    path = built(name)
    spec = importlib.util.spec_from_file_location(BUILDS[name].module, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
