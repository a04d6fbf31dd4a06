"""The machine line: what a reader needs to judge figures, and nothing that names the machine."""

import os
import platform
import re
from pathlib import Path

from bench import network


def describe() -> dict[str, str]:
    """Processor, cores, memory, kernel, distribution, interpreter, load before the run."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", info, re.MULTILINE)
    kernel = re.match(r"[\d.]+", platform.release())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": model.group(1) if model else platform.machine(),
        "cores": str(os.cpu_count()),
        "virtual": "yes" if re.search(r"^flags.*\bhypervisor\b", info, re.MULTILINE) else "no",
        "memory": f"{memory:.0f} GiB",
        "kernel": f"Linux {kernel.group() if kernel else 'unknown'}",
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
        "python": platform.python_version(),
        "congestion control": network.congestion(),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def line(described: dict[str, str]) -> str:
    """Return all of it in one line."""
    return ", ".join(f"{name} {value}" for name, value in described.items())
