"""Words of the command line: what is read, and what is refused with a reason."""

import pytest

from proxy import values
from proxy.values import Address, Forward, Keepalive


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("0", 0), ("500ms", 500), ("5s", 5_000), ("1.5s", 1_500), ("2m", 120_000), ("1h", 3_600_000)],
)
def test_a_duration_has_a_unit(text: str, milliseconds: int) -> None:
    assert values.duration_ms(text) == milliseconds


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "5 s", "5d", "1h30m", "\u0665s", "1e3s"])
def test_what_is_no_duration_is_told_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="500ms, 5s, 1m or 1h"):
        values.duration_ms(text)


def test_half_a_millisecond_is_refused() -> None:
    with pytest.raises(ValueError, match="finer"):
        values.duration_ms("0.5ms")


@pytest.mark.parametrize("text", ["9ms", "2s"])
def test_a_duration_out_of_range_is_told_the_range(text: str) -> None:
    with pytest.raises(ValueError, match="10ms to 1s"):
        values.duration_between("10ms", "1s")(text)


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("65536", 65_536), ("64KiB", 65_536), ("10MiB", 10_485_760)]
)
def test_a_size_may_have_a_unit(text: str, size: int) -> None:
    assert values.size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "1.5MiB", "10MB", "-1", "1 KiB"])
def test_what_is_no_size_is_told_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="10MiB"):
        values.size_bytes(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", Address("127.0.0.1", 80)),
        ("[::1]:0", Address("::1", 0)),
        ("[::]:65535", Address("::", 65535)),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, address: Address) -> None:
    assert values.address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("127.0.0.1", "no port"),
        (":80", "no port"),
        ("127.0.0.1:", "bad port"),
        ("127.0.0.1:65536", "bad port"),
        ("127.0.0.1:-1", "bad port"),
        ("127.0.0.1:http", "bad port"),
        ("::1:80", "brackets"),
        ("[127.0.0.1]:80", "brackets"),
        ("localhost:80", "bad IP address"),
        ("127.0.0.256:80", "bad IP address"),
        ("[fe80::1%eth0]:80", "bad IP address"),
    ],
)
def test_a_bad_address_is_told_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        values.address(text)


def test_a_target_may_be_a_name() -> None:
    assert values.target("app.default.svc.cluster.local:80").host == "app.default.svc.cluster.local"


@pytest.mark.parametrize("text", ["10.0.0:80", "1.2.3.400:80", "-a:80", "a b:80", "a..b:80"])
def test_a_mistyped_target_is_no_name(text: str) -> None:
    with pytest.raises(ValueError, match="bad target"):
        values.target(text)


def test_a_target_needs_a_port() -> None:
    with pytest.raises(ValueError, match="port 0"):
        values.target("app:0")


def test_a_forward_has_two_addresses() -> None:
    expected = Forward(Address("127.0.0.1", 0), Address("::1", 80))
    assert values.forward("127.0.0.1:0=[::1]:80") == expected


def test_a_forward_without_a_target_is_refused() -> None:
    with pytest.raises(ValueError, match="no target"):
        values.forward("127.0.0.1:80")


@pytest.mark.parametrize(
    ("text", "keepalive"),
    [
        ("10s/5s/4", Keepalive(10, 5, 4)),
        ("1m/5s", Keepalive(60, 5, 3)),
        ("7s", Keepalive(7, 7, 3)),
        ("off", Keepalive(0, 1, 1)),
    ],
)
def test_parts_of_keepalive_may_be_left_out(text: str, keepalive: Keepalive) -> None:
    assert values.keepalive(text) == keepalive


@pytest.mark.parametrize("text", ["", "10", "500ms", "10s/0/3", "10s/5s/0", "10s/5s/3/1", "10h"])
def test_keepalive_that_the_kernel_would_refuse_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        values.keepalive(text)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("ON", True), ("0", False)])
def test_a_switch_reads_the_usual_words(text: str, value: object) -> None:
    assert values.switch(text) is value


def test_a_switch_refuses_other_words() -> None:
    with pytest.raises(ValueError, match="neither"):
        values.switch("maybe")


def test_a_path_is_absolute() -> None:
    with pytest.raises(ValueError, match="absolute"):
        values.path("control.sock")


def test_a_path_fits_the_address_of_a_unix_socket() -> None:
    longest = "/" + "a" * 106
    assert values.path(longest) == longest
    with pytest.raises(ValueError, match="107 bytes"):
        values.path(longest + "a")
