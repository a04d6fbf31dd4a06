"""A path has one form: what two servers could read differently is resolved or refused."""

from types import ModuleType

import pytest

from proxy.policy.paths import normalize
from tests.probes import build


@pytest.fixture(scope="session")
def policy_probe() -> ModuleType:
    return build.loaded("policy")


FORMS = [
    ("/", "/"),
    ("/a/b", "/a/b"),
    ("/a/b/", "/a/b/"),
    # RFC 3986 section 5.2.4
    ("/a/b/c/./../../g", "/a/g"),
    ("/a/.", "/a/"),
    ("/a/..", "/"),
    ("/a/b/..", "/a/"),
    ("/..", "/"),
    ("/../../a", "/a"),
    ("/a/...", "/a/..."),
    ("/.a/..b", "/.a/..b"),
    # repeated slashes
    ("//", "/"),
    ("//a///b//", "/a/b/"),
    ("/a//../b", "/b"),
    # escapes: what need not be one is none, the rest has capitals, nothing is decoded twice
    ("/%61%2D%5f%7e%30", "/a-_~0"),
    ("/%2e%2E/%2e/x", "/x"),
    ("/a%20%c3%a9%3f", "/a%20%C3%A9%3F"),
    ("/%252e%252e/a", "/%252e%252e/a"),
    ("/%252f", "/%252f"),
    # parameters belong to their segment
    ("/a;x=1/b", "/a;x=1/b"),
    ("/a;../b", "/a;../b"),
    ("/...;x", "/...;x"),
]
REFUSED = [
    *("", "a", "*", "/a%2fb", "/a%2Fb", "/a%5cb", "/a\\b", "/%00", "/%", "/%4", "/%zz", "/a%2"),
    *("/..;/a", "/a/..;x=1/b", "/.;/a", "/%2e%2e;/a", "/a/..;"),
]


@pytest.mark.parametrize(("path", "form"), FORMS)
def test_a_path_has_one_form(policy_probe: ModuleType, path: str, form: str) -> None:
    assert policy_probe.normalize(path.encode()) == form.encode()
    assert normalize(path.encode()) == form.encode()


@pytest.mark.parametrize("path", REFUSED)
def test_a_path_that_servers_read_in_several_ways_has_none(
    policy_probe: ModuleType, path: str
) -> None:
    assert policy_probe.normalize(path.encode()) is None
    assert normalize(path.encode()) is None


@pytest.mark.parametrize(("path", "form"), FORMS)
def test_the_form_of_a_form_is_itself(policy_probe: ModuleType, path: str, form: str) -> None:
    assert policy_probe.normalize(form.encode()) == form.encode(), path


def test_a_long_path_climbs_as_far_as_it_went(policy_probe: ModuleType) -> None:
    path = b"/" + b"a/" * 2_000 + b"../" * 1_999 + b"end"
    assert policy_probe.normalize(path) == b"/a/end"
