"""Objects for tests: written as YAML, read as the proxy reads them."""

from pathlib import Path

import pytest

from proxy.sources.loading import load_files
from proxy.sources.objects import Objects
from proxy.sources.strict import Fault, FaultsError


def loaded(tmp_path: Path, *texts: str) -> Objects:
    paths = []
    for number, text in enumerate(texts):
        paths.append(tmp_path / f"{number}.yaml")
        paths[-1].write_text(text)
    return load_files(paths)


def faults_of(tmp_path: Path, *texts: str) -> tuple[Fault, ...]:
    with pytest.raises(FaultsError) as caught:
        loaded(tmp_path, *texts)
    return caught.value.faults


def istio(kind: str, name: str, spec: str = "", namespace: str = "shop", created: str = "") -> str:
    """Return an object of `security.istio.io`; `spec` is YAML in flow style."""
    time = f", creationTimestamp: {created}" if created else ""
    return (
        f"apiVersion: security.istio.io/v1\nkind: {kind}\n"
        f"metadata: {{name: {name}, namespace: {namespace}{time}}}\n"
        f"spec: {spec or '{}'}\n---\n"
    )


def peers(name: str, spec: str = "", namespace: str = "shop", created: str = "") -> str:
    return istio("PeerAuthentication", name, spec, namespace, created)


def policies(name: str, spec: str = "", namespace: str = "shop") -> str:
    return istio("AuthorizationPolicy", name, spec, namespace)


def pod(  # noqa: PLR0913 - fields of an object
    name: str,
    ip: str = "10.0.0.1",
    *,
    namespace: str = "shop",
    labels: str = "{app: web}",
    account: str = "web",
    spec: str = "containers: [{name: app}, {name: remora-proxy}]",
    phase: str = "Running",
) -> str:
    return (
        "apiVersion: v1\nkind: Pod\n"
        f"metadata: {{name: {name}, namespace: {namespace}, labels: {labels}}}\n"
        f"spec: {{serviceAccountName: {account}, {spec}}}\n"
        f"status: {{phase: {phase}, podIP: {ip}, podIPs: [{{ip: {ip}}}]}}\n---\n"
    )
