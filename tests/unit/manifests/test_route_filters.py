"""Filters of routes: what they become, and what would be dangerous or means nothing."""

from pathlib import Path

import pytest

from proxy.sources.route import MirrorRef
from proxy.traffic.rows import AS_IT_CAME, FULL, REPLACE_PREFIX, Rewrite
from tests.unit.manifests.making import route, said


def redirect(text: str) -> str:
    return f"{{filters: [{{type: RequestRedirect, requestRedirect: {{{text}}}}}]}}"


def rewrite(text: str) -> str:
    return f"{{filters: [{{type: URLRewrite, urlRewrite: {{{text}}}}}]}}"


def request(text: str) -> str:
    return f"{{filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{{text}}}}}]}}"


def mirror(text: str) -> str:
    to = "backendRef: {name: m, port: 80}"
    return f"{{filters: [{{type: RequestMirror, requestMirror: {{{to}, {text}}}}}]}}"


FULL_PATH = "path: {type: ReplaceFullPath, replaceFullPath: /b}"
PREFIX_PATH = "path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", Rewrite(status=302)),
        ("scheme: https, port: 8443", Rewrite(scheme="https", port=8443, status=302)),
        ("hostname: a.example, statusCode: 308", Rewrite(host=b"a.example", status=308)),
        (FULL_PATH, Rewrite(path=b"/b", path_kind=FULL, status=302)),
        (PREFIX_PATH, Rewrite(path=b"/b", path_kind=REPLACE_PREFIX, status=302)),
    ],
)
def test_a_redirect_says_where_to(tmp_path: Path, text: str, found: Rewrite) -> None:
    filters = route(tmp_path, redirect(text)).rules[0].filters
    assert (filters.redirect, filters.rewrite) == (found, None)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("hostname: b.example", Rewrite(b"b.example", b"", AS_IT_CAME)),
        (f"hostname: b.example, {FULL_PATH}", Rewrite(b"b.example", b"/b", FULL)),
        ("path: {type: ReplacePrefixMatch}", Rewrite(b"", b"", REPLACE_PREFIX)),
    ],
)
def test_a_rewrite_says_what_host_and_path_become(
    tmp_path: Path, text: str, found: Rewrite
) -> None:
    filters = route(tmp_path, rewrite(text)).rules[0].filters
    assert (filters.rewrite, filters.redirect) == (found, None)


@pytest.mark.parametrize(
    ("text", "per_million"),
    [
        ("", 1_000_000),
        ("percent: 5", 50_000),
        ("percent: 0", 0),
        ("fraction: {numerator: 1}", 10_000),
        ("fraction: {numerator: 1, denominator: 8}", 125_000),
    ],
)
def test_a_mirror_gets_its_part(tmp_path: Path, text: str, per_million: int) -> None:
    ((found,),) = (rule.filters.mirrors for rule in route(tmp_path, mirror(text)).rules)
    assert isinstance(found, MirrorRef)
    assert found.per_million == per_million


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("{filters: [{}]}", "[0]: has no type"),
        ("{filters: [{type: CORS, cors: {}}]}", "[0].type: 'CORS' is not supported here (Request"),
        ("{filters: [{type: URLRewrite}]}", "[0]: has no urlRewrite"),
        (
            "{filters: [{type: URLRewrite, requestMirror: {}}]}",
            "[0].requestMirror: is not supporte",
        ),
        (redirect("statusCode: 304"), "[0].requestRedirect.statusCode: 304 is none of 301, 302, "),
        (redirect("scheme: ftp"), "[0].requestRedirect.scheme: 'ftp' is none of http, https"),
        (redirect("hostname: '*.a'"), "[0].requestRedirect.hostname: '*.a' is no host name"),
        (
            redirect("hostname: 10.0.0.1"),
            "[0].requestRedirect.hostname: '10.0.0.1' is no host name",
        ),
        (rewrite("path: {type: ReplaceFullPath}"), "[0].urlRewrite.path: '' is no path"),
        (rewrite("path: {replaceFullPath: /}"), "[0].urlRewrite.path: has no type"),
        (
            rewrite("path: {type: ReplaceFullPath, replaceFullPath: '/a b'}"),
            "[0].urlRewrite.path: '/a b' is no path",
        ),
        (
            rewrite("path: {type: ReplaceFullPath, replacePrefixMatch: /a}"),
            "[0].urlRewrite.path: has more than replaceFullPath",
        ),
        (
            request("set: [{name: Host, value: a}]"),
            "[0].requestHeaderModifier.set[0].name: 'host' ",
        ),
        (
            request("set: [{name: Content-Length, value: '1'}]"),
            "[0].requestHeaderModifier.set[0].name: 'content-length' is not changed by filters",
        ),
        (
            request("remove: [Transfer-Encoding]"),
            "[0].requestHeaderModifier.remove[0]: 'transfer-en",
        ),
        (
            request("add: [{name: 'a:', value: b}]"),
            "[0].requestHeaderModifier.add[0].name: 'a:' is",
        ),
        (
            request('add: [{name: a, value: "b\\r\\nc: d"}]'),
            "[0].requestHeaderModifier.add[0].value: has characters that no header may have",
        ),
        (request("set: [{name: a}]"), "[0].requestHeaderModifier.set[0]: has no value"),
        (
            request("set: [{name: a, value: b}], remove: [A]"),
            "[0].requestHeaderModifier: has 'a' twice",
        ),
        (
            request(f"set: [{{name: a, value: {'b' * 4092}}}]"),
            "[0].requestHeaderModifier: has more than 4096 bytes of headers",
        ),
        (
            request(f"set: [{{name: a, value: {'é' * 2046}}}]"),
            "[0].requestHeaderModifier: has more than 4096 bytes of headers",
        ),
        (rewrite(f"hostname: {'a.' * 126}aa"), "[0].urlRewrite.hostname: 'a.a."),
        (mirror("percent: 101"), "[0].requestMirror.percent: 101 is outside 0 to 100"),
        (
            mirror("percent: 1, fraction: {numerator: 1}"),
            "[0].requestMirror.fraction: cannot stand beside percent",
        ),
        (
            mirror("fraction: {numerator: 3, denominator: 2}"),
            "[0].requestMirror.fraction.numerator: 3 is outside 0 to 2",
        ),
        (
            "{filters: [{type: URLRewrite, urlRewrite: {}}, {type: URLRewrite, urlRewrite: {}}]}",
            "[1]: is the second URLRewrite",
        ),
        (
            rewrite("")[:-2] + ", " + redirect("").removeprefix("{filters: ["),
            "[1]: cannot stand beside the other one of URLRewrite and RequestRedirect",
        ),
        (
            redirect("")[:-1] + ", backendRefs: [{name: web, port: 80}]}",
            ": has a RequestRedirect, which cannot stand beside backendRefs",
        ),
        (
            rewrite(PREFIX_PATH)[:-1] + ", matches: [{path: {type: Exact, value: /a}}]}",
            ": has a ReplacePrefixMatch, which needs one match, a PathPrefix",
        ),
        (
            rewrite(PREFIX_PATH)[:-1] + ", matches: [{path: {value: /a}}, {path: {value: /b}}]}",
            ": has a ReplacePrefixMatch, which needs one match, a PathPrefix",
        ),
    ],
)
def test_a_filter_that_means_nothing_or_harm_is_a_fault(
    tmp_path: Path, rule: str, sentence: str
) -> None:
    (only,) = said(route(tmp_path, rule))
    assert only.startswith(f"spec.rules[0].filters{sentence}")
