"""The identity of the mesh from cert-manager: files for its charts and objects, of one piece."""

from typing import Any

import kubernetes_validate
import pytest
import yaml

from deploy import rendering
from proxy.policy.effective import DEFAULT_TRUST_DOMAIN
from tests.unit.inject.manifests import environment, injected

Object = dict[str, Any]

FOLDER = rendering.DEPLOY / "identity"
VERSIONS = ("1.29.0", "1.33.0", "1.37.0")


def objects(name: str) -> list[Object]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def one(kind: str) -> Object:
    (found,) = [each for each in objects("mesh-ca.yaml") if each["kind"] == kind]
    return found


DRIVER = yaml.safe_load((FOLDER / "csi-driver-spiffe.yaml").read_text())["app"]


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_accepts_what_is_its_own(version: str) -> None:
    everything = [*objects("mesh-ca.yaml"), *objects("example.yaml")]
    known = [each for each in everything if not each["apiVersion"].startswith("cert-manager")]
    for each in known:
        kubernetes_validate.validate(each, version, strict=True)
    assert len(known) == 8


def test_the_authority_signs_for_the_trust_domain_and_keeps_its_key() -> None:
    spec = one("Certificate")["spec"]
    assert spec["isCA"] is True
    assert spec["uris"] == [f"spiffe://{DEFAULT_TRUST_DOMAIN}"]
    assert spec["issuerRef"]["name"] == one("Issuer")["metadata"]["name"]
    assert one("ClusterIssuer")["spec"]["ca"]["secretName"] == spec["secretName"]
    # A new key would be a root that nobody trusts yet.
    assert spec["privateKey"]["rotationPolicy"] == "Never"


def test_the_driver_asks_that_authority_and_hands_its_root_to_the_pods() -> None:
    issuer = one("ClusterIssuer")["metadata"]["name"]
    assert DRIVER["trustDomain"] == DEFAULT_TRUST_DOMAIN
    assert DRIVER["issuer"] == {"name": issuer, "kind": "ClusterIssuer", "group": "cert-manager.io"}
    assert DRIVER["approver"]["signerName"] == f"clusterissuers.cert-manager.io/{issuer}"
    driver = DRIVER["driver"]
    (volume,), (mount,) = driver["volumes"], driver["volumeMounts"]
    assert volume["secret"]["secretName"] == one("Certificate")["spec"]["secretName"]
    assert volume["name"] == mount["name"]
    assert driver["sourceCABundle"] == f"{mount['mountPath']}/ca.crt"


def test_pods_may_ask_for_a_certificate_and_for_nothing_else() -> None:
    (rule,) = one("ClusterRole")["rules"]
    assert (rule["resources"], rule["verbs"]) == (["certificaterequests"], ["create"])
    binding = one("ClusterRoleBinding")
    assert binding["roleRef"]["name"] == one("ClusterRole")["metadata"]["name"]
    assert binding["subjects"][0]["name"] == "system:serviceaccounts"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_example_gets_certificates_and_is_accepted(version: str) -> None:
    made = {}
    for each in objects("example.yaml"):
        if each["kind"] == "Deployment":
            template = injected(each["spec"]["template"])
            each["spec"]["template"] = template
            kubernetes_validate.validate(each, version, strict=True)
            made[each["metadata"]["name"]] = template
    for template in made.values():
        (csi,) = [each["csi"] for each in template["spec"]["volumes"] if "csi" in each]
        assert csi["driver"] == "spiffe.csi.cert-manager.io"
    web, client = environment(made["web"]), environment(made["client"])
    assert (web["REMORA_MTLS"], web["REMORA_PROBES"]) == ("strict", "8080/")
    assert client["REMORA_MANIFESTS"] == "/etc/remora/manifests"
