"""When a figure does not mean what it seems to: each doubt has a name and a reason."""

from typing import Final

from bench.measure import Sample

BUSY: Final = 0.9  # share of a core from which on its process counts as the bottleneck
RATE_KEPT: Final = 0.98  # share of the offered rate that must have been served
LAG_SHARE_MAX: Final = 0.5  # of the latency that may be the generator's own lateness
OTHERS_SHARE_MAX: Final = 0.05  # of a core that anything else may take, the hypervisor too

DISTURBED: Final = "disturbed"
REASONS: Final = {
    "generator": "generator and upstream filled their core before the peer filled its own: "
    "requests a second are theirs, not the peer's limit (CPU of the proxy stands)",
    "overload": "the peer did not serve the offered rate: its latency is that of a queue",
    "late": "the generator was itself late: its own wake-ups are a large part of the latency",
    "stolen": "the hypervisor took more than a twentieth of a core: the latencies are those of "
    "waiting for it, too",
    DISTURBED: "something else used the two cores during the run",
}


def doubts(sample: Sample) -> list[str]:
    """Names of what is doubtful in one sample; see REASONS."""
    if not sample.elapsed_seconds:
        return []
    span_ns = sample.elapsed_seconds * 1e9
    load_full = sample.load_ns / span_ns >= BUSY
    proxy_full = sample.proxy.total_ns / span_ns >= BUSY
    found = []
    if sample.offered_rate:
        found += _open_loop(sample, load_full=load_full)
    elif load_full and not proxy_full and sample.proxy.total_ns:
        found.append("generator")
    if sample.others_ns / span_ns > OTHERS_SHARE_MAX:
        found.append(DISTURBED)
    return found


def _open_loop(sample: Sample, *, load_full: bool) -> list[str]:
    found = []
    if sample.unsent or sample.rate < RATE_KEPT * sample.offered_rate:
        found.append("generator" if load_full else "overload")
    if sample.lag.percentile(99) > LAG_SHARE_MAX * sample.latency.percentile(99):
        found.append("late")
    if sample.stolen_ms / 1000 > OTHERS_SHARE_MAX:
        found.append("stolen")
    return found
