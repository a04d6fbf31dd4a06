"""Routes: who gets a request, what of it is changed on the way, and who gets no answer at all."""

from collections import Counter
from typing import Final

import pytest

from tests.support.http import Message, Stream, request, response
from tests.support.services import Backend, Cluster
from tests.support.sockets import expect_silence
from tests.support.traffic import Object, route, rule, to

PLAIN: Final = "--no-http-request-ids"
CLOSE: Final = "Connection: close"


def routed(cluster: Cluster, *rules: Object, names: tuple[str, ...] = ("a", "b")) -> None:
    """Start a proxy with a service `web` that has these rules, and the services `names`."""
    cluster.service("web", 1)
    for name in names:
        cluster.service(name, 1)
    cluster.add(route("r", *rules))
    cluster.start(PLAIN)


def filtered(*filters: Object, path: str = "", of_backend: Object | None = None) -> Object:
    more = [of_backend] if of_backend else []
    return rule(to("a", filters=more), path=path, filters=list(filters))


def modifier(
    side: str = "request", *, remove: tuple[str, ...] = (), **changes: dict[str, str]
) -> Object:
    """Return a filter; set and add: {name: value}."""
    said: Object = {"remove": list(remove)}
    for verb, of in changes.items():
        said[verb] = [{"name": name, "value": value} for name, value in of.items()]
    kind = side.capitalize() + "HeaderModifier"
    return {"type": kind, f"{side}HeaderModifier": said}


def rewriting(**fields: object) -> Object:
    return {"type": "URLRewrite", "urlRewrite": fields}


def prefix(value: str) -> Object:
    return {"type": "ReplacePrefixMatch", "replacePrefixMatch": value}


def full(value: str) -> Object:
    return {"type": "ReplaceFullPath", "replaceFullPath": value}


def redirecting(**fields: object) -> Object:
    return {"type": "RequestRedirect", "requestRedirect": fields}


def target(message: Message) -> bytes:
    return message.line.split(b" ")[1]


# ---- who gets it --------------------------------------------------------------------------------


def test_requests_of_one_connection_go_to_the_services_of_their_routes(cluster: Cluster) -> None:
    routed(cluster, rule(to("a"), path="/a"), rule(to("b"), path="/b"))
    down = cluster.connect()
    ups: dict[str, Stream] = {}
    for number in range(30):
        name = "ab"[number * 7 % 3 % 2]
        down.send(request(f"/{name}/{number}"))
        if name not in ups:
            ups[name] = cluster.backends[name].accept()
        assert target(ups[name].request()) == f"/{name}/{number}".encode()
        ups[name].send(response(name.encode()))
        assert down.response().body == name.encode()


def test_pipelined_requests_go_to_their_services_and_answers_keep_their_order(
    cluster: Cluster,
) -> None:
    routed(cluster, rule(to("a"), path="/a"), rule(to("b"), path="/b"))
    down = cluster.connect()
    names = "abbabaaab"
    down.send(b"".join(request(f"/{name}/{i}") for i, name in enumerate(names)))
    ups: dict[str, Stream] = {}
    for number, name in enumerate(names):
        if name not in ups:
            ups[name] = cluster.backends[name].accept()
        assert target(ups[name].request()) == f"/{name}/{number}".encode()
        ups[name].send(response(b"%d" % number))
    for number in range(len(names)):
        assert down.response().body == b"%d" % number


# A match, a request, and whether it fits.
MATCHES: Final[tuple[tuple[Object, bytes, bool], ...]] = (
    ({"path": {"type": "Exact", "value": "/x"}}, request("/x?y"), True),
    ({"path": {"type": "Exact", "value": "/x"}}, request("/x/"), False),
    ({"path": {"value": "/x"}}, request("/x/y"), True),
    ({"path": {"value": "/x"}}, request("/xy"), False),
    ({"path": {"value": "/x"}}, request("/%78"), True),
    ({"path": {"type": "RegularExpression", "value": "/[0-9]+"}}, request("/42"), True),
    ({"path": {"type": "RegularExpression", "value": "/[0-9]+"}}, request("/42a"), False),
    ({"method": "PUT"}, request(method="PUT"), True),
    ({"method": "PUT"}, request(), False),
    ({"headers": [{"name": "X-A", "value": "b"}]}, request("/", "x-a: b"), True),
    ({"headers": [{"name": "X-A", "value": "b"}]}, request("/", "x-a: B"), False),
    ({"headers": [{"name": "X-A", "value": "b"}]}, request("/"), False),
    ({"queryParams": [{"name": "q", "value": "1 2"}]}, request("/?p&q=1+2"), True),
    ({"queryParams": [{"name": "q", "value": "1"}]}, request("/?q=2&q=1"), False),
    ({"path": {"value": "/x"}}, request("http://a.example/x"), True),
    ({"path": {"value": "/"}}, request("http://a.example"), True),
    ({"path": {"value": "/x"}}, request("*", method="OPTIONS"), False),
)


def test_a_request_that_fits_goes_where_the_rule_says_and_any_other_gets_404(
    cluster: Cluster,
) -> None:
    """A service for each match."""
    names = [f"s{number}" for number in range(len(MATCHES))]
    for name, (match, _, _) in zip(names, MATCHES, strict=True):
        cluster.service(name, 1)
        only = {"matches": [match], "backendRefs": [to(name)]}
        cluster.add(route(f"r-{name}", only, to=name))
    cluster.start(PLAIN)
    for name, (match, text, fits) in zip(names, MATCHES, strict=True):
        if fits:
            cluster.served(text, name)
        else:
            assert cluster.ask(text, name).get(b"remora-error") == b"no_route", (match, text)
    assert cluster.ended(404, "NR") == sum(not fits for _, _, fits in MATCHES)


def test_requests_without_a_route_leave_the_connection_open(cluster: Cluster) -> None:
    routed(cluster, rule(to("a"), path="/a"))
    down = cluster.connect()
    for _ in range(3):
        down.send(request("/none"))
        assert down.response().status == 404
    down.send(request("/a"))
    up = cluster.backends["a"].accept()
    up.request()
    up.send(response(b"a"))
    assert down.response().body == b"a"


def test_a_rule_that_leads_to_nobody_is_answered_with_500(cluster: Cluster) -> None:
    nowhere = rule(to("gone"), path="/gone")
    routed(cluster, nowhere, rule(path="/none"), rule(to("a", weight=0), path="/zero"))
    for path in ("/gone", "/none", "/zero"):
        answered = cluster.ask(request(path))
        assert (answered.status, answered.get(b"remora-error")) == (500, b"no_backend")
    assert cluster.ended(500, "NR") == 3


def test_shares_follow_the_weights(cluster: Cluster) -> None:
    """Of 600 requests 450 are expected at a; 60 more or less is over five standard deviations."""
    routed(cluster, rule(to("a", weight=3), to("b", weight=1), to("gone", weight=0)))
    down = cluster.connect()
    found: Counter[str] = Counter()
    for name in "ab":
        cluster.rig.background(serve, cluster.backends[name], name.encode())
    for _ in range(600):
        down.send(request("/"))
        found[down.response().body.decode()] += 1
    assert set(found) == {"a", "b"}
    assert 390 < found["a"] < 510, found


def serve(backend: Backend, body: bytes) -> None:
    """Answer everything on the one connection that is made."""
    try:
        up = backend.accept()
        while True:
            up.request()
            up.send(response(body))
    except (AssertionError, OSError, ValueError):
        return


def test_a_service_without_endpoints_is_answered_with_503(cluster: Cluster) -> None:
    cluster.service("web", 1)
    cluster.slices["web"] = []
    cluster.start()
    answered = cluster.ask(request("/"))
    assert (answered.status, answered.get(b"remora-error")) == (503, b"no_endpoint")
    assert cluster.ended(503, "UH") == 1


# ---- headers ------------------------------------------------------------------------------------


def test_request_headers_are_set_added_and_removed_whatever_their_case(cluster: Cluster) -> None:
    changes = modifier(set={"X-Set": "s"}, add={"X-Add": "a"}, remove=("X-Gone",))
    of_backend = modifier(set={"x-b": "back"}, remove=("X-Both",))
    routed(cluster, filtered(changes, of_backend=of_backend))
    text = request(
        *("/", "x-SET: 1", "X-Set: 2", "x-add: 0", "X-GONE: 1", "x-gone: 2", "x-both: 3", "X-K: k")
    )
    asked, _ = cluster.served(text, by="a")
    assert asked.fields == [
        (b"Host", b"a.example"),
        (b"x-add", b"0"),
        (b"X-K", b"k"),
        (b"x-set", b"s"),
        (b"x-add", b"a"),
        (b"x-b", b"back"),
    ]


def test_response_headers_are_changed_in_answers_of_upstreams_only(cluster: Cluster) -> None:
    changes = modifier("response", set={"X-Set": "s"}, add={"Via": "r"}, remove=("Server",))
    of_backend = modifier("response", add={"X-Of": "a"})
    routed(cluster, filtered(changes, of_backend=of_backend))
    down = cluster.connect()
    down.send(request("/"))
    up = cluster.backends["a"].accept()
    up.request()
    up.send(b"HTTP/1.1 103 Early Hints\r\nServer: x\r\n\r\n")
    assert down.response().fields == [(b"Server", b"x")]
    up.send(response(b"ok", "server: x", "x-set: 1", "Via: q"))
    answered = down.response()
    assert answered.fields == [
        *((b"Via", b"q"), (b"Content-Length", b"2")),
        *((b"x-set", b"s"), (b"via", b"r"), (b"x-of", b"a")),
    ]
    up.sock.close()
    cluster.backends["a"].refuse(0)
    down.send(request("/"))
    refused = down.response()
    assert (refused.status, refused.get(b"x-set")) == (503, None)


def test_a_request_with_edits_cut_at_any_byte_is_changed_the_same(cluster: Cluster) -> None:
    changes = modifier(set={"X-Set": "s"}, remove=("X-Gone",))
    rewrite = rewriting(hostname="h.example", path=prefix("/new"))
    routed(cluster, filtered(changes, rewrite, path="/old"))
    text = request("/old/1?q", "X-Gone: 1", "X-Set: 0", method="POST", body=b"body")
    wanted = (
        b"POST /new/1?q HTTP/1.1\r\nContent-Length: 4\r\nHost: h.example\r\nx-set: s\r\n\r\nbody"
    )
    down = cluster.connect()
    down.send(text)
    up = cluster.backends["a"].accept()
    for cut in range(1, len(text)):
        assert up.exactly(len(wanted)) == wanted
        up.send(response(b""))
        assert down.response().status == 200
        down.send(text[:cut])
        if cut < len(text) - 4:
            expect_silence(up.sock, 0.001)
        down.send(text[cut:])
    assert up.exactly(len(wanted)) == wanted


# ---- rewrites -----------------------------------------------------------------------------------


# Gateway API's table, HTTPPathModifier.replacePrefixMatch, and some more: prefix, replacement, what
# is asked, what arrives.
PREFIXES: Final = (
    ("/foo", "/xyz", "/foo/bar", "/xyz/bar"),
    ("/foo", "/xyz/", "/foo/bar", "/xyz/bar"),
    ("/foo/", "/xyz", "/foo/bar", "/xyz/bar"),
    ("/foo/", "/xyz/", "/foo/bar", "/xyz/bar"),
    ("/foo", "/xyz", "/foo", "/xyz"),
    ("/foo", "/xyz", "/foo/", "/xyz/"),
    ("/foo", "", "/foo/bar", "/bar"),
    ("/foo", "", "/foo/", "/"),
    ("/foo", "", "/foo", "/"),
    ("/foo", "/", "/foo/", "/"),
    ("/foo", "/", "/foo", "/"),
    ("/", "/xyz", "/", "/xyz/"),
    ("/", "/xyz", "/foo", "/xyz/foo"),
    ("/foo", "/xyz", "/foo?a=/foo&b", "/xyz?a=/foo&b"),
    ("/foo", "/xyz", "http://a.example/foo/bar?q", "/xyz/bar?q"),
)


def test_prefixes_are_replaced_as_gateway_api_says(cluster: Cluster) -> None:
    rules = [
        {
            "matches": [{"path": {"value": old}, "headers": [{"name": "x-case", "value": f"{i}"}]}],
            "filters": [rewriting(path=prefix(new))],
            "backendRefs": [to("a")],
        }
        for i, (old, new, _, _) in enumerate(PREFIXES)
    ]
    routed(cluster, *rules)
    for i, (old, new, asked, wanted) in enumerate(PREFIXES):
        got, _ = cluster.served(request(asked, f"x-case: {i}"), by="a")
        assert target(got) == wanted.encode(), (old, new, asked)
        assert got.get(b"host") == b"a.example"


@pytest.mark.parametrize("asked", ["/old", "/old/x", "http://a.example/old"])
def test_a_full_path_is_replaced_and_the_query_kept(cluster: Cluster, asked: str) -> None:
    routed(cluster, filtered(rewriting(path=full("/all")), path="/old"))
    got, _ = cluster.served(request(asked + "?q=1"), by="a")
    assert target(got) == b"/all?q=1"


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("/p?q", "/p?q"),
        ("http://a.example/p?q", "/p?q"),
        ("http://a.example:80/", "/"),
        ("http://a.example", "/"),
        ("http://a.example?q", "/?q"),
    ],
)
def test_a_host_is_replaced_wherever_it_stands(cluster: Cluster, asked: str, wanted: str) -> None:
    routed(cluster, filtered(rewriting(hostname="h.example")))
    got, _ = cluster.served(request(asked), by="a")
    assert (target(got), got.all(b"host")) == (wanted.encode(), [b"h.example"])


@pytest.mark.parametrize(("asked", "wanted"), [("*", b"*"), ("/y", b"/x/y")])
def test_what_is_no_path_is_not_rewritten(cluster: Cluster, asked: str, wanted: bytes) -> None:
    routed(cluster, filtered(rewriting(path=prefix("/x"), hostname="h.example")))
    got, _ = cluster.served(request(asked, method="OPTIONS"), by="a")
    assert (target(got), got.get(b"host")) == (wanted, b"h.example")


def test_connect_goes_where_it_was_meant_to_go(cluster: Cluster) -> None:
    routed(cluster, {"backendRefs": [to("a")], "filters": [rewriting(hostname="h.example")]})
    down = cluster.connect()
    down.send(b"CONNECT far.example:443 HTTP/1.1\r\nHost: far.example:443\r\n\r\n")
    up = cluster.backends["a"].accept()
    asked = up.head()
    assert asked.line == b"CONNECT far.example:443 HTTP/1.1"
    assert asked.get(b"host") == b"far.example:443"
    up.send(b"HTTP/1.1 200 OK\r\n\r\n")
    assert down.head().status == 200
    down.send(b"there")
    assert up.exactly(5) == b"there"
    up.send(b"back")
    assert down.exactly(4) == b"back"


def test_a_path_that_gets_too_long_is_refused(cluster: Cluster) -> None:
    routed(cluster, filtered(rewriting(path=prefix("/" + "x" * 1000)), path="/old"))
    answered = cluster.ask(request("/old/" + "y" * 15_500))
    assert (answered.status, answered.get(b"remora-error")) == (414, b"rewrite_too_long")


# ---- redirects ----------------------------------------------------------------------------------


# What the filter says, what is asked, and the answer.
REDIRECTS: Final[tuple[tuple[Object, str, int, str], ...]] = (
    ({"scheme": "https"}, "/p?q=1", 302, "https://a.example/p?q=1"),
    ({"hostname": "h.example"}, "/p", 302, "http://h.example/p"),
    ({"port": 8080}, "/p", 302, "http://a.example:8080/p"),
    ({"port": 80}, "/p", 302, "http://a.example/p"),
    ({"scheme": "https", "port": 443}, "/p", 302, "https://a.example/p"),
    ({"scheme": "https", "port": 80}, "/p", 302, "https://a.example:80/p"),
    ({"statusCode": 301}, "/p", 301, "http://a.example/p"),
    ({"path": full("/all")}, "/p/x?q", 302, "http://a.example/all?q"),
    ({"path": prefix("/new")}, "/p/x?q", 302, "http://a.example/new/x?q"),
    (
        {"scheme": "https", "hostname": "h", "port": 1, "path": full("/"), "statusCode": 301},
        "/p",
        301,
        "https://h:1/",
    ),
    ({"scheme": "https"}, "http://b.example:81/p", 302, "https://b.example/p"),
)


def test_a_redirect_says_where_to(cluster: Cluster) -> None:
    rules = [
        {
            "matches": [
                {"path": {"value": "/p"}, "headers": [{"name": "x-case", "value": f"{i}"}]}
            ],
            "filters": [redirecting(**fields)],
        }
        for i, (fields, _, _, _) in enumerate(REDIRECTS)
    ]
    routed(cluster, *rules, names=())
    down = cluster.connect()
    for i, (fields, asked, status, location) in enumerate(REDIRECTS):
        down.send(request(asked, f"x-case: {i}"))
        answered = down.response()
        assert (answered.status, answered.get(b"location")) == (status, location.encode()), fields
    assert cluster.ended(302, "-") + cluster.ended(301, "-") == len(REDIRECTS)


def test_a_redirect_without_a_host_keeps_the_port_that_was_asked(cluster: Cluster) -> None:
    routed(cluster, {"filters": [redirecting(path=full("/x"))]}, names=())
    down = cluster.connect()
    down.send(b"GET /p HTTP/1.1\r\nHost: web:8080\r\n\r\n")
    assert down.response().get(b"location") == b"http://web:8080/x"


def test_head_is_redirected_without_a_body_and_post_loses_the_connection(
    cluster: Cluster,
) -> None:
    routed(cluster, {"filters": [redirecting(hostname="h")]}, names=())
    down = cluster.connect()
    down.send(request("/", method="HEAD"))
    assert down.response("HEAD").status == 302
    down.send(request("/", method="POST", body=b"unread"))
    answered = down.response()
    assert (answered.status, answered.get(b"connection")) == (302, b"close")
    down.expect_end()


# ---- other methods and forms through a service --------------------------------------------------


def test_head_and_upgrade_pass_through_a_service(cluster: Cluster) -> None:
    backend = cluster.service("web", 1)
    cluster.start(PLAIN)
    down = cluster.connect()
    down.send(request("/", method="HEAD"))
    up = backend.accept()
    assert up.request().line == b"HEAD / HTTP/1.1"
    up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    assert down.response("HEAD").get(b"content-length") == b"100"
    down.send(request("/", "Connection: upgrade", "Upgrade: websocket"))
    assert up.request().get(b"upgrade") == b"websocket"
    up.send(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert down.response().status == 101
    down.send(b"\x00ping")
    assert up.exactly(5) == b"\x00ping"
    up.send(b"\x00pong")
    assert down.exactly(5) == b"\x00pong"


def test_a_request_for_another_name_at_a_service_is_still_for_the_service(
    cluster: Cluster,
) -> None:
    """Its address decides, not what Host says."""
    cluster.service("web", 1)
    cluster.start(PLAIN)
    asked, _ = cluster.served(request("/"))
    assert asked.get(b"host") == b"a.example"


def test_the_next_request_for_a_service_that_is_gone_does_not_go_to_its_endpoints(
    cluster: Cluster,
) -> None:
    """It goes where it was sent, as to any unknown address; here nobody listens."""
    backend = cluster.service("web", 1)
    cluster.start(PLAIN)
    down = cluster.connect()
    down.send(request("/first"))
    up = backend.accept()
    assert target(up.request()) == b"/first"
    up.send(response(b"first"))
    assert down.response().body == b"first"
    cluster.objects.clear()
    cluster.reload()
    down.send(request("/next"))
    answered = down.response()
    assert (answered.status, answered.get(b"remora-error")) == (503, b"connect_failed")
    expect_silence(up.sock)
