"""`remora identity`: a development CA, SVIDs of it, and a look at any identity directory."""

import base64
import json
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from proxy import values
from proxy.errors import EXIT_OK, EXIT_REFUSED, EXIT_USAGE
from proxy.identity import authority, spiffe
from proxy.identity.authority import Authority, AuthorityError
from proxy.identity.describe import material_as_text
from proxy.identity.files import read_directory
from proxy.identity.material import MaterialError
from proxy.options import Group, Option, Reader, help_text

USAGE: Final = """\
usage: remora identity COMMAND DIR [flags]

  ca DIR        make a development CA in DIR: a root, an intermediate, a trust bundle
  issue DIR     make a key and a certificate in DIR, signed by the CA in --ca
  rotate DIR    give the CA in DIR a new root; the bundle keeps the old ones
  trust DIR     give the identity in DIR the bundle of --ca; its certificate stays
  retire DIR    trust only the newest root of the CA in DIR
  show DIR      check the identity in DIR and print who it is
  secret DIR    print the identity in DIR as a Secret, for kubectl apply -f -"""

EPILOGUE: Final = """\
Examples:
  remora identity ca ./ca --trust-domain cluster.local
  remora identity issue ./shop --ca ./ca --namespace shop --service-account web --lifetime 1h
  remora identity show /var/run/secrets/spiffe.io
  remora identity secret ./shop | kubectl apply -f -

The CA keeps its keys in files: to try a mesh, not to run one.

Exit codes: 0 done; 1 it cannot be done, or the identity does not hold; 64 bad words here."""

TRUST_DOMAIN: Final = Option(
    flag="--trust-domain",
    parse=spiffe.parse_trust_domain,
    default="cluster.local",
    metavar="NAME",
    help="ca: the trust domain that it speaks for",
)
CA: Final = Option(
    flag="--ca", parse=Path, default="ca", metavar="DIR", help="issue, trust: the folder of the CA"
)
NAMESPACE: Final = Option(
    flag="--namespace", parse=str, default="default", metavar="NAME", help="issue: whose"
)
SERVICE_ACCOUNT: Final = Option(
    flag="--service-account", parse=str, default="default", metavar="NAME", help="issue: whose"
)
LIFETIME: Final = Option(
    flag="--lifetime",
    parse=values.duration_between("1s", "8760h"),
    default="24h",
    metavar="TIME",
    help="issue: how long the certificate is valid",
)
NAME: Final = Option(
    flag="--name",
    parse=str,
    default="",
    metavar="NAME",
    help="secret: what it is called, instead of remora-SERVICEACCOUNT",
)
GROUPS: Final = (Group("Flags", (TRUST_DOMAIN, CA, NAMESPACE, SERVICE_ACCOUNT, LIFETIME, NAME)),)


def main(arguments: Sequence[str]) -> int:
    """Run a command of `remora identity`; return the exit code."""
    reader = Reader(GROUPS, arguments, {})
    if reader.wants_help:
        sys.stdout.write(help_text(USAGE, GROUPS, EPILOGUE))
        return EXIT_OK
    for group in GROUPS:
        for option in group.options:
            reader.one(option)
    name, folder, *more = [*reader.words, "", ""]
    faults = [*reader.faults, *reader.stray_words([word for word in more if word])]
    if name not in COMMANDS:
        faults.append(f"{name!r} is no command ({', '.join(COMMANDS)})" if name else "no command")
    elif not folder:
        faults.append(f"{name}: needs a folder")
    if faults:
        for fault in faults:
            sys.stderr.write(f"remora identity: {fault}\n")
        return EXIT_USAGE
    try:
        said = COMMANDS[name](Path(folder), reader)
    except (AuthorityError, MaterialError, spiffe.SpiffeError, OSError) as fault:
        sys.stderr.write(f"remora identity {name}: {fault}\n")
        return EXIT_REFUSED
    sys.stdout.write(f"{said}\n")
    return EXIT_OK


def _ca(folder: Path, reader: Reader) -> str:
    made = Authority.create(folder, reader.one(TRUST_DOMAIN))
    return f"made a development CA of {made.trust_domain} in {folder}"


def _issue(folder: Path, reader: Reader) -> str:
    signer = Authority(reader.one(CA))
    identity = spiffe.of_service_account(
        signer.trust_domain, reader.one(NAMESPACE), reader.one(SERVICE_ACCOUNT)
    )
    issued = signer.issue(identity, timedelta(milliseconds=reader.one(LIFETIME)))
    authority.write_svid(folder, issued)
    return f"{identity}, in {folder}"


def _rotate(folder: Path, _reader: Reader) -> str:
    Authority(folder).rotate()
    return (
        f"new root in {folder}; now `remora identity trust` every identity, `issue` each again,"
        " `retire` the old root, and `trust` once more"
    )


def _trust(folder: Path, reader: Reader) -> str:
    authority.write_bundle(folder, Authority(reader.one(CA)).bundle)
    return f"{folder} trusts what {reader.one(CA)} trusts now"


def _retire(folder: Path, _reader: Reader) -> str:
    Authority(folder).retire()
    return f"{folder} trusts its newest root only"


def _show(folder: Path, _reader: Reader) -> str:
    return material_as_text(read_directory(folder))


def _secret(folder: Path, reader: Reader) -> str:
    """Return a Secret for the pods of the service account that the certificate names."""
    identity = read_directory(folder).identity
    namespace, account = identity.namespace, identity.service_account
    if namespace is None:
        raise AuthorityError(f"{identity} is of no service account (spiffe://DOMAIN/ns/X/sa/Y)")
    files = {name: (folder / name).read_bytes() for name in ("ca.crt", "tls.crt", "tls.key")}
    made = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": reader.one(NAME) or f"remora-{account}", "namespace": namespace},
        "type": "kubernetes.io/tls",
        "data": {name: base64.b64encode(text).decode() for name, text in files.items()},
    }
    return json.dumps(made, indent=2)


COMMANDS: Final[dict[str, Callable[[Path, Reader], str]]] = {
    "ca": _ca,
    "issue": _issue,
    "rotate": _rotate,
    "trust": _trust,
    "retire": _retire,
    "show": _show,
    "secret": _secret,
}
