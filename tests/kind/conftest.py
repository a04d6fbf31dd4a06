"""A cluster, and a namespace of its own for each test."""

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from tests.kind import objects
from tests.kind.clusters import Cluster, kubeconfig


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster with remora in it that deploy/kind/run has made."""
    return Cluster(kubeconfig())


_NUMBERS = count(1)


@pytest.fixture
def make_namespace(cluster: Cluster) -> Iterator[Callable[[str], str]]:
    """Make namespaces; their end is not waited for."""
    made = []

    def make(kind: str) -> str:
        name = f"{kind}-{next(_NUMBERS)}"
        cluster.apply(objects.namespace(name, injected=kind == "meshed"))
        made.append(name)
        return name

    yield make
    for name in made:
        cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def meshed(make_namespace: Callable[[str], str]) -> str:
    """A namespace whose pods get the sidecar from the webhook."""
    return make_namespace("meshed")


@pytest.fixture
def bare(make_namespace: Callable[[str], str]) -> str:
    """A namespace that says nothing."""
    return make_namespace("bare")
