"""What workers know of a service now, as `remora ctl config SERVICE` tells it."""

import json
from pathlib import Path
from typing import Any

from tests.support.http import request, response
from tests.support.process import ctl
from tests.support.rig import Rig
from tests.support.services import Cluster
from tests.support.waiting import eventually


def config(cluster: Cluster, *words: str) -> str:
    done = ctl(cluster.proxy, "config", "shop/web", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def now(cluster: Cluster) -> dict[str, Any]:
    (row,) = json.loads(config(cluster, "-o", "json"))["services"]
    found: dict[str, Any] = row
    return found


def test_a_request_under_way_is_seen_at_its_service_and_at_its_endpoint(
    rig: Rig, tmp_path: Path
) -> None:
    cluster = Cluster(rig, tmp_path)
    backend = cluster.service("web", 1)
    cluster.start()
    down = cluster.connect()
    down.send(request("/"))
    up = backend.accept()
    up.request()
    text = config(cluster)
    assert "  now       1 in flight, 0 of them again, 0 waiting, 1 connections" in text
    assert "1 in flight" in text.split("  endpoint  ")[1].splitlines()[0]
    up.send(response(b"ok"))
    assert down.response().body == b"ok"
    eventually("it is over", lambda: now(cluster)["now"]["in_flight"] == 0)
    (endpoint,) = now(cluster)["endpoints_now"].values()
    assert (endpoint["in_flight"], endpoint["ejected"]) == (0, False)
    assert endpoint["latency_ms"] > 0
