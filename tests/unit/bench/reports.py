"""Reports for tests, as a run writes them."""

from typing import Any

from bench.recorded import Report

MACHINE = {"processor": "a fast one", "cores": "2"}
PEERS = ("remora", "haproxy", "none")


def sample(workload: str, peer: str, cpu_us: int = 30, number: int = 1) -> dict[str, Any]:
    """A hundred requests, or fifty MiB."""
    through = peer != "none"
    memory = {"pss": 20_000_000 * through, "rss": 0, "private": 0}
    loaded = {"pss": 20_064_000 * through, "rss": 0, "private": 0}
    return {
        "workload": workload,
        "peer": peer,
        "round": number,
        "answer_ms": 150.0 if through else None,
        "ready_ms": 160.0 if through else None,
        "proxy": {"total_ns": cpu_us * 1000 * 100 * through, "user_ns": 25, "system_ns": 75},
        "load_ns": 400_000,
        "stolen_ns": 20_000_000,
        "requests": 100,
        "bytes": 50 << 20,
        "connections": 64,
        "offered_rate": 100.0,
        "elapsed_seconds": 1.0,
        "memory": memory,
        "memory_loaded": loaded,
        "latency": {f"p{p}_ns": 1000.0 * p for p in (50, 90, 99, 99.9, 100)},
        "a field of tomorrow": 1,
    }


def document(*samples: dict[str, Any]) -> dict[str, Any]:
    """A whole report."""
    latency = {
        f"{each['workload']} {each['peer']}": [
            [1_000_000, 1_100_000, 99_000],
            [9_000_000, 9_100_000, 1_000],
        ]
        for each in samples
    }
    top = {"title": "HTTP/1.1 proxy", "date": "2026-01-01", "command": "python -m bench"}
    return {**top, "machine": MACHINE, "samples": list(samples), "latency_ns": latency}


def of(*workloads: str, name: str = "http") -> Report:
    """A report of some work, at which HAProxy takes twice what remora does."""
    return Report(
        name,
        document(
            *(
                sample(work, peer, 60 if peer == "haproxy" else 30, number)
                for work in workloads
                for peer in PEERS
                for number in (1, 2)
            )
        ),
    )


def other(name: str, **data: object) -> Report:
    """A report that is not of workloads."""
    return Report(name, {**document(), **data})
