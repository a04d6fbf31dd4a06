"""Services and opaque ports as the command line names them."""

import pytest

from proxy.config import Config, ConfigError, read_config
from proxy.engine import HANDLINGS, Engine
from proxy.services import DETECT, OPAQUE, RELAY, Service, handling
from proxy.snapshot import draft
from proxy.values import Address


def read(*flags: str, **environ: str) -> Config:
    return read_config(flags, environ)


def faults_of(*flags: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_config(flags, environ)
    return caught.value.faults


def test_a_service_has_a_name_and_addresses() -> None:
    (service,) = read("--service", "shop/web=10.96.0.10:80,[fd00::7]:8080").services
    addresses = (Address("10.96.0.10", 80), Address("fd00::7", 8080))
    assert service == Service("shop/web", addresses, DETECT)


def test_a_service_may_declare_its_protocol() -> None:
    (service,) = read("--service=db=10.0.0.9:3306/mysql").services
    assert service.handling == OPAQUE


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("", DETECT),
        ("http", DETECT),
        ("HTTP", DETECT),
        ("kubernetes.io/h2c", DETECT),
        ("kubernetes.io/ws", DETECT),
        ("https", RELAY),
        ("tls", RELAY),
        ("kubernetes.io/wss", RELAY),
        ("tcp", OPAQUE),
        ("redis", OPAQUE),
        ("linkerd.io/opaque", OPAQUE),
        ("example.org/a-word-nobody-knows", OPAQUE),
    ],
)
def test_what_is_declared_decides_what_is_done_with_the_bytes(protocol: str, expected: str) -> None:
    assert handling(protocol) == expected
    assert expected in HANDLINGS


def test_services_of_the_variable_are_separated_by_spaces() -> None:
    services = read(REMORA_SERVICE="a=10.0.0.1:80,10.0.0.2:80\n  b=10.0.0.3:80 ").services
    assert [(each.name, len(each.addresses)) for each in services] == [("a", 2), ("b", 1)]


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("shop/web", "has no address"),
        ("=10.0.0.1:80", "has a bad name ''"),
        ("Shop=10.0.0.1:80", "has a bad name 'Shop'"),
        ("a/b/c=10.0.0.1:80", "has a bad name 'a/b/c'"),
        ("shop-/web=10.0.0.1:80", "has a bad name 'shop-/web'"),
        (f"{'a' * 64}=10.0.0.1:80", "has a bad name"),
        ("unknown=10.0.0.1:80", "has the name 'unknown'"),
        ("other=10.0.0.1:80", "has the name 'other'"),
        ("web=", "has the address '', which has no port"),
        ("web=10.0.0.1", "has the address '10.0.0.1', which has no port"),
        ("web=10.0.0.1:80,", "has the address '', which has no port"),
        ("web=web.example:80", "has a bad IP address 'web.example'"),
        ("web=10.0.0.1:0", "has the address '10.0.0.1:0', which has port 0"),
        ("web=10.0.0.1:80/", "has a bad protocol ''"),
        ("web=10.0.0.1:80/a b", "has a bad protocol 'a b'"),
    ],
)
def test_a_wrong_word_is_named(word: str, complaint: str) -> None:
    (fault,) = faults_of("--service", word)
    assert fault.startswith(f"--service: {word!r} ")
    assert complaint in fault


def test_a_name_is_given_once() -> None:
    faults = faults_of("--service", "a=10.0.0.1:80", "--service", "a=10.0.0.2:80")
    assert faults == ["--service: 'a' is given twice"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("10.0.0.1:80", "10.0.0.1:80"),
        ("[fd00::1]:80", "[fd00:0::0:1]:80"),
        ("10.0.0.1:80", "[::ffff:10.0.0.1]:80"),
    ],
)
def test_an_address_belongs_to_one_service_however_it_is_written(first: str, second: str) -> None:
    (fault,) = faults_of(REMORA_SERVICE=f"a={first} b={second}")
    assert fault.startswith("REMORA_SERVICE: '")
    assert fault.endswith(" of 'b' is taken by 'a'")


def test_one_host_may_serve_two_services_on_two_ports() -> None:
    assert len(read("--service", "a=10.0.0.1:80", "--service", "b=10.0.0.1:81").services) == 2


# --- opaque ports --------------------------------------------------------------------------------


def test_opaque_ports_are_ports_and_ranges() -> None:
    assert read("--opaque-ports", "3306,5432-5434,5433").opaque_ports == (3306, 5432, 5433, 5434)
    assert read("--opaque-ports", "1-65535").opaque_ports == tuple(range(1, 65_536))


def test_no_port_is_opaque_unless_asked_for() -> None:
    assert read().opaque_ports == ()


def test_the_variable_lists_ports_as_the_flag_does() -> None:
    assert read(REMORA_OPAQUE_PORTS="25,587").opaque_ports == (25, 587)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("mysql", "has a bad port 'mysql'"),
        ("0", "has a bad port '0'"),
        ("65536", "has a bad port '65536'"),
        ("1-", "has a bad port '1-'"),
        ("-5", "has a bad port '-5'"),
        ("80,5440-5432", "has the range '5440-5432'"),
    ],
)
def test_a_wrong_port_is_named(text: str, complaint: str) -> None:
    (fault,) = faults_of(f"--opaque-ports={text}")
    assert fault.startswith(f"--opaque-ports: {text!r} {complaint}")


# --- on their way to the workers -----------------------------------------------------------------


def test_a_service_keeps_its_number_over_snapshots() -> None:
    engine = Engine(1, 1)
    try:
        for words in (("a", "b"), ("c", "b"), ("b", "a")):
            flags = [f"--service={name}=10.0.0.{n}:80" for n, name in enumerate(words)]
            engine.publish(draft(read(*flags), []))
        assert engine._fast.services == ["unknown", "other", "a", "b", "c"]
    finally:
        engine.stop()
