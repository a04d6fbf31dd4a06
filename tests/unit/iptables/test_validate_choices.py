"""Who dials for a validation, so that the rules take the caller for an app or for the proxy."""

from iptables.probe import Identity
from iptables.spec import Spec
from iptables.validate import an_app, the_proxy

ROOT = Identity(0, 0)


def test_root_may_be_the_app_itself() -> None:
    assert an_app(Spec(), ROOT) == ROOT


def test_the_proxys_user_or_group_cannot_be_the_app() -> None:
    for me in (Identity(1337, 1000), Identity(1000, 1337)):
        app = an_app(Spec(), me)
        assert app.uid != 1337
        assert app.gid != 1337


def test_the_app_is_nobody_that_the_rules_take_for_the_proxy() -> None:
    app = an_app(Spec(uids=(0, 65534), gids=(65533,)), ROOT)
    assert app == Identity(65532, 65532)


def test_the_proxys_user_is_itself() -> None:
    me = Identity(1337, 7)
    assert the_proxy(Spec(), me) == me


def test_anybody_else_becomes_the_proxys_user_and_keeps_the_group() -> None:
    assert the_proxy(Spec(uids=(2001, 2002)), ROOT) == Identity(2001, 0)
