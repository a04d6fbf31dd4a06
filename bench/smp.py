"""A run in the shape of Service Mesh Performance, the format that Istio's results are kept in.

One document for each peer at each workload: the messages PerformanceTestConfig,
PerformanceTestResult, ServiceMeshConfig and EnvironmentConfig of that specification, as JSON with
the field names of its protobuf. Latencies are milliseconds. Its results have no place for spread,
p99.9 and the generator's cost: these are in the report, which each document names.
"""

import datetime as dt
import json
import statistics
from collections.abc import Sequence
from typing import Any, Final

from bench.measure import Sample
from bench.report import Header
from bench.summary import Results
from bench.workloads import HTTP, PAIR, Workload

VERSION: Final = "v0.0.1"
MB: Final = 1_000_000
MS: Final = 1_000_000  # ns

Document = dict[str, Any]


def documents(header: Header, results: Results, works: Sequence[Workload], name: str) -> str:
    """Return the JSON text of all of them; `name` is that of the report."""
    pairs = [(work, peer) for work in works if not work.idle for peer in results.peers(work.name)]
    found = [_document(header, results, work, peer, name) for work, peer in pairs]
    return json.dumps({"smp_version": VERSION, "results": found}, indent=1) + "\n"


def _document(header: Header, results: Results, work: Workload, peer: str, report: str) -> Document:
    samples = results.of(work.name, peer)
    key = f"{report}-{work.name}-{peer}"
    latency = results.latency(work.name, peer)
    times = {f"p{p}": latency.percentile(p) / MS for p in (50, 90, 99)}
    begun = min(s.began_at for s in samples)
    over = max(s.began_at + s.elapsed_seconds for s in samples)
    common: Document = {"smp_version": VERSION, "labels": {"workload": work.name, "peer": peer}}
    return {
        "test_config": {
            **common,
            "id": f"{key}-test",
            "name": work.title,
            "clients": [_client(samples, work)],
            "duration": f"{sum(s.elapsed_seconds for s in samples):.3f}s",
        },
        "result": {
            **common,
            "id": key,
            "start_time": _time(begun),
            "end_time": _time(over),
            "latencies_ms": {
                "min": latency.lowest / MS,
                "average": latency.mean / MS,
                **times,
                "max": latency.percentile(100) / MS,
            },
            "actual_QPS": statistics.median(s.rate for s in samples),
            "details_uri": f"{report}.json",
            "testId": f"{key}-test",
            "meshConfigId": f"{key}-mesh",
            "envId": f"{report}-environment",
        },
        "mesh_config": {
            **common,
            "id": f"{key}-mesh",
            "sidecar": _sidecar(samples, work, peer),
            "mtls_enabled": bool(work.mtls),
            "proxy_concurrency": 1,
            "proxy_build": header.versions.get(peer.partition("-")[0], peer),
        },
        "environment": _environment(header, report),
    }


def _client(samples: Sequence[Sample], work: Workload) -> Document:
    return {
        "internal": True,
        "load_generator": "bench/c/load.c",
        "protocol": "tcp" if not work.head else HTTP.name,
        "connections": samples[0].connections,
        "rps": round(samples[0].offered_rate),  # 0: a closed loop
    }


def _sidecar(samples: Sequence[Sample], work: Workload, peer: str) -> Document:
    """Those that stand in the way: none, one, or one on each side of mutual TLS."""
    cores = (s.proxy.total_ns / s.elapsed_seconds / 1e9 for s in samples if s.elapsed_seconds)
    rate = statistics.median(s.rate for s in samples)
    sent = statistics.median(
        s.bytes / s.elapsed_seconds if s.elapsed_seconds else 0.0 for s in samples
    )
    return {
        "count": 0 if peer == "none" else 2 if work.mtls == PAIR else 1,
        "cpu_mCores": round(1000 * statistics.median([*cores] or [0.0])),
        "mem_mb": round(statistics.median(s.memory_loaded.pss for s in samples) / MB),
        "rps": round(rate),
        "bps": round(sent),
    }


def _environment(header: Header, report: str) -> Document:
    machine = header.machine
    gib = float(machine["memory"].partition(" ")[0])
    node = {
        "type": machine["processor"],
        "cores": int(machine["cores"]),
        "mem_mb": round(gib * 2**30 / MB),
    }
    return {
        "smp_version": VERSION,
        "id": f"{report}-environment",
        "labels": machine,
        "kubernetes_version": "",  # none: processes on one machine
        "node": [node],
    }


def _time(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="milliseconds")
