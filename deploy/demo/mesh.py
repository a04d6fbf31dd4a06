"""The stage as root: two pods, `remora init` in each, a sidecar in each, apps in one."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from deploy.demo.acts import expect
from deploy.demo.apps import start_apps
from deploy.demo.identities import make_identities
from deploy.demo.pods import (
    IPV4,
    POWER_OVER_FILES,
    PROXY_ID,
    Pod,
    capabilities,
    make_pods,
    remove_namespaces,
)
from deploy.demo.programs import run
from deploy.demo.sidecar import Sidecar
from deploy.demo.stage import Route, Stage
from deploy.demo.story import Story, human_ms

# A rule of iptables-save -c: [packets:bytes] -A CHAIN the-rest.
_SAVED_RULE: Final = re.compile(r"\[(\d+):\d+\] -A (\w+) (.*)")
_COMMENT: Final = re.compile(r'-m comment --comment "?remora/([\w-]+)"? ')
# Only one of the two native tables is shown; both read alike.
_NFT_TABLE: Final = ("nft", "list", "table", "ip", "remora")
_NFT_RULE: Final = re.compile(
    r"(.*)counter packets (\d+) bytes \d+ (.*) comment \"remora/([\w-]+)\""
)


def set_stage(story: Story, directory: Path, stack: ExitStack) -> Stage:
    """Make and start everything; `stack` ends and removes it."""
    stack.callback(remove_namespaces)
    pods = _pods(story)
    _init(story, pods)
    apps = start_apps(pods[1], directory / "apps", stack)
    made = make_identities(story, directory / "identities", is_redirected=True)
    addresses = [f"[{host}]" if ":" in host else host for host in pods[1].addresses.values()]
    flags = [made.dialling("shop", "stock", addresses), made.accepting("stock")]
    sidecars = [
        Sidecar(pod, directory / pod.name, words) for pod, words in zip(pods, flags, strict=True)
    ]
    _start(story, sidecars, stack)
    shop, stock = sidecars
    web = {family: Route.direct(address) for family, address in apps.web.items()}
    ssh = {family: Route.direct(address) for family, address in apps.ssh.items()}
    return Stage(story, shop, stock, apps, web, ssh, ("outbound", "inbound"), made.names)


def _pods(story: Story) -> list[Pod]:
    story.step(
        "Two pods",
        "A pod is a network namespace with its own addresses; a veth pair joins these two.",
    )
    left_over = remove_namespaces()
    if left_over:
        story.line(f"removed what a killed run has left behind: {', '.join(left_over)}")
    pods = make_pods("shop", "stock")
    roles = {
        "shop": "downstreams: curl, ssh-keyscan",
        "stock": "apps: nginx on 8080, dropbear (SSH) on 2222",
    }
    story.table([[pod.name, *pod.addresses.values(), roles[pod.name]] for pod in pods])
    return pods


def _init(story: Story, pods: list[Pod]) -> None:
    story.step(
        "remora init in each pod",
        "Rules in the kernel's nat table send all TCP of the pod to the sidecar; the same step"
        " then proves it with real connections.",
    )
    for pod in pods:
        run(_remora(pod, "init"))
        shown = pod is pods[-1]
        again = json.loads(run(_remora(pod, "init", "--json")))
        expect(
            holds=again["result"] == "unchanged",
            claim="a second `remora init` changes nothing",
            seen=again,
        )
        proof = run(_remora(pod, "init", "--validate")).splitlines()
        open_points = [line for line in proof if "unproven" in line]
        expect(holds=not open_points, claim="redirection is proven", seen=open_points)
        if shown:
            story.command("remora init --validate")
            for line in proof:
                story.line(line)
    story.proved("in both pods; running `remora init` a second time changed nothing.")


def _start(story: Story, sidecars: list[Sidecar], stack: ExitStack) -> None:
    needy = [sidecar.settle_powers() for sidecar in sidecars]
    allowed = "but one: this Python lies where only root may look" if any(needy) else ""
    story.step(
        "A sidecar in each pod",
        f"It runs as user and group {PROXY_ID}, sees its code read-only, and has no capability"
        f" {allowed}".rstrip()
        + ".",
    )
    for sidecar in sidecars:
        stack.callback(sidecar.stop)
        sidecar.start()
        listeners = ", ".join(str(row["address"]) for row in sidecar.ready["listeners"])
        ready = human_ms(sidecar.ready["ms"])
        story.line(f"{sidecar.name} is ready {ready} after exec, on {listeners}")
        powers = capabilities(sidecar.program.pid)
        expect(
            holds=powers == (POWER_OVER_FILES if any(needy) else 0),
            claim=f"{sidecar.name} has no other capability",
            seen=hex(powers),
        )


def rules(stage: Stage) -> None:
    """Show the rules that carried the traffic, with how often each was met."""
    pod = stage.stock.pod
    backend = json.loads(run(_remora(pod, "init", "--json")))["backend"]
    native = backend == "nftables"
    words = list(_NFT_TABLE) if native else [f"iptables-{backend}-save", "-c", "-t", "nat"]
    stage.story.step(
        "The rules in force in stock",
        "How many connections met each rule, IPv4 only, those of --validate included. What comes in"
        " goes to port 15006; what the sidecar dials from 127.0.0.6 passes on to the app.",
    )
    stage.story.command(*words)
    shown = list((_nft_rules if native else _saved_rules)(run(pod.as_root(*words))))
    stage.story.table(shown)
    hits = {name: int(count) for count, name, _ in shown}
    for name in ("inbound-redirect", "delivery"):
        expect(holds=hits.get(name, 0) > 0, claim=f"the rule {name} was met", seen=hits)


def _saved_rules(saved: str) -> Iterator[list[str]]:
    """Yield connections met, name and text of each of our rules."""
    for line in saved.splitlines():
        match = _SAVED_RULE.match(line)
        name = _COMMENT.search(line)
        if match and name:
            chain = match[2].removeprefix("REMORA_")
            yield [match[1], name[1], f"{chain} {_COMMENT.sub('', match[3])}"]


def _nft_rules(listed: str) -> Iterator[list[str]]:
    for line in listed.splitlines():
        match = _NFT_RULE.match(line.strip())
        if match:
            yield [match[2], match[4], f"{match[1]}{match[3]}"]


def clean_up(stage: Stage) -> None:
    """Take the rules out again, as `remora init --cleanup` does in a pod that lives on."""
    stage.story.step("Clean up", "`remora init --cleanup` takes out exactly what it has put in.")
    for sidecar in (stage.shop, stage.stock):
        run(_remora(sidecar.pod, "init", "--cleanup"))
        again = json.loads(run(_remora(sidecar.pod, "init", "--cleanup", "--json")))
        expect(
            holds=again["result"] == "nothing to remove",
            claim="the first cleanup left nothing to remove",
            seen=again,
        )
    stage.story.proved("no rule is left in either pod; pods, programs and files go now.")


def _remora(pod: Pod, *words: str) -> list[str]:
    return pod.as_root(sys.executable, "-m", "proxy", *words)


def hints(stage: Stage) -> list[str]:
    """Give commands to try while it runs."""
    shop, stock = stage.shop.pod, stage.stock.pod
    web = next(iter(stage.web.values())).dialled
    return [
        " ".join(shop.as_root("curl", "-v", f"http://{web}/hello")),
        " ".join(shop.as_root("ssh-keyscan", "-p", "2222", stock.addresses[IPV4])),
        " ".join(stock.as_root("curl", f"http://{stage.stock.admin_address()}/metrics")),
        " ".join(stock.as_root("nft", "list", "ruleset")),
    ]
