"""The command line of init: flags, their twins in the environment, and every fault at once."""

import pytest

from iptables import options
from iptables.__main__ import main
from iptables.options import FLAGS, BadArgumentsError, Options
from iptables.spec import Family, PortRange, Spec

EXIT_USAGE = 64


def parse(*argv: str, **environ: str) -> Options:
    return options.parse(argv, environ)


def faults(*argv: str, **environ: str) -> list[str]:
    with pytest.raises(BadArgumentsError) as raised:
        options.parse(argv, environ)
    return list(raised.value.lines)


def test_without_words_the_defaults_hold() -> None:
    assert parse().spec == Spec()


def test_a_list_may_be_given_with_commas_and_by_repetition() -> None:
    one = parse("--inbound-exclude-ports", "80,443", "--inbound-exclude-ports", "9000-9010")
    assert one.spec.inbound_exclude_ports == (
        PortRange(80, 80),
        PortRange(443, 443),
        PortRange(9000, 9010),
    )


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if flag.metavar], ids=lambda f: f.name)
def test_every_flag_has_a_twin_that_means_the_same(flag: options.Flag) -> None:
    values = {
        "PORT": "17000",
        "PORTS": "17000,17010-17020",
        "IDS": "17,18",
        "CIDRS": "10.0.0.0/8,fd00::/8",
        "LIST": "ipv4",
        "NAME": "nft",
        "TIME": "7s",
    }
    value = values[flag.metavar]
    by_flag = parse(flag.name, value)
    assert parse(**{flag.variable: value}) == by_flag
    assert by_flag != parse()


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if not flag.metavar], ids=lambda f: f.name)
def test_every_switch_has_a_twin_that_can_be_on_or_off(flag: options.Flag) -> None:
    on = parse(flag.name)
    assert on != parse()
    assert parse(**{flag.variable: "true"}) == on
    assert parse(**{flag.variable: "0"}) == parse()


def test_a_flag_wins_over_its_variable() -> None:
    assert parse("--proxy-uid", "7", REMORA_PROXY_UID="8").spec.uids == (7,)


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_variable_counts_as_unset(empty: str) -> None:
    assert parse(REMORA_INBOUND_EXCLUDE_PORTS=empty, REMORA_PROXY_UID=empty).spec == Spec()


def test_an_empty_flag_is_a_fault() -> None:
    assert faults("--inbound-exclude-ports", "") == [
        '--inbound-exclude-ports: "" is not a port, or a range such as 8000-8100 (1 to 65535)'
    ]


def test_every_fault_is_reported_with_its_origin_and_word() -> None:
    lines = faults(
        *("--outbound-port", "0", "--proxy-uid", "app,1", "--outbound-exclude-cidrs", "10.0.0.1/8"),
        *("--backend", "ebtables", "--no-such-flag"),
        REMORA_INBOUND_INCLUDE_PORTS="80,99999",
        REMORA_DRY_RUN="perhaps",
    )
    assert [line[: line.index('" ') + 1] for line in lines] == [
        'remora init: "--no-such-flag"',
        '--outbound-port: "0"',
        '--proxy-uid: "app"',
        'REMORA_INBOUND_INCLUDE_PORTS: "99999"',
        '--outbound-exclude-cidrs: "10.0.0.1/8"',
        '--backend: "ebtables"',
        'REMORA_DRY_RUN: "perhaps"',
    ]


def test_a_single_value_that_is_given_twice_is_a_fault() -> None:
    (line,) = faults("--outbound-port", "1", "--outbound-port", "2")
    assert line == '--outbound-port: "1,2" is more than one value'


def test_a_flag_is_never_guessed_from_its_beginning() -> None:
    assert faults("--outbound", "17000")


def test_a_flag_without_its_value_is_a_fault() -> None:
    (line,) = faults("--outbound-port")
    assert "--outbound-port" in line


@pytest.mark.parametrize(
    ("argv", "flag"),
    [
        (["--outbound-port", "15006"], "--inbound-port"),
        (["--admin-port", "15001"], "--admin-port"),
        (["--admin-port", "15006"], "--admin-port"),
    ],
)
def test_two_listeners_of_the_proxy_cannot_share_a_port(argv: list[str], flag: str) -> None:
    (line,) = faults(*argv)
    assert line.startswith(f"{flag}: ")


@pytest.mark.parametrize("other", ["--cleanup", "--dry-run"])
def test_validation_goes_with_no_other_task(other: str) -> None:
    assert faults("--validate", other) == [f'--validate: "{other}" does not go with it']


def test_an_asterisk_includes_everything() -> None:
    assert parse("--inbound-include-ports", "*").spec.takes_inbound(1)
    everywhere = parse("--outbound-include-cidrs", "*").spec
    assert [str(block) for block in everywhere.outbound_include_cidrs or ()] == [
        "0.0.0.0/0",
        "::/0",
    ]


def test_none_includes_nothing_and_is_more_than_not_given() -> None:
    spec = parse("--inbound-include-ports", "none", "--outbound-include-cidrs", "none").spec
    assert (spec.inbound_include_ports, spec.outbound_include_cidrs) == ((), ())


def test_an_asterisk_among_other_words_is_a_fault() -> None:
    assert faults("--inbound-include-ports", "80,*")
    assert faults("--outbound-include-cidrs", "*,10.0.0.0/8")


def test_the_proxy_may_have_no_group_but_must_have_a_user() -> None:
    assert parse("--proxy-gid", "none").spec.gids == ()
    assert faults("--proxy-uid", "none")


@pytest.mark.parametrize(
    ("word", "expected"),
    [("auto", None), ("ipv4", (Family.IPV4,)), ("ipv6,ipv4", (Family.IPV4, Family.IPV6))],
)
def test_families_are_named_or_found_out(word: str, expected: tuple[Family, ...] | None) -> None:
    assert parse("--families", word).spec.families == expected


def test_the_help_tells_every_flag_its_twin_and_shows_examples(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for flag in FLAGS:
        assert flag.name in text
        assert flag.variable in text
    assert "remora init --validate" in text


def test_bad_arguments_end_with_64_and_one_line_a_fault(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--outbound-port", "x", "--inbound-port", "y"]) == EXIT_USAGE
    assert len(capsys.readouterr().err.splitlines()) == 2
