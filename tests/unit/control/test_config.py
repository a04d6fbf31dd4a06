"""Settings of a proxy: where they come from, what they default to, what contradicts what."""

from collections.abc import Mapping

import pytest

from proxy import config
from proxy.config import Config, ConfigError, HelpWanted
from proxy.values import Address

NOTHING: Mapping[str, str] = {}


def read(*arguments: str, environ: Mapping[str, str] = NOTHING) -> Config:
    return config.read_config(arguments, environ)


def faults(*arguments: str, environ: Mapping[str, str] = NOTHING) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(*arguments, environ=environ)
    return caught.value.faults


def test_without_flags_the_ports_are_those_of_the_rules() -> None:
    settings = read()
    assert settings.outbound == (Address("127.0.0.1", 15001), Address("::1", 15001))
    assert settings.inbound == (Address("0.0.0.0", 15006), Address("::", 15006))
    assert settings.admin == Address("0.0.0.0", 15020)
    assert settings.control_listen == Address("127.0.0.1", 15000)


def test_every_default_is_a_value_that_its_option_reads() -> None:
    settings = read()
    assert all(setting.source == "default" for setting in settings.effective.values())
    assert settings.set_by == {}


def test_a_flag_may_hold_its_value_after_an_equals_sign() -> None:
    assert read("--drain-delay=3s").drain_delay_ms == 3_000


def test_a_variable_sets_what_its_flag_would() -> None:
    settings = read(environ={"REMORA_DRAIN_DELAY": "3s"})
    assert settings.drain_delay_ms == 3_000
    assert settings.set_by == {"drain_delay": "env REMORA_DRAIN_DELAY"}


def test_a_flag_wins_over_its_variable() -> None:
    settings = read("--drain-delay", "1s", environ={"REMORA_DRAIN_DELAY": "3s"})
    assert settings.drain_delay_ms == 1_000
    assert settings.set_by == {"drain_delay": "flag"}


def test_an_empty_variable_counts_as_unset() -> None:
    assert read(environ={"REMORA_WORKERS": " "}).workers == 1


def test_of_a_flag_given_twice_the_last_counts() -> None:
    assert read("--workers", "2", "--workers", "3").workers == 3


def test_a_repeated_flag_replaces_the_defaults() -> None:
    settings = read("--outbound", "127.0.0.1:1", "--outbound", "127.0.0.2:1")
    assert settings.outbound == (Address("127.0.0.1", 1), Address("127.0.0.2", 1))
    assert not settings.outbound_is_default


def test_a_repeatable_variable_is_separated_by_commas() -> None:
    settings = read(environ={"REMORA_INBOUND": "0.0.0.0:1, [::]:1"})
    assert settings.inbound == (Address("0.0.0.0", 1), Address("::", 1))


def test_a_switch_may_be_a_variable() -> None:
    assert not read(environ={"REMORA_NO_SPLICE": "true"}).splice
    assert read(environ={"REMORA_NO_SPLICE": "false"}).splice


def test_without_interception_only_explicit_listeners_remain() -> None:
    settings = read("--no-interception", "--listen", "127.0.0.1:0=app:80")
    assert settings.outbound == settings.inbound == ()
    assert len(settings.forwards) == 1


def test_servers_may_be_switched_off() -> None:
    settings = read("--admin", "off", "--control", "off", "--control-listen", "off")
    assert (settings.admin, settings.control, settings.control_listen) == (None, None, None)


def test_an_access_log_keeps_recent_connections_too() -> None:
    assert read().recent == 0
    assert read("--access-log", "json").recent == 1_000
    assert read("--recent", "5").recent == 5


def test_all_faults_are_told_at_once() -> None:
    told = faults(
        *("--workers", "many", "--nonsense", "--idle-timeout", "5"),
        environ={"REMORA_LOG_LEVEL": "loud"},
    )
    assert len(told) == 4


def test_a_fault_names_the_flag_and_the_offending_word() -> None:
    assert faults("--workers", "many") == ["--workers: 'many' is not a whole number (1 to 64)"]


def test_a_fault_of_a_variable_names_the_variable() -> None:
    (told,) = faults(environ={"REMORA_ADMIN": "everywhere"})
    assert told.startswith("REMORA_ADMIN: 'everywhere'")


def test_each_bad_word_of_a_list_is_named() -> None:
    told = faults("--outbound", "here:1", "--outbound", "there:1")
    assert ["'here:1'" in told[0], "'there:1'" in told[1]] == [True, True]


def test_a_mistyped_flag_is_told_the_nearest_one() -> None:
    assert faults("--drian-delay", "1s")[0] == (
        "--drian-delay: no such flag (did you mean --drain-delay?)"
    )


def test_a_flag_without_its_value_is_a_fault() -> None:
    assert faults("--workers") == ["--workers: needs a value (N)"]


def test_a_word_without_a_flag_is_a_fault() -> None:
    assert faults("start") == ["'start': unexpected argument"]


def test_no_interception_and_nothing_to_listen_on_is_a_fault() -> None:
    assert "nothing to listen on" in faults("--no-interception")[0]


def test_no_interception_contradicts_an_inbound_address() -> None:
    told = faults("--no-interception", "--listen", "[::1]:0=[::1]:9", "--inbound", "0.0.0.0:1")
    assert told == ["--inbound: '0.0.0.0:1' contradicts --no-interception"]


def test_one_address_cannot_have_two_owners() -> None:
    told = faults("--admin", "127.0.0.1:15001")
    assert told == ["--admin: '127.0.0.1:15001' is taken by --outbound"]


def test_the_system_may_choose_the_same_port_0_twice() -> None:
    read("--admin", "127.0.0.1:0", "--control-listen", "127.0.0.1:0")


def test_a_listener_cannot_forward_to_itself() -> None:
    assert "itself" in faults("--listen", "127.0.0.1:80=127.0.0.1:80")[0]


def test_the_operators_port_stays_on_loopback() -> None:
    assert "loopback" in faults("--control-listen", "0.0.0.0:15000")[0]


def test_a_drain_delay_ends_before_the_deadline() -> None:
    assert "drain deadline" in faults("--drain-delay", "25s")[0]
    read("--drain-deadline", "0")


def test_more_listeners_than_a_worker_holds_are_refused() -> None:
    flags = [f"--listen=127.0.0.1:{1000 + n}=127.0.0.1:9" for n in range(61)]
    assert "65 listeners" in faults(*flags)[0]


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), ("--workers", "many", "--help")])
def test_help_is_given_whatever_else_is_wrong(arguments: tuple[str, ...]) -> None:
    with pytest.raises(HelpWanted):
        read(*arguments)


def test_help_explains_every_flag_within_100_columns() -> None:
    with pytest.raises(HelpWanted) as caught:
        read("--help")
    page = str(caught.value)
    assert all(option.flag in page for group in config.GROUPS for option in group.options)
    assert max(map(len, page.splitlines())) <= 100


def test_the_effective_configuration_can_be_given_back_as_flags() -> None:
    """What the log shows at start is enough to start the same proxy again."""
    first = read("--outbound", "127.0.0.1:1", "--workers", "2", "--log-format", "text")
    variables = {f"REMORA_{key.upper()}": text for key, text in first.as_text().items()}
    second = read(environ=variables)
    assert second.as_text() == first.as_text()


def test_a_mistyped_variable_is_found() -> None:
    environ = {"REMORA_DRIAN_DELAY": "1s", "REMORA_WORKERS": "1", "HOME": "/"}
    assert config.unknown_variables(environ) == ["REMORA_DRIAN_DELAY"]


def test_variables_of_a_service_called_remora_are_not_ours() -> None:
    environ = {
        "REMORA_SERVICE_HOST": "10.0.0.1",
        "REMORA_SERVICE_PORT_HTTP": "80",
        "REMORA_PORT": "tcp://10.0.0.1:80",
        "REMORA_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    assert config.unknown_variables(environ) == []


def test_a_log_of_requests_needs_http() -> None:
    told = faults("--access-log", "combined", "--no-http")
    assert told == ["--access-log: 'combined' has requests only, and --no-http leaves none"]
