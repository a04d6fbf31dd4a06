"""Durations of the two APIs."""

import re

import pytest

from proxy.sources.times import gateway_ms, go_ms


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("0s", 0), ("10s", 10_000), ("1h30m", 5_400_000), ("1m500ms", 60_500), ("2s3s", 5000)],
)
def test_a_duration_of_gateway_api_is_a_sum(text: str, milliseconds: int) -> None:
    assert gateway_ms(text) == milliseconds


@pytest.mark.parametrize(
    "text", ["", "0", "1", "1.5s", "-1s", "1us", "123456s", "1h1m1s1ms1s", "1 s", "1s\n", "१s"]
)
def test_what_gep_2257_does_not_know_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        gateway_ms(text)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("0", 0), ("0s", 0), ("1.5s", 1500), ("100ms", 100), ("1h0.5m", 3_630_000), ("2000us", 2)],
)
def test_istio_writes_durations_as_go_does(text: str, milliseconds: int) -> None:
    assert go_ms(text) == milliseconds


@pytest.mark.parametrize("text", ["", "1", "-1s", ".5s", "1d", "1e3s"])
def test_what_go_does_not_know_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        go_ms(text)


@pytest.mark.parametrize(
    ("text", "why"), [("1us", "finer than a millisecond"), ("9999h", "longer than 24 days")]
)
def test_a_duration_that_cannot_be_kept_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        go_ms(text)
