"""Who is where in the shop. Every replica has an address of its own on loopback.

    front ──▶ catalog ──▶ stock
      └─────▶ cart ─────▶ stock

One replica of `catalog` answers 503 to a third of what it is asked; one of `stock` is slow.
"""

from typing import Final, NamedTuple

NAMESPACE: Final = "shop"
PORT: Final = 80  # of every Service
FLAKY_SHARE: Final = 1 / 3
SLOW_S: Final = 0.4


class Replica(NamedTuple):
    """One pod."""

    service: str
    number: int
    host: str  # its application
    is_flaky: bool = False
    is_slow: bool = False

    @property
    def name(self) -> str:
        """Name the pod."""
        return f"{self.service}-{self.number}"


FRONT: Final = "front"
CATALOG: Final = "catalog"
CART: Final = "cart"
STOCK: Final = "stock"
CLUSTER_IPS: Final = {
    name: f"10.97.0.{number}" for number, name in enumerate((FRONT, CATALOG, CART, STOCK), 1)
}


def replicas() -> list[Replica]:
    """Return all of them: the shop has one front, so that there is one way in."""
    return [
        Replica(FRONT, 1, "127.20.1.1"),
        *(Replica(CATALOG, n, f"127.20.2.{n}", is_flaky=n == 1) for n in (1, 2, 3)),
        Replica(CART, 1, "127.20.3.1"),
        *(Replica(STOCK, n, f"127.20.4.{n}", is_slow=n == 1) for n in (1, 2, 3)),
    ]
