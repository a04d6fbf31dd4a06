"""Whatever is sent to the webhook's port gets an answer or an end, and the next review its own."""

import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.admission import a_pod, review_of
from tests.support.sockets import connected
from tests.support.waiting import eventually
from tests.support.webhook import Caller, Webhook

MIB = 1 << 20
DEEP = 100_000


def test_a_connection_serves_many_reviews(caller: Caller) -> None:
    ports = set()
    for _ in range(20):
        assert caller.ask(review_of(a_pod())).response["allowed"] is True
        ports.add(caller.tls.getsockname())
    assert len(ports) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"\xff\xfe{}",
        b"[" * DEEP + b"]" * DEEP,
        b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": ' + b"9" * 10_000 + b"}",
        b'{1: "a"}',
        b'{"a": 1} {"a": 1}',
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_json_is_a_bad_request(body: bytes, caller: Caller) -> None:
    said = caller.ask(body)
    assert said.status == 400
    assert "the body is no JSON" in said.value["error"]
    assert caller.ask(review_of(a_pod())).status == 200


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"kind": "Pod"}, "this is 'Pod', and no AdmissionReview"),
        ({"apiVersion": "admission.k8s.io/v1beta1"}, "is not spoken here: admission.k8s.io/v1"),
        ({"apiVersion": None}, "apiVersion None"),
        ({"request": None}, "request must be an object"),
        ({"request": {}}, "request.uid"),
        ({"request": {"uid": 7}}, "request.uid"),
        ({"request": {"uid": "u" * 300}}, "request.uid"),
        (review_of(None), "request.object must be an object"),
        (review_of(None, object=[1]), "request.object must be an object"),
    ],
)
def test_json_that_is_no_review_is_refused_and_told_why(
    changed: dict[str, object], error: str, caller: Caller, hook: Webhook
) -> None:
    said = caller.ask({**review_of(a_pod()), **changed})
    assert said.status == 422
    assert error in said.value["error"]
    assert hook.reviews("refused", "422") == 1


@pytest.mark.parametrize("body", [[], "text", 1, None])
def test_other_json_is_refused(body: object, caller: Caller) -> None:
    assert caller.ask(body).status == 422


@pytest.mark.parametrize(
    "pod",
    [
        {"metadata": [], "spec": {}},
        {"metadata": {"labels": 1}, "spec": {"containers": [{"name": "a"}]}},
        {"spec": {"containers": [{"name": 1}]}},
        {"spec": {"containers": ["a"]}},
        {"spec": {"containers": {"name": "a"}}},
        {"spec": []},
        {},
    ],
)
def test_a_pod_of_another_shape_is_left_to_kubernetes(
    pod: dict[str, object], caller: Caller
) -> None:
    response = caller.ask(review_of(pod)).response
    assert response["allowed"] is True
    assert response["auditAnnotations"]["reason"].startswith("malformed: ")


@pytest.mark.parametrize(
    "spec",
    [
        {"nodeSelector": [1], "os": "windows", "securityContext": "root"},
        {"terminationGracePeriodSeconds": -(10**4000), "restartPolicy": {"a": 1}},
        {"terminationGracePeriodSeconds": 1e308, "hostNetwork": 0},
        {"containers": [{"name": "a", "ports": [{"containerPort": [], "protocol": "UDP"}]}]},
        {"containers": [{"name": "a", "ports": [{"name": {}, "containerPort": 1}]}]},
        {"containers": [{"name": "a", "livenessProbe": {"httpGet": {"port": {}, "path": []}}}]},
        {
            "containers": [
                {"name": "a", "ports": [{"containerPort": p, "protocol": "UDP"} for p in (1, "x")]}
            ]
        },
    ],
)
def test_fields_of_another_type_do_no_harm(spec: dict[str, object], caller: Caller) -> None:
    pod = a_pod({"remora.dev/identity-source": "csi", "remora.dev/mtls": "strict"}, **spec)
    assert caller.ask(review_of(pod)).response["allowed"] is True


def test_of_a_member_that_is_there_twice_the_last_counts_as_for_kubernetes(caller: Caller) -> None:
    text = json.dumps(review_of(a_pod(hostNetwork=False))).replace(
        '"hostNetwork": false', '"hostNetwork": false, "hostNetwork": true'
    )
    response = caller.ask(text.encode()).response
    assert response["auditAnnotations"]["reason"].startswith("host_network: ")


def test_a_pod_with_thousands_of_faults_is_refused_in_time(caller: Caller) -> None:
    notes = {f"remora.dev/opaque-pork-{number}": "" for number in range(8000)}
    response = caller.ask(review_of(a_pod(notes))).response
    assert response["allowed"] is False
    assert len(response["status"]["details"]["causes"]) == 16


def test_a_body_that_would_take_all_memory_is_not_read(caller: Caller) -> None:
    said = caller.ask(b'{"a": [' + b"[]," * 200_000 + b"[]]}")
    assert said.status == 413
    assert "more than 200000 objects and lists" in said.value["error"]
    assert caller.ask(review_of(a_pod())).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/yaml"},
        {"Content-Type": "application/vnd.kubernetes.protobuf"},
        {"Content-Type": ""},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
def test_another_content_type_is_unsupported(headers: dict[str, str], caller: Caller) -> None:
    assert caller.ask(review_of(a_pod()), headers).status == 415
    assert caller.ask(review_of(a_pod())).status == 200


def test_a_charset_does_no_harm(caller: Caller) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert caller.ask(review_of(a_pod()), headers).status == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method_is_not_allowed(method: str, caller: Caller) -> None:
    said = caller.ask(b"{}", method=method)
    assert (said.status, said.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("target", ["/", "/inject/", "/metrics", "/inject%2f?timeout=1s"])
def test_another_path_is_not_found(target: str, caller: Caller) -> None:
    assert caller.ask(review_of(a_pod()), target=target).status == 404
    assert caller.ask(review_of(a_pod())).status == 200


def test_a_large_pod_is_reviewed(caller: Caller) -> None:
    pod = a_pod(containers=[{"name": f"c{n}", "args": ["x" * 1000]} for n in range(3000)])
    assert "patch" in caller.ask(review_of(pod)).response


def test_a_body_above_the_bound_is_told_so_before_it_was_sent(caller: Caller) -> None:
    caller.putrequest("POST", "/inject")
    caller.putheader("Content-Type", "application/json")
    caller.putheader("Content-Length", str(7 * MIB))
    caller.endheaders()
    said = caller.answer()
    assert said.status == 413
    assert said.headers["Connection"] == "close"


def test_a_body_above_the_bound_without_a_length_is_refused(caller: Caller) -> None:
    caller.putrequest("POST", "/inject")
    caller.putheader("Content-Type", "application/json")
    caller.putheader("Transfer-Encoding", "chunked")
    caller.endheaders()
    chunk = b"%x\r\n%s\r\n" % (MIB, b" " * MIB)
    try:
        for _ in range(8):
            caller.send(chunk)
    except OSError:
        return  # its end came first
    assert caller.answer().status == 413


def test_a_body_that_does_not_come_is_answered_within_the_callers_time(
    caller: Caller, hook: Webhook
) -> None:
    caller.putrequest("POST", "/inject?timeout=1s")
    caller.putheader("Content-Type", "application/json")
    caller.putheader("Content-Length", "100")
    caller.endheaders(b'{"apiVersion"')
    assert caller.answer().status == 408
    assert hook.reviews("refused", "408") == 1
    assert hook.metrics()("remora_webhook_in_flight") == 0


def test_a_body_in_single_bytes_is_a_review_too(caller: Caller) -> None:
    content = json.dumps(review_of(a_pod())).encode()
    caller.putrequest("POST", "/inject")
    caller.putheader("Content-Type", "application/json")
    caller.putheader("Content-Length", str(len(content)))
    caller.endheaders()
    for byte in content:
        caller.send(bytes([byte]))
    assert caller.answer().response["allowed"] is True


def test_a_connection_that_is_cut_in_the_middle_leaves_nothing_behind(
    call: Callable[[], Caller], hook: Webhook
) -> None:
    for _ in range(10):
        broken = call()
        broken.putrequest("POST", "/inject")
        broken.putheader("Content-Type", "application/json")
        broken.putheader("Content-Length", "1000")
        broken.endheaders(b"{")
        broken.tls.close()
    eventually("nothing in flight", lambda: not hook.metrics()("remora_webhook_in_flight"))
    assert call().ask(review_of(a_pod())).status == 200


def test_who_says_nothing_or_no_tls_keeps_nobody_out(
    call: Callable[[], Caller], hook: Webhook
) -> None:
    silent = [connected(hook.address) for _ in range(50)]
    rude = connected(hook.address)
    rude.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert call().ask(review_of(a_pod())).status == 200
    assert _is_over(rude)
    for sock in (*silent, rude):
        sock.close()


def test_more_handshakes_than_there_are_places_end_at_once(
    call: Callable[[], Caller], hook: Webhook
) -> None:
    silent = [connected(hook.address) for _ in range(300)]
    eventually(
        "some of them cut", lambda: hook.metrics()("remora_webhook_handshakes_failed_total") >= 44
    )
    for sock in silent:
        sock.close()
    eventually("room", lambda: _is_answered(call()))


def test_more_reviews_than_can_be_held_are_turned_away_and_told_to_come_again(
    call: Callable[[], Caller], hook: Webhook
) -> None:
    waiting = [call() for _ in range(256)]
    for each in waiting:
        each.putrequest("POST", "/inject?timeout=30s")
        each.putheader("Content-Type", "application/json")
        each.putheader("Content-Length", "2")
        each.endheaders(b"{")
    eventually("all of them", lambda: hook.metrics()("remora_webhook_in_flight") == 256)
    one_more = call()
    said = one_more.ask(review_of(a_pod()))
    assert (said.status, said.headers["Retry-After"]) == (503, "1")
    assert hook.metrics()("remora_webhook_shed_total") == 1
    for each in waiting:
        each.send(b"}")
        assert each.answer().status == 422
    # The connection was kept: a handshake is dearer than a review.
    assert one_more.ask(review_of(a_pod())).response["allowed"] is True


def test_more_bytes_than_can_be_held_are_turned_away(
    call: Callable[[], Caller], hook: Webhook
) -> None:
    length = 5 * MIB
    heavy = [call() for _ in range(4)]
    for each in heavy:
        each.putrequest("POST", "/inject?timeout=30s")
        each.putheader("Content-Type", "application/json")
        each.putheader("Content-Length", str(length))
        each.endheaders()
    with ThreadPoolExecutor(len(heavy)) as threads:
        list(threads.map(lambda each: each.send(b" " * (length - 1)), heavy))
    small = call()
    assert small.ask(review_of(a_pod())).status in (200, 503)
    for caller in heavy:
        caller.send(b" ")
    statuses = sorted(caller.answer().status for caller in heavy)
    assert statuses == [400, 400, 400, 503]
    assert small.ask(review_of(a_pod())).status == 200
    assert hook.metrics()("remora_webhook_shed_total") >= 1


def test_many_callers_at_once_are_all_answered(call: Callable[[], Caller], hook: Webhook) -> None:
    callers = [call() for _ in range(40)]

    def ten(caller: Caller) -> set[int]:
        return {caller.ask(review_of(a_pod())).status for _ in range(10)}

    with ThreadPoolExecutor(len(callers)) as threads:
        assert set().union(*threads.map(ten, callers)) == {200}
    assert hook.reviews("injected") == 400


def test_a_review_that_comes_up_too_late_is_not_begun(caller: Caller, hook: Webhook) -> None:
    said = caller.ask(review_of(a_pod()), target="/inject?timeout=1ns")
    assert said.status in (408, 503)
    assert hook.reviews("injected") == 0


def _is_over(sock: socket.socket) -> bool:
    try:
        while sock.recv(1 << 16):
            continue
    except ConnectionResetError:
        return True
    return True


def _is_answered(caller: Caller) -> bool:
    try:
        return caller.ask(review_of(a_pod())).status == 200
    except OSError:
        return False
