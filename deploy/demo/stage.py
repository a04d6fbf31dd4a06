"""The stage: two pods with a sidecar each, apps in one of them, and how they are reached."""

from dataclasses import dataclass

from deploy.demo.apps import Apps
from deploy.demo.pods import Address
from deploy.demo.sidecar import Sidecar
from deploy.demo.story import Story


@dataclass(frozen=True)
class Route:
    """One service of stock, as a program in shop dials it, and as each sidecar must see it."""

    dialled: Address
    shop_target: Address  # the original destination that shop's sidecar finds out
    stock_target: Address  # the same for stock's sidecar

    @classmethod
    def direct(cls, address: Address) -> "Route":
        """Everybody means the same address: what redirection is for."""
        return cls(address, address, address)


@dataclass(frozen=True)
class Stage:
    """What the acts play on."""

    story: Story
    shop: Sidecar
    stock: Sidecar
    apps: Apps
    web: dict[str, Route]  # by family
    ssh: dict[str, Route]
    directions: tuple[str, str]  # of a connection at shop's sidecar, and at stock's
    identities: dict[str, str]  # SPIFFE IDs, by pod

    @property
    def is_redirected(self) -> bool:
        """Tell whether the kernel brings the connections, and not the dialled address."""
        return bool(self.shop.pod.namespace)
