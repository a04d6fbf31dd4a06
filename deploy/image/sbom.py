"""What is in an image, as a CycloneDX bill of materials.

Debian's packages from the notes that assemble.py left, Python's from their metadata, and what
wheels bring along inside of their extensions as the extensions themselves tell it.
"""

import json
import subprocess
import tomllib
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_string
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.image.archive import Image

ROOT: Final = Path(__file__).resolve().parents[2]
OURS: Final = "remora"

# What is linked into extensions, told inside the image: no metadata knows it.
ASK: Final = """
import json, yaml
from cryptography.hazmat.backends.openssl import backend
from uvloop.loop import libuv_get_version
number = libuv_get_version()
print(json.dumps({
    "openssl": ["cryptography", backend.openssl_version_text().split()[1]],
    "libuv": ["uvloop", f"{number >> 16}.{number >> 8 & 255}.{number & 255}"],
    "libyaml": ["pyyaml", yaml._yaml.get_version_string()],
}))
"""
BUNDLED_LICENSES: Final = {"openssl": "Apache-2.0", "libuv": "MIT", "libyaml": "MIT"}


def version() -> str:
    """Return the version of the project."""
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: str = tables["project"]["version"]
    return found


def debian(tree: Path) -> Iterator[Component]:
    """Yield the Debian packages of the image."""
    for path in sorted((tree / "var/lib/dpkg/status.d").iterdir()):
        fields = message_from_string(path.read_text(encoding="utf-8"))
        name, number = fields["Package"], fields["Version"]
        qualifiers = {"arch": fields["Architecture"], "distro": _distribution(tree)}
        purl = PackageURL("deb", "debian", name, number, qualifiers)
        source = (fields["Source"] or name).split()[0]
        yield Component(
            name=name,
            version=number,
            type=ComponentType.LIBRARY,
            bom_ref=str(purl),
            purl=purl,
            supplier=OrganizationalEntity(name=fields["Maintainer"]),
            properties=[Property(name="remora:debian:source", value=source)],
        )


def _distribution(tree: Path) -> str:
    words = dict(
        line.replace('"', "").split("=", 1)
        for line in (tree / "usr/lib/os-release").read_text(encoding="utf-8").splitlines()
    )
    return f"{words['ID']}-{words['VERSION_ID']}"


def installed(tree: Path) -> list[Distribution]:
    """Return the Python packages of the image."""
    (site,) = tree.glob("usr/local/lib/python3.*/dist-packages")
    return sorted(distributions(path=[str(site)]), key=lambda each: each.name.lower())


def python(tree: Path) -> Iterator[Component]:
    """Yield a component for each of them; our own is in no registry."""
    for each in installed(tree):
        name = canonicalize_name(each.name)
        is_ours = name == OURS
        purl = PackageURL("generic" if is_ours else "pypi", None, name, each.version)
        licence = _licence(each)
        yield Component(
            name=name,
            version=each.version,
            type=ComponentType.APPLICATION if is_ours else ComponentType.LIBRARY,
            bom_ref=str(purl),
            purl=purl,
            licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
            description=each.metadata["Summary"],
        )


def _licence(package: Distribution) -> str:
    # The metadata is a message in fact; its protocol has no get() before Python 3.12.
    fields = message_from_string(str(package.read_text("METADATA")))
    text = fields["License-Expression"] or fields["License"] or ""
    return str(text).strip().splitlines()[0] if text else ""


def bundled(tree: Path) -> dict[str, tuple[str, Component]]:
    """Return what is linked into extensions, each with the package that has it."""
    words = ["chroot", str(tree), "/usr/bin/python3.11", "-IBc", ASK]
    told = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    made = {}
    for name, (owner, number) in told.items():
        purl = PackageURL("generic", None, name, number)
        made[name] = (
            owner,
            Component(
                name=name,
                version=number,
                type=ComponentType.LIBRARY,
                bom_ref=str(purl),
                purl=purl,
                licenses=[LicenseFactory().make_from_string(BUNDLED_LICENSES[name])],
                properties=[Property(name="remora:linked-into", value=owner)],
            ),
        )
    return made


def bill(tree: Path, image: Image, epoch: int) -> Bom:
    """Return the bill of an image that lies unpacked in `tree`."""
    architecture = image.config["architecture"]
    purl = PackageURL("oci", None, OURS, image.digest, {"arch": architecture, "tag": version()})
    whole = Component(
        name=OURS,
        version=version(),
        type=ComponentType.CONTAINER,
        bom_ref=str(purl),
        purl=purl,
    )
    made = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_OID, image.digest))
    made.metadata.timestamp = datetime.fromtimestamp(epoch, UTC)
    made.metadata.component = whole
    packages = {each.name: each for each in python(tree)}
    linked = bundled(tree)
    top = [*debian(tree), packages[OURS]]
    made.components.update(top, packages.values(), (part for _, part in linked.values()))
    made.register_dependency(whole, top)
    for each in installed(tree):
        name = canonicalize_name(each.name)
        needs = {canonicalize_name(Requirement(row).name) for row in each.requires or ()}
        found = [packages[need] for need in sorted(needs & packages.keys())]
        found += [part for owner, part in linked.values() if owner == name]
        made.register_dependency(packages[name], found)
    return made


def text(tree: Path, image: Image, epoch: int) -> str:
    """Return it as JSON."""
    return JsonV1Dot6(bill(tree, image, epoch)).output_as_string(indent=2) + "\n"
