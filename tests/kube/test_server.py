"""The server of these tests does what others build on."""

import ssl
import urllib.error
import urllib.request

import pytest

from tests.support.kube import ApiServer


def asked(server: ApiServer, path: str, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(server.url + path, headers=headers)  # noqa: S310 - of this test
    context = ssl.create_default_context(cafile=str(server.ca))
    with urllib.request.urlopen(request, context=context) as response:  # noqa: S310 - the same
        return int(response.status)


def test_a_service_account_may_do_what_its_role_says_and_nothing_else(
    server: ApiServer, namespace: str
) -> None:
    token = server.token(namespace)
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    with pytest.raises(urllib.error.HTTPError) as refused:
        asked(server, secrets, token)
    refused.value.close()
    assert refused.value.code == 403
    place = ("-n", namespace)
    server.said("create", "role", "reader", "--verb=list", "--resource=secrets", *place)
    account = f"--serviceaccount={namespace}:default"
    server.said("create", "rolebinding", "reader", "--role=reader", account, *place)
    assert asked(server, secrets, token) == 200
