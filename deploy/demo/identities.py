"""Who the pods are to each other: a development CA, two identities, and what comes of them."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.demo.acts import expect
from deploy.demo.pods import IPV4, PROXY_ID, Address
from deploy.demo.programs import attempt, eventually, run
from deploy.demo.sidecar import Sidecar
from deploy.demo.stage import Stage
from deploy.demo.story import DemoError, Story

_NAMESPACE: Final = "demo"
_LIFETIME: Final = "1h"
_TOLD: Final = ("identity ", "expires ", "who may come in", "dialled ", "accepted ", "MESH TLS")
_CURL_CUT_OFF: Final = 56  # CURLE_RECV_ERROR: the connection was reset


@dataclass(frozen=True)
class Identities:
    """SPIFFE IDs by pod, and the folders of their certificates."""

    names: dict[str, str]
    folders: dict[str, Path]

    def dialling(self, pod: str, peer: str, addresses: list[str]) -> list[str]:
        """Give the flags of a sidecar that meets `peer` at these addresses."""
        endpoints = (f"{address}={self.names[peer]}" for address in addresses)
        meshed = [word for endpoint in endpoints for word in ("--mesh", endpoint)]
        return ["--identity", str(self.folders[pod]), *meshed]

    def accepting(self, pod: str) -> list[str]:
        """Give the flags of a sidecar that lets nobody else in."""
        return ["--identity", str(self.folders[pod]), "--mtls", "strict"]


def make_identities(story: Story, directory: Path, *, is_redirected: bool) -> Identities:
    """Make a CA, and a certificate for each pod that only its sidecar may read."""
    story.step(
        "An identity for each pod",
        "`remora identity` makes a CA and two certificates. shop's sidecar must meet stock's"
        " identity behind stock's address; stock's lets nobody in who has none.",
    )
    authority = directory / "ca"
    _identity("ca", str(authority))
    names, folders = {}, {}
    for pod in ("shop", "stock"):
        folders[pod] = directory / pod
        flags = ["--namespace", _NAMESPACE, "--service-account", pod, "--lifetime", _LIFETIME]
        said = _identity("issue", str(folders[pod]), "--ca", str(authority), *flags)
        names[pod] = said.partition(",")[0]
        story.line(f"remora identity issue ./{pod} --service-account {pod:<8} {names[pod]}")
        if is_redirected:
            _give_to_sidecar(folders[pod])
    return Identities(names, folders)


def _identity(*words: str) -> str:
    return run([sys.executable, "-m", "proxy", "identity", *words])


def _give_to_sidecar(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, PROXY_ID, PROXY_ID, follow_symlinks=False)


def mutual_tls(stage: Stage) -> None:
    """Show who each sidecar is and met, and that plaintext is refused."""
    stage.story.step(
        "Mutual TLS",
        "All of this went from sidecar to sidecar in TLS 1.3; neither curl nor nginx knows. Each"
        " side has proved who it is, as `remora ctl identity` and the access log tell.",
    )
    stage.story.command("remora ctl identity")
    for line in stage.stock.page("identity").splitlines():
        if line.startswith(_TOLD):
            stage.story.line(line)
    _handshakes(stage)
    _access_log(stage)
    _plaintext(stage)


def _handshakes(stage: Stage) -> None:
    for sidecar, role in ((stage.shop, "dialled"), (stage.stock, "accepted")):
        seen = json.loads(sidecar.page("identity", "--json"))
        expect(
            holds=seen["identity"] == stage.identities[sidecar.pod.name],
            claim=f"{sidecar.name} has the identity of its pod",
            seen=seen["identity"],
        )
        counts = seen["handshakes"][role]
        expect(
            holds=counts["done"] > 0 and counts["failed"] == 0,
            claim=f"every handshake of {sidecar.name} went well",
            seen=counts,
        )


def _access_log(stage: Stage) -> None:
    stage.story.sentence("Two lines of stock's access log, shortened: a request, and ssh.")
    for row in _first_of_each_kind(stage.stock):
        what = row.get("target") or row["protocol"]
        peer = f"tls={str(row['tls']).lower()} peer_identity={row['peer_identity']}"
        stage.story.line(f"kind={row['kind']} {what} {peer}")
        expect(
            holds=row["peer_identity"] == stage.identities["shop"],
            claim="stock's access log names shop",
            seen=row,
        )
    stage.story.proved("both sidecars know each other by name; no handshake failed.")


def _first_of_each_kind(sidecar: Sidecar) -> Iterator[dict[str, str]]:
    rows = sidecar.access_log()
    yield next(row for row in rows if row["kind"] == "request")
    yield next(row for row in rows if row["protocol"] == "opaque")


def _plaintext(stage: Stage) -> None:
    """Dial stock past shop's sidecar, as a stranger in the network would."""
    stage.story.sentence("The same address, past shop's sidecar, by somebody without an identity:")
    address = stage.web[IPV4].shop_target
    _refuse(stage, address)
    eventually(
        f"{stage.stock.name} to tell of plaintext",
        lambda: any(one.reason == "plaintext_refused" for one in stage.stock.connections()),
    )
    stage.story.proved("who has no identity is reset, and counted as plaintext_refused.")


def _refuse(stage: Stage, address: Address) -> None:
    url = f"http://{address}/hello"
    words = ["curl", "--silent", "--show-error", "--max-time", "5", url]
    done = attempt(stage.shop.pod.past_sidecar(*words))
    if done.returncode != _CURL_CUT_OFF:
        raise DemoError(f"plaintext was not refused: curl exited with {done.returncode}")
    said = done.stderr.strip().removeprefix("curl: ")
    stage.story.line(f"{f'curl {url}':<44} {said}")
