"""The stage without root: the same sidecars and apps, chained by explicit listeners on loopback."""

from contextlib import ExitStack
from pathlib import Path
from typing import Final

from deploy.demo.apps import start_apps
from deploy.demo.identities import make_identities
from deploy.demo.pods import Address, loopback_pods
from deploy.demo.sidecar import Sidecar
from deploy.demo.stage import Route, Stage
from deploy.demo.story import Story, human_ms

_FLAGS: Final = (*("--no-interception", "--admin", "127.0.0.1:0", "--control-listen", "off"),)


def set_stage(story: Story, directory: Path, stack: ExitStack, why: str) -> Stage:
    """Start everything; `stack` ends it. `why` says what keeps us from using namespaces."""
    story.step(
        "No pods here",
        f"{why}, so there are no network namespaces, no `remora init` and no redirection: the"
        " sidecars listen on explicit ports of the loopback address and forward from one to the"
        " other. Left out: original destinations, the rules, users without rights, /ready on its"
        " usual port. Run `make demo` as root to see them.",
    )
    shop_pod, stock_pod = loopback_pods("shop", "stock")
    apps = start_apps(stock_pod, directory / "apps", stack)
    made = make_identities(story, directory / "identities", is_redirected=False)
    story.step(
        "Two sidecars",
        "downstream → shop's sidecar → stock's sidecar → app; every port is one that was free.",
    )
    targets = [*apps.web.values(), *apps.ssh.values()]
    flags = [*_forwarding("--listen-mtls", targets), *made.accepting("stock")]
    stock = Sidecar(stock_pod, directory / "stock", flags)
    inner = _started(story, stock, stack)
    flags = [*_forwarding("--listen", inner), *made.dialling("shop", "stock", [*map(str, inner)])]
    shop = Sidecar(shop_pod, directory / "shop", flags)
    outer = _started(story, shop, stack)
    routes = [
        Route(dialled, shop_target, stock_target)
        for dialled, shop_target, stock_target in zip(outer, inner, targets, strict=True)
    ]
    web = dict(zip(apps.web, routes, strict=False))
    ssh = dict(zip(apps.ssh, routes[len(apps.web) :], strict=True))
    return Stage(story, shop, stock, apps, web, ssh, ("explicit", "explicit"), made.names)


def _forwarding(flag: str, targets: list[Address]) -> list[str]:
    """Give flags: a listener on a free port in front of each target, in its address family."""
    pairs = [f"{Address(target.host, 0)}={target}" for target in targets]
    return [*_FLAGS, *(word for pair in pairs for word in (flag, pair))]


def _started(story: Story, sidecar: Sidecar, stack: ExitStack) -> list[Address]:
    """Start it and return its listeners, in the order of the targets."""
    stack.callback(sidecar.stop)
    sidecar.start()
    story.line(f"{sidecar.name} is ready {human_ms(sidecar.ready['ms'])} after exec")
    for listener in sidecar.ready["listeners"]:
        story.line(f"    {listener['address']} → {listener['target']}")
    return [Address.parse(text) for text in sidecar.explicit_listeners()]


def hints(stage: Stage) -> list[str]:
    """Give commands to try while it runs."""
    web = next(iter(stage.web.values())).dialled
    return [
        f"curl -v http://{web}/hello",
        f"curl http://{stage.stock.admin_address()}/metrics",
    ]
