"""The image with the tag -debug: the same one, with a shell and tools."""

import subprocess
from pathlib import Path

import pytest

from deploy.image.build import Built
from tests.image.files import files, libraries_missing

pytestmark = [pytest.mark.image, pytest.mark.root, pytest.mark.slow]


def inside(tree: Path, script: str) -> str:
    words = ["chroot", "--userspec=1337:1337", str(tree), "/bin/sh", "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_has_a_shell_and_looks_at_sockets_packets_and_calls(built_debug: Built) -> None:
    assert inside(built_debug.tree, "ls /usr/local/bin") == "remora\n"
    assert inside(built_debug.tree, "ip -V && ss -V && strace -V && tcpdump --version")
    assert libraries_missing(built_debug.tree) == {}


def test_it_changes_nothing_of_the_image(built_debug: Built, built: Built) -> None:
    same, other = built.tree, built_debug.tree
    changed = [
        path
        for path in files(same)
        if (other / path.relative_to(same)).read_bytes() != path.read_bytes()
    ]
    assert not changed
