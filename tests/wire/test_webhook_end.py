"""How the webhook ends, and how it does not begin."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.admission import a_pod, review_of
from tests.support.control import fetch
from tests.support.process import EXIT_OS_ERROR, EXIT_USAGE, environment
from tests.support.sockets import address_of, expect_refusal, listening, written
from tests.support.waiting import PATIENCE_S, eventually
from tests.support.webhook import Caller, Files, Webhook


@pytest.fixture
def patient(webhooks: Callable[..., Webhook], files: Files) -> Webhook:
    """A webhook that serves on for a while when it is told to end."""
    flags = ("--tls-dir", str(files.folder), "--shutdown-delay", "2s")
    return webhooks(*flags).wait_ready()


def test_it_is_unready_at_once_and_serves_newcomers_until_the_delay_is_over(
    patient: Webhook, files: Files
) -> None:
    old = Caller(patient.address, files.roots)
    assert old.ask(review_of(a_pod())).status == 200
    patient.signal(signal.SIGTERM)
    patient.wait_unready("draining")
    assert fetch(patient.admin, "/live") == (200, "live\n")
    for caller in (old, Caller(patient.address, files.roots)):
        said = caller.ask(review_of(a_pod()))
        assert said.response["allowed"] is True
        # The next review goes to another replica.
        assert said.headers["Connection"] == "close"
        caller.close()
    assert patient.wait_exit() == 0
    expect_refusal(patient.address)


def test_what_has_begun_is_answered_before_the_end(
    webhooks: Callable[..., Webhook], files: Files
) -> None:
    hook = webhooks("--tls-dir", str(files.folder)).wait_ready()
    idle, busy = Caller(hook.address, files.roots), Caller(hook.address, files.roots)
    assert idle.ask(review_of(a_pod())).status == 200
    content = json.dumps(review_of(a_pod())).encode()
    busy.putrequest("POST", "/inject")
    busy.putheader("Content-Type", "application/json")
    busy.putheader("Content-Length", str(len(content)))
    busy.endheaders(content[:100])
    eventually("it in flight", lambda: hook.metrics()("remora_webhook_in_flight") == 1)
    hook.signal(signal.SIGTERM)
    assert idle.tls.recv(1) == b""
    busy.send(content[100:])
    assert busy.answer().response["allowed"] is True
    for caller in (idle, busy):
        caller.close()
    assert hook.wait_exit() == 0


def test_an_idle_webhook_ends_at_once(hook: Webhook) -> None:
    assert hook.end() == 0
    assert hook.logged("drained")
    stopped = hook.logged("stopped")
    assert stopped
    assert stopped["exit_code"] == 0


def test_a_second_signal_ends_the_wait(patient: Webhook) -> None:
    patient.ended_as_planned = True
    patient.signal(signal.SIGTERM)
    eventually("the drain", lambda: patient.logged("draining"))
    patient.signal(signal.SIGINT)
    assert patient.wait_exit() == 1


def test_a_webhook_that_has_no_certificate_yet_ends_well(
    webhooks: Callable[..., Webhook], tmp_path: Path
) -> None:
    hook = webhooks("--tls-dir", str(tmp_path / "nothing"))
    hook.wait_unready("No such file")
    assert hook.end() == 0


def test_a_port_that_is_taken_is_named_with_its_flag(tmp_path: Path, files: Files) -> None:
    with listening("127.0.0.1") as taken:
        text = written(address_of(taken))
        hook = Webhook(tmp_path, "--tls-dir", str(files.folder), "--listen", text)
        assert hook.wait_exit() == EXIT_OS_ERROR
    line = hook.logged("start_failed")
    assert line
    assert text in line["error"]
    assert "--listen" in line["hint"]


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ((), "needs a certificate: --tls-dir DIR, or --self-signed"),
        (("--tls-dir", "x", "--self-signed"), "choose one of them"),
        (("--self-signed",), "this is no pod of a cluster: where is --api-server?"),
        (("--self-signed", "--api-server", "http://x"), "'http://x' is no https:// address"),
        (("--tls-dir", "x", "--mtls", "strict"), "--mtls: 'strict' needs a certificate"),
        (("--tls-dir", "x", "--namespace", "Shop"), "--namespace: 'Shop' is no name"),
        (("--tls-dir", "x", "here"), "'here': unexpected argument"),
        (("--tls-dri", "x"), "did you mean --tls-dir?"),
    ],
)
def test_bad_words_are_refused_before_anything_opens(words: tuple[str, ...], fault: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "webhook", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=environment(),
    )
    assert done.returncode == EXIT_USAGE
    assert fault in done.stderr
