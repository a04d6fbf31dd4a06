"""What the proxy tells of its pod is what injection has put into its environment."""

from proxy.pod import pod_facts
from tests.unit.inject.manifests import environment, injected, pod

OURS = ("POD_", "NODE_", "SERVICE_ACCOUNT")


def test_every_variable_of_the_pod_that_is_injected_is_told() -> None:
    given = {name: name.lower() for name in environment(injected(pod())) if name.startswith(OURS)}
    assert sorted(pod_facts(given).values()) == sorted(given.values())


def test_outside_of_a_pod_there_is_nothing_to_tell() -> None:
    assert set(pod_facts({}).values()) == {""}
