"""What a command loads: ctl starts in a blink, an idle proxy has no scraper's parts."""

import subprocess
import sys
from pathlib import Path

import pytest


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["asyncio", "uvloop", "h11", "proxy._fastpath", "ssl", "cryptography"]
)
def test_ctl_runs_without(module: str) -> None:
    assert module not in loaded_by("import proxy.cli, proxy.ctl")


@pytest.mark.parametrize("module", ["dataclasses", "pathlib", "urllib.parse", "proxy.ctl_text"])
def test_the_hook_that_begins_a_drain_loads_no_more_than_it_needs(module: str) -> None:
    """It runs at the end of every pod. Whatever site loads by itself is none of ours."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); from proxy.cli import main;"
    code += "main(['ctl', 'drain', '--control', '/nowhere/s']); print(*sys.modules)"
    command = [sys.executable, "-S", "-c", code, str(Path(__file__).parents[3])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert module not in done.stdout.split()


def test_a_bad_flag_is_refused_before_the_loop_is_loaded() -> None:
    statement = "from proxy.cli import main; main(['proxy', '--nonsense'])"
    assert not {"asyncio", "uvloop"} & loaded_by(statement)


def test_a_proxy_that_nobody_scrapes_does_not_load_prometheus() -> None:
    assert "prometheus_client" not in loaded_by("import proxy.app")


def test_only_the_engine_imports_the_extension() -> None:
    folder = Path(__file__).parents[3] / "proxy"
    users = [path.name for path in folder.glob("*.py") if "_fastpath import" in path.read_text()]
    assert users == ["engine.py"]
