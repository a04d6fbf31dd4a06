"""`--self-signed`: from nothing to a certificate that the API server knows, and back to it."""

import base64
import ssl
from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509

from inject.webhook import issuer
from inject.webhook.options import Names
from tests.support.admission import a_pod, review_of
from tests.support.api_server import CONFIGURATION, SECRET, SECRETS, ApiServer, Refusal
from tests.support.waiting import eventually
from tests.support.webhook import NAME, Caller, Webhook

Start = Callable[..., Webhook]
NAMES = Names("remora-system", "remora-webhook", "remora-webhook-tls", "remora-webhook").dns


def is_served(hook: Webhook, roots: str) -> bool:
    """Whether an API server with this caBundle gets an answer."""
    caller = Caller(hook.address, roots)
    try:
        return caller.ask(review_of(a_pod())).response["allowed"] is True
    except ssl.SSLError:
        return False
    finally:
        caller.close()


def put_secret(api: ApiServer, kept: issuer.Kept) -> None:
    metadata = {"name": "remora-webhook-tls", "labels": {"team": "mesh"}}
    api.put(SECRET, {"metadata": metadata, "data": {**issuer.data_of(kept), "own": "eA=="}})


def test_from_nothing_to_a_certificate_that_the_api_server_knows(
    api: ApiServer, webhooks: Start
) -> None:
    hook = webhooks(*api.flags).wait_ready()
    bundles = api.bundles()
    assert bundles == [api.secret("ca.crt").decode()] * 2
    assert is_served(hook, bundles[0])
    names = api.leaf().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert NAME in names.get_values_for_type(x509.DNSName)
    assert api.objects[SECRET]["type"] == "kubernetes.io/tls"


def test_replicas_that_begin_at_once_agree(api: ApiServer, webhooks: Start) -> None:
    hooks = [webhooks(*api.flags) for _ in range(3)]
    for hook in hooks:
        hook.wait_ready()
    bundle = api.secret("ca.crt").decode()
    eventually("one caBundle", lambda: api.bundles() == [bundle, bundle])
    for hook in hooks:
        eventually("its certificate", lambda: is_served(hook, bundle))  # noqa: B023
    created = [line for hook in hooks for line in hook.log if line["event"] == "certificate_made"]
    assert len(created) == 1


def test_who_loses_the_race_for_the_secret_uses_what_the_other_wrote(
    api: ApiServer, webhooks: Start
) -> None:
    others = issuer.make(NAMES, issuer.now_utc())

    def overtake(method: str, _path: str) -> None:
        if method == "POST" and SECRET not in api.objects:
            put_secret(api, others)

    api.before = overtake
    hook = webhooks(*api.flags).wait_ready()
    assert api.count("POST", SECRETS) == 1
    assert api.secret("tls.crt") == others.pair.chain
    assert is_served(hook, others.bundle.decode())


def test_a_certificate_that_is_there_is_used_as_it_is(api: ApiServer, webhooks: Start) -> None:
    kept = issuer.make(NAMES, issuer.now_utc())
    put_secret(api, kept)
    hook = webhooks(*api.flags).wait_ready()
    assert is_served(hook, kept.bundle.decode())
    assert not api.count("PUT", SECRET)


def test_a_certificate_that_ends_soon_is_renewed_by_the_same_authority(
    api: ApiServer, webhooks: Start
) -> None:
    put_secret(api, issuer.make(NAMES, issuer.now_utc() - timedelta(days=300)))
    before, bundle = api.leaf(), api.secret("ca.crt").decode()
    hook = webhooks(*api.flags).wait_ready()
    assert api.leaf().serial_number != before.serial_number
    assert api.leaf().not_valid_after_utc > issuer.now_utc() + timedelta(days=360)
    assert api.secret("ca.crt").decode() == bundle
    assert is_served(hook, bundle)
    # What others keep in that object is theirs.
    assert api.objects[SECRET]["metadata"]["labels"] == {"team": "mesh"}
    assert api.secret("own") == b"x"


def test_a_certificate_is_renewed_while_the_webhook_serves(api: ApiServer, webhooks: Start) -> None:
    hook = webhooks(*api.flags).wait_ready()
    put_secret(api, issuer.make(NAMES, issuer.now_utc() - timedelta(days=300)))
    eventually(
        "a fresh one",
        lambda: api.leaf().not_valid_after_utc > issuer.now_utc() + timedelta(days=360),
    )
    eventually("it in use", lambda: hook.logged("certificate_renewed"))
    eventually("it known", lambda: is_served(hook, api.bundles()[0]))


def test_an_authority_that_ends_soon_gets_a_successor_and_stays_known(
    api: ApiServer, webhooks: Start
) -> None:
    old = issuer.make(NAMES, issuer.now_utc() - timedelta(days=3500))
    leaf = issuer.make(NAMES, issuer.now_utc() - timedelta(days=300), old)
    put_secret(api, leaf)
    webhooks(*api.flags).wait_ready()
    bundle = x509.load_pem_x509_certificates(api.bundles()[0].encode())
    assert len(bundle) >= 2
    assert x509.load_pem_x509_certificates(leaf.bundle)[0] in bundle
    api.leaf().verify_directly_issued_by(bundle[0])


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"tls.crt": "", "tls.key": ""},
        {"tls.crt": "bm9uc2Vuc2U=", "tls.key": "bm9uc2Vuc2U=", "ca.crt": "bm9uc2Vuc2U="},
        {"tls.crt": "%", "tls.key": 7, "ca.crt": ["x"]},
    ],
)
def test_a_secret_without_a_certificate_gets_one(
    data: object, api: ApiServer, webhooks: Start
) -> None:
    api.put(SECRET, {"metadata": {"name": "remora-webhook-tls"}, "data": data})
    hook = webhooks(*api.flags).wait_ready()
    assert is_served(hook, api.bundles()[0])


def test_a_certificate_for_other_names_is_replaced(api: ApiServer, webhooks: Start) -> None:
    put_secret(api, issuer.make(["elsewhere.svc"], issuer.now_utc()))
    hook = webhooks(*api.flags).wait_ready()
    eventually("it", lambda: is_served(hook, api.bundles()[0]))


def test_a_ca_bundle_that_somebody_changed_is_set_again(api: ApiServer, webhooks: Start) -> None:
    hook = webhooks(*api.flags).wait_ready()
    right = api.bundles()
    api.configure("", base64.b64encode(b"another").decode())
    eventually("it set again", lambda: api.bundles() == right)
    assert hook.readiness()[0] == 200
    eventually("a count", lambda: hook.metrics()("remora_webhook_ca_bundle_patches_total") == 2)


def test_nothing_is_written_where_everything_is_right(api: ApiServer, webhooks: Start) -> None:
    webhooks(*api.flags).wait_ready()
    rounds = api.count("GET", CONFIGURATION)
    eventually("more rounds", lambda: api.count("GET", CONFIGURATION) > rounds + 3)
    assert (api.count("POST", SECRETS), api.count("PUT", SECRET)) == (1, 0)
    assert api.count("PATCH", CONFIGURATION) == 1


def test_a_secret_that_was_deleted_is_made_again_of_the_same_certificate(
    api: ApiServer, webhooks: Start
) -> None:
    webhooks(*api.flags).wait_ready()
    before = api.secret("tls.crt")
    del api.objects[SECRET]
    eventually("it made again", lambda: api.secret("tls.crt") == before)


@pytest.mark.parametrize(
    ("right", "why"),
    [
        (("get", "secrets"), "cannot read Secret remora-webhook-tls: 403"),
        (("create", "secrets"), "cannot write Secret remora-webhook-tls: 403"),
        (("get", "mutating"), "cannot read MutatingWebhookConfiguration remora-webhook: 403"),
        (("patch", "mutating"), "cannot change MutatingWebhookConfiguration remora-webhook: 403"),
    ],
)
def test_a_right_that_is_missing_is_named_at_ready_and_waited_for(
    right: tuple[str, str], why: str, api: ApiServer, webhooks: Start
) -> None:
    api.forbidden.add(right)
    hook = webhooks(*api.flags)
    hook.wait_unready(why)
    api.forbidden.clear()
    hook.wait_ready()


def test_a_configuration_that_is_not_there_yet_is_waited_for(
    api: ApiServer, webhooks: Start
) -> None:
    del api.objects[CONFIGURATION]
    hook = webhooks(*api.flags)
    hook.wait_unready("MutatingWebhookConfiguration remora-webhook: 404")
    api.configure()
    hook.wait_ready()


def test_an_api_server_that_fails_is_asked_again(api: ApiServer, webhooks: Start) -> None:
    failures = [500, 503, 500]

    def fail(_method: str, _path: str) -> None:
        if failures:
            raise Refusal(failures.pop(), "etcdserver: request timed out")

    api.before = fail
    hook = webhooks(*api.flags).wait_ready()
    assert hook.metrics()("remora_webhook_api_failures_total") == 3
    line = hook.logged("self_signed_failed")
    assert line
    assert "etcdserver: request timed out" in line["error"]


def test_a_ready_webhook_stays_ready_without_the_api_server(
    api: ApiServer, webhooks: Start
) -> None:
    hook = webhooks(*api.flags).wait_ready()
    bundle = api.bundles()[0]

    def fail(_method: str, _path: str) -> None:
        raise Refusal(503, "down")

    api.before = fail
    eventually("a failure", lambda: hook.metrics()("remora_webhook_api_failures_total"))
    assert hook.readiness()[0] == 200
    assert is_served(hook, bundle)


def test_a_token_is_read_again_for_each_call(api: ApiServer, webhooks: Start) -> None:
    good = api.token.read_text()
    api.token.write_text("an old one")
    hook = webhooks(*api.flags)
    hook.wait_unready("the API server does not know our token")
    api.token.write_text(f"{good}\n")
    hook.wait_ready()


def test_an_api_server_that_nobody_vouches_for_is_not_told_the_token(
    api: ApiServer, webhooks: Start
) -> None:
    api.ca.write_bytes(issuer.make(NAMES, issuer.now_utc()).bundle)
    hook = webhooks(*api.flags)
    hook.wait_unready("certificate verify failed")
    assert not api.calls


def test_an_api_server_that_is_not_there_is_told_at_ready(api: ApiServer, webhooks: Start) -> None:
    flags = [*api.flags]
    flags[flags.index("--api-server") + 1] = "https://127.0.0.1:1"
    webhooks(*flags).wait_unready("https://127.0.0.1:1")


def test_a_secret_of_cert_manager_is_not_touched(api: ApiServer, webhooks: Start) -> None:
    annotations = {"cert-manager.io/certificate-name": "webhook"}
    api.put(SECRET, {"metadata": {"name": "x", "annotations": annotations}, "data": {}})
    hook = webhooks(*api.flags)
    hook.wait_unready("is kept by cert-manager: mount it and use --tls-dir")
    assert not api.count("PUT", SECRET)
