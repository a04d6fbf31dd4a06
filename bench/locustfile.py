"""Buyers of the shop, for locust: mostly looking, at times buying.

`python -m bench.shop` starts the shop and runs this. By hand, against a shop that runs already:

    locust -f bench/locustfile.py --headless --users 20 --run-time 30s --host http://127.0.0.1:8080
"""

import random

from locust import FastHttpUser, constant_throughput, task

ITEMS = 50


class Buyer(FastHttpUser):
    """Four requests a second, whatever the answers take."""

    wait_time = constant_throughput(4)
    connection_timeout = network_timeout = 10.0

    def on_start(self) -> None:
        """Choose in the same way in every run."""
        self.dice = random.Random(1)  # noqa: S311 - which item is no secret

    @task(3)
    def look_around(self) -> None:
        """Ask for the catalog."""
        self.client.get("/", name="catalog")

    @task(6)
    def look_at_one(self) -> None:
        """Ask for an item: by the catalog, of the stock."""
        self.client.get(f"/item/{self.dice.randrange(ITEMS)}", name="item")

    @task(1)
    def buy(self) -> None:
        """Put something into the cart."""
        self.client.post("/cart", json={"id": self.dice.randrange(ITEMS)}, name="buy")
