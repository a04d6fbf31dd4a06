"""Each fuzzer for a moment, as `python -m tests.fuzz` runs it, and canaries that must be caught."""

import os
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.fuzz.detect import check_detection
from tests.fuzz.mutate import mutate
from tests.fuzz.targets import TARGETS
from tests.probes.build import ROOT, has_asan

# Inputs that take a second or two each.
INPUTS = {"detect": 6_000, "timer": 600, "slab": 1_500, "http1": 40_000, "path": 100_000} | {
    "handshake": 500,
    "svid": 15_000,
}
CANARY_INPUTS = 3_000


def fuzz(folder: Path, name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command. What a sanitizer says of a planted fault goes to `folder`, too."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    if has_asan() and TARGETS[name].is_canary:
        environment["ASAN_OPTIONS"] += f":log_path={folder / 'asan'}"
    command = [sys.executable, "-m", "tests.fuzz", "--plain", "--target", name]
    return subprocess.run(
        [*command, "--folder", str(folder), *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_target_is_smoked() -> None:
    assert INPUTS.keys() == {name for name, target in TARGETS.items() if not target.is_canary}


@pytest.mark.parametrize("name", INPUTS)
def test_a_moment_of_fuzzing_finds_nothing(tmp_path: Path, name: str) -> None:
    done = fuzz(tmp_path, name, "--seed", "smoke", "--inputs", str(INPUTS[name]))
    assert done.returncode == 0, done.stdout + done.stderr


def found_by(tmp_path: Path, name: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    done = fuzz(tmp_path, name, "--seed", "smoke", "--inputs", str(CANARY_INPUTS))
    assert done.returncode == 1, done.stdout + done.stderr
    (finding,) = tmp_path.glob(f"{name}-*")
    return done, finding


def test_a_planted_wrong_verdict_is_found_and_shown_again(tmp_path: Path) -> None:
    _, finding = found_by(tmp_path, "canary-verdict")
    assert fuzz(tmp_path, "canary-verdict", "--replay", str(finding)).returncode == 1
    assert fuzz(tmp_path, "detect", "--replay", str(finding)).returncode == 0


def test_a_codec_that_overlooks_a_field_is_found(tmp_path: Path) -> None:
    _, finding = found_by(tmp_path, "canary-framing")
    assert fuzz(tmp_path, "canary-framing", "--replay", str(finding)).returncode == 1
    assert fuzz(tmp_path, "http1", "--replay", str(finding)).returncode == 0


@pytest.mark.parametrize("name", ["svid", "handshake"])
def test_a_proxy_that_does_not_look_at_a_peer_is_found(tmp_path: Path, name: str) -> None:
    _, finding = found_by(tmp_path, f"canary-{name}")
    assert fuzz(tmp_path, f"canary-{name}", "--replay", str(finding)).returncode == 1
    assert fuzz(tmp_path, name, "--replay", str(finding)).returncode == 0


def test_a_planted_overread_kills_the_fuzzer_and_is_found_all_the_same(tmp_path: Path) -> None:
    done, finding = found_by(tmp_path, "canary-crash")
    assert "the process died" in done.stdout or "exit" in done.stdout
    assert b"\0\x16" in finding.read_bytes()


def test_the_same_seed_gives_the_same_inputs() -> None:
    seeds = TARGETS["detect"].seeds()
    dice = [random.Random("7") for _ in range(2)]  # noqa: S311 - not a secret
    assert [mutate(seeds, dice[0]) for _ in range(50)] == [
        mutate(seeds, dice[1]) for _ in range(50)
    ]


def test_every_prefix_of_every_seed_agrees_with_the_reference(probe: ModuleType) -> None:
    for text in TARGETS["detect"].seeds():
        for count in range(0, len(text), max(1, len(text) // 100)):
            check_detection(probe, text[:count])
        check_detection(probe, text)
