"""The webhook's certificate: read, changed under live connections, not lost to half a change."""

import ssl
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.admission import a_pod, review_of
from tests.support.svids import Signer
from tests.support.waiting import eventually
from tests.support.webhook import LEAF, Caller, Files, Webhook

HOUR = timedelta(hours=1)


def serial_of(hook: Webhook, files: Files) -> int:
    """Return the serial number of the certificate that a new connection is shown."""
    caller = Caller(hook.address, files.roots)
    try:
        shown = caller.tls.getpeercert()
    finally:
        caller.close()
    assert shown
    return int(str(shown["serialNumber"]), 16)


def test_the_certificate_is_the_one_of_the_directory(hook: Webhook, files: Files) -> None:
    made = files.issue()
    eventually("it", lambda: serial_of(hook, files) == made.leaf.serial_number)
    expiry = hook.metrics()("remora_webhook_certificate_expiry_timestamp_seconds")
    eventually("its end", lambda: expiry == made.leaf.not_valid_after_utc.timestamp())


def test_a_new_certificate_is_taken_over_and_connections_that_stand_go_on(
    hook: Webhook, files: Files, caller: Caller
) -> None:
    assert caller.ask(review_of(a_pod())).status == 200
    before = caller.tls.getsockname()
    for count in (1, 2, 3):
        made = files.issue()
        eventually("the new one", lambda: serial_of(hook, files) == made.leaf.serial_number)  # noqa: B023
        assert caller.ask(review_of(a_pod())).response["allowed"] is True
        reloads = hook.metrics()("remora_webhook_certificate_reloads_total", result="taken")
        assert reloads == count
    assert caller.tls.getsockname() == before


def test_a_new_authority_is_taken_over(hook: Webhook, files: Files) -> None:
    files.authority = Signer.root("another")
    made = files.issue()

    def is_shown() -> bool:
        try:
            return serial_of(hook, files) == made.leaf.serial_number
        except ssl.SSLError:
            return False  # the old one, which nobody here trusts

    eventually("the new one", is_shown)


def test_a_key_of_another_certificate_changes_nothing_and_is_told(
    hook: Webhook, files: Files
) -> None:
    before = serial_of(hook, files)
    torn = files.authority.issue(LEAF)
    files.put({"tls.crt": torn.chain_pem(), "tls.key": files.authority.issue(LEAF).key_pem()})
    eventually("a word", lambda: hook.logged("certificate_refused"))
    line = hook.logged("certificate_refused")
    assert line
    assert "the key is not that of the certificate" in line["error"]
    assert serial_of(hook, files) == before
    assert hook.readiness()[0] == 200
    assert hook.metrics()("remora_webhook_certificate_reloads_total", result="refused") == 1
    made = files.issue()
    eventually("the next one", lambda: serial_of(hook, files) == made.leaf.serial_number)


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("tls.crt", b"nonsense", "the certificate cannot be read"),
        ("tls.key", b"nonsense", "the key cannot be read"),
        ("tls.crt", b"", "the certificate cannot be read"),
        ("tls.crt", b"x" * (2 << 20), "larger than"),
    ],
)
def test_what_cannot_be_read_changes_nothing_and_is_told(
    name: str, text: bytes, error: str, hook: Webhook, files: Files
) -> None:
    before = serial_of(hook, files)
    whole = {each: (files.folder / each).read_bytes() for each in ("tls.crt", "tls.key")}
    files.put({**whole, name: text})
    eventually("a word", lambda: hook.logged("certificate_refused"))
    line = hook.logged("certificate_refused")
    assert line
    assert error in line["error"]
    assert serial_of(hook, files) == before


def test_a_certificate_that_has_ended_is_not_taken(hook: Webhook, files: Files) -> None:
    before = serial_of(hook, files)
    files.issue(LEAF.but(begins=-2 * HOUR, ends=-HOUR))
    eventually("a word", lambda: hook.logged("certificate_refused"))
    assert serial_of(hook, files) == before


def test_files_that_come_later_are_waited_for(
    webhooks: Callable[..., Webhook], tmp_path: Path
) -> None:
    files = Files(tmp_path / "later")
    hook = webhooks("--tls-dir", str(files.folder))
    hook.wait_unready("later/tls.crt: No such file or directory")
    caller = Caller(hook.address, files.roots)
    with pytest.raises(OSError, match=r".*"):
        caller.ask(review_of(a_pod()))
    files.issue()
    hook.wait_ready()
    caller = Caller(hook.address, files.roots)
    assert caller.ask(review_of(a_pod())).status == 200
    caller.close()


def test_files_that_go_change_nothing(hook: Webhook, files: Files) -> None:
    before = serial_of(hook, files)
    (files.folder / "..data").unlink()
    eventually("a word", lambda: hook.logged("certificate_refused"))
    assert serial_of(hook, files) == before


def test_a_certificate_that_ends_soon_is_told_of(
    webhooks: Callable[..., Webhook], files: Files
) -> None:
    files.issue(LEAF.but(begins=-100 * HOUR, ends=HOUR))
    hook = webhooks("--tls-dir", str(files.folder)).wait_ready()
    eventually("a word", lambda: hook.logged("certificate_ends_soon"))


def test_tls_below_1_2_is_not_spoken(hook: Webhook, files: Files) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        caller = Caller(hook.address, files.roots)
        caller.context.minimum_version = caller.context.maximum_version = version
        assert caller.tls.version() == str(version.name).replace("v1_", "v1.")
        assert caller.tls.selected_alpn_protocol() == "http/1.1"
        caller.close()
    caller = Caller(hook.address, files.roots)
    caller.context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        caller.context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        caller.context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        caller.tls.version()


def test_an_api_server_with_another_ca_bundle_is_told_of_in_the_log(hook: Webhook) -> None:
    stranger = Files(Path("/nowhere"), "a stranger's")
    caller = Caller(hook.address, stranger.roots)
    with pytest.raises(ssl.SSLCertVerificationError):
        caller.tls.version()
    eventually("a word", lambda: hook.logged("handshake_failed"))
    line = hook.logged("handshake_failed")
    assert line
    assert "UNKNOWN_CA" in line["error"]
    assert "caBundle" in line["hint"]
