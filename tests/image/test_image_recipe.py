"""The recipe of the image agrees with itself and with the project; nothing is built for this."""

import re
import tomllib

from deploy.image import build, lock
from deploy.image.assemble import USER, rows
from inject.parts import CONTROL_DIRECTORY
from inject.reasons import PROXY_ID
from inject.settings import DEFAULTS, IMAGE
from tests.unit.sources import ROOT

DOCKERFILE = build.DOCKERFILE.read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked(name: str) -> dict[str, str]:
    text = (lock.HERE / f"{name}.lock").read_text()
    return dict(re.findall(r"^([\w.-]+)==(\S+) \\$", text, re.MULTILINE))


def test_the_locks_have_the_versions_that_are_tested() -> None:
    for name, requirements in lock.pinned().items():
        pins = dict(row.lower().split("==") for row in requirements)
        found = locked(name)
        assert {key: found[key] for key in pins} == pins


def test_every_locked_wheel_has_a_hash() -> None:
    for name in lock.pinned():
        entries = (lock.HERE / f"{name}.lock").read_text().split("\n")[1:-1]
        wheels = [line for line in entries if not line.startswith(" ")]
        assert len(wheels) == len(locked(name))
        assert all(line.startswith("    --hash=sha256:") for line in entries if line[0] == " ")


def test_the_image_is_called_what_injection_asks_for() -> None:
    version = PROJECT["version"]
    assert DEFAULTS[IMAGE.key] == f"remora:{version}"
    assert f'org.opencontainers.image.version="{version}"' in DOCKERFILE


def test_the_user_is_the_one_whom_the_redirection_knows() -> None:
    assert PROXY_ID == USER
    assert f"USER {USER}:{USER}\n" in DOCKERFILE
    assert CONTROL_DIRECTORY == "/run/remora"


def test_no_package_is_listed_twice_and_the_lists_are_used() -> None:
    for name in ("build.packages", "run.packages", "debug.packages", "trimmed"):
        found = rows(name)
        assert len(found) == len(set(found))
        assert name in DOCKERFILE
    assert not set(rows("run.packages")) & set(rows("debug.packages"))


def test_no_architecture_stands_in_the_recipe() -> None:
    names = ("Dockerfile", "image/assemble.py", "image/run.packages", "image/trimmed")
    lines = [line for name in names for line in (ROOT / "deploy" / name).read_text().split("\n")]
    named = [line for line in lines if re.search(r"amd64|x86_64|arm64|aarch64", line)]
    assert not [line for line in named if not line.startswith("#")]


def test_all_that_the_dockerfile_copies_is_in_its_context() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    for path in " ".join(copied).split():
        assert any(path == each or path.startswith(f"{each}/") for each in allowed), path
        assert (ROOT / path).exists()
