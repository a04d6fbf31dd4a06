"""Buyers of the shop, for locust: mostly looking, at times buying.

`python -m bench.shop` starts the shop and runs this. By hand, against a shop that runs already:

    locust -f bench/locustfile.py --headless --users 20 --run-time 30s --host http://127.0.0.1:8080
"""

import random
from itertools import count

from locust import FastHttpUser, task

ITEMS = 50
RATE = 4  # thoughts a second of each buyer
NUMBERS = count()


class Buyer(FastHttpUser):
    """Looks, thinks for a moment that is never the same, and looks again.

    With moments of one length buyers would stay in step where every answer is fast, and queue
    behind each other; slow answers would tear them apart.
    """

    connection_timeout = network_timeout = 10.0

    def on_start(self) -> None:
        """Choose in the same way in every run."""
        self.dice = random.Random(next(NUMBERS))  # noqa: S311 - which item is no secret

    def wait_time(self) -> float:
        """Return how long to think, in seconds."""
        return self.dice.expovariate(RATE)

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
