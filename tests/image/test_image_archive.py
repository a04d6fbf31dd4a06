"""The archive: one file that other tools read as well, and a bill of materials beside it."""

import json
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy.image.assemble import rows
from deploy.image.build import Built
from tests.support.tools import needed

pytestmark = [pytest.mark.image, pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def bill(built: Built) -> dict[str, Any]:
    """The bill of materials."""
    read: dict[str, Any] = json.loads(built.sbom.read_text())
    return read


def skopeo(*words: str) -> str:
    """Ask another reader of images."""
    done = subprocess.run(
        [needed("skopeo"), "--insecure-policy", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def listing(tree: Path) -> dict[str, tuple[object, ...]]:
    """Every path with what it is, who owns it, and what is in it."""
    return {str(path.relative_to(tree)): _told(path) for path in tree.rglob("*")}


def _told(path: Path) -> tuple[object, ...]:
    entry = path.lstat()
    content: object = None
    if path.is_symlink():
        content = path.readlink()
    elif path.is_file():
        content = path.read_bytes()
    return (entry.st_mode, entry.st_uid, entry.st_gid, int(entry.st_mtime), content)


def test_it_says_who_runs_what(built: Built) -> None:
    config = built.image.config
    assert (config["os"], config["config"]["User"]) == ("linux", "1337:1337")
    assert (config["config"]["Entrypoint"], config["config"]["Cmd"]) == (["remora"], ["proxy"])
    assert "PYTHONDONTWRITEBYTECODE=1" in config["config"]["Env"]
    labels = config["config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "remora"
    assert not [name for name in labels if not name.startswith("org.opencontainers.image.")]


def test_readers_of_oci_and_of_docker_find_the_same_image(built: Built) -> None:
    as_oci = json.loads(skopeo("inspect", "--config", f"oci-archive:{built.packed}"))
    as_docker = json.loads(skopeo("inspect", "--config", f"docker-archive:{built.packed}"))
    assert as_oci["rootfs"] == as_docker["rootfs"] == built.image.config["rootfs"]
    names = json.loads(skopeo("list-tags", f"docker-archive:{built.packed}"))["Tags"]
    assert names == ["remora:0.1.0"]


def test_another_tool_unpacks_it_to_the_same_files(built: Built, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    with tarfile.open(built.packed) as packed:
        packed.extractall(layout, filter="data")
    bundle = tmp_path / "bundle"
    words = [needed("umoci"), "unpack", "--image", f"{layout}:0.1.0", str(bundle)]
    subprocess.run(words, check=True, capture_output=True)
    assert listing(bundle / "rootfs") == listing(built.tree)


def test_the_bill_of_materials_keeps_to_its_schema(built: Built) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(built.sbom.read_text()) is None


def test_it_names_every_package_and_what_wheels_bring_along(
    built: Built, bill: dict[str, Any]
) -> None:
    names = {part["name"] for part in bill["components"]}
    site = built.tree / "usr/local/lib/python3.11/dist-packages"
    wheels = {path.name.split("-")[0].replace("_", "-") for path in site.glob("*.dist-info")}
    assert names == {*rows("run.packages"), *wheels, "openssl", "libuv", "libyaml"}
    assert all(part["version"] and part["purl"] for part in bill["components"])


def test_it_knows_which_openssl_speaks_tls(built: Built, bill: dict[str, Any]) -> None:
    (told,) = [part["version"] for part in bill["components"] if part["name"] == "openssl"]
    (binding,) = built.tree.glob("usr/local/lib/python3.11/dist-packages/cryptography/**/_rust*.so")
    assert re.findall(rb"OpenSSL (\d+\.\d+\.\d+) ", binding.read_bytes())[0].decode() == told


def test_it_is_of_this_image(built: Built, bill: dict[str, Any]) -> None:
    assert built.image.digest in bill["metadata"]["component"]["purl"]
