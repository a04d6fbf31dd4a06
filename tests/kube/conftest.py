"""An API server for the tests of each file. Each test has a namespace of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hooks import Admission, Hook, Json, Mutate, configuration
from tests.support.kube import ApiServer, missing
from tests.support.tools import needed


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A real API server, if it was built (`make kube`) and there is a kubectl to ask it with."""
    if why := missing():
        pytest.skip(why)
    needed("kubectl")
    made = ApiServer(tmp_path_factory.mktemp("apiserver"))
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def namespace(server: ApiServer) -> str:
    """A namespace of this test alone."""
    return server.namespace()


@pytest.fixture
def hook(server: ApiServer, tmp_path: Path) -> Iterator[Hook]:
    """Call it to have a webhook that the server asks as long as the test runs."""
    made: list[tuple[str, Admission]] = []

    def build(name: str, mutate: Mutate, *entries: Json, dns: str = "localhost") -> Admission:
        folder = tmp_path / name
        folder.mkdir()
        admission = Admission(folder, mutate, dns)
        made.append((name, admission))
        server.apply(configuration(name, admission.url, admission.ca, *entries))
        return admission

    try:
        yield build
    finally:
        for name, admission in made:
            server.said("delete", "mutatingwebhookconfiguration", name)
            admission.stop()
