"""Backends of routes, and filters: what is done with requests and responses on their way."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from proxy import values
from proxy.sources.addresses import PORT_MAX, read_port
from proxy.sources.route import SERVICE, BackendRef, Filters, MirrorRef
from proxy.sources.strict import Value
from proxy.traffic import rows
from proxy.traffic.rows import MILLION, Edit, Rewrite

WEIGHT_MAX: Final = 1_000_000
# The same bounds as in fast/limits.pxd: heads are written into memory of a fixed size.
EDITS_BYTES_MAX: Final = 4096
HOST_BYTES_MAX: Final = 253
_LINE_BYTES: Final = len(b": \r\n")

# The field that goes with a type.
_FIELD_OF: Final = {
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestRedirect": "requestRedirect",
    "URLRewrite": "urlRewrite",
    "RequestMirror": "requestMirror",
}
_HEADERS_ONLY: Final = ("RequestHeaderModifier", "ResponseHeaderModifier")
_OF_GRPC: Final = (*_HEADERS_ONLY, "RequestMirror")
_STATUSES: Final = (301, 302, 303, 307, 308)
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_PATH: Final = re.compile(r"/[\x21-\x22\x24-\x3e\x40-\x7e]*")
# They say where a message ends and whom it is for: another word would make two of it.
_NOT_EDITED: Final = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def read_filters(value: Value | None, namespace: str, *, is_grpc: bool = False) -> Filters:
    """Read `filters` of a rule."""
    return _filters(value, namespace, _OF_GRPC if is_grpc else tuple(_FIELD_OF))


def read_backend(value: Value, namespace: str) -> BackendRef:
    """Read one of `backendRefs`."""
    known = ("group", "kind", "name", "namespace", "port", "weight", "filters")
    fields = value.members(known)
    filters = _filters(fields.get("filters"), namespace, _HEADERS_ONLY)
    weight = fields["weight"].between(0, WEIGHT_MAX) if "weight" in fields else 1
    return _service(value, fields, namespace)._replace(weight=weight, filters=filters)


def _service(value: Value, fields: Mapping[str, Value], namespace: str) -> BackendRef:
    group = fields["group"].text() if "group" in fields else ""
    kind = fields["kind"].text() if "kind" in fields else SERVICE
    if group or kind != SERVICE:
        raise value.fault(f"is a {kind}{group and f' of {group}'}: only Services are supported")
    for name in ("name", "port"):
        if name not in fields:
            raise value.fault(f"has no {name}")
    where = fields["namespace"].text() if "namespace" in fields else namespace
    return BackendRef(where, fields["name"].text(), read_port(fields["port"]))


def _filters(value: Value | None, namespace: str, types: tuple[str, ...]) -> Filters:
    found = Filters()
    seen: set[str] = set()
    for item in value.items() if value else []:
        kind = _type(item, types)
        if kind in seen and kind != "RequestMirror":
            raise item.fault(f"is the second {kind}")
        seen.add(kind)
        name = _FIELD_OF[kind]
        fields = item.members(("type", name))
        if name not in fields:
            raise item.fault(f"has no {name}")
        found = _READERS[kind](fields[name], found, namespace)
        if found.rewrite and found.redirect:
            raise item.fault("cannot stand beside the other one of URLRewrite and RequestRedirect")
    return found


def _type(item: Value, types: tuple[str, ...]) -> str:
    kind = item.get("type")
    if kind is None:
        raise item.fault("has no type")
    text = kind.text()
    if text not in types:
        raise kind.fault(f"{text!r} is not supported here ({', '.join(types)})")
    return text


# ---- headers ------------------------------------------------------------------------------------


def _edits(value: Value) -> tuple[Edit, ...]:
    fields = value.members(("set", "add", "remove"))
    edits = [
        Edit(kind, _header(each, "name"), _header_value(each))
        for kind in (rows.SET, rows.ADD)
        for each in (fields[kind].items() if kind in fields else [])
    ]
    removed = fields["remove"].items() if "remove" in fields else []
    edits += [Edit(rows.REMOVE, _header_name(each)) for each in removed]
    names = [edit.name for edit in edits]
    for name in names:
        if names.count(name) > 1:
            raise value.fault(f"has {name.decode()!r} twice")
    if sum(len(edit.name) + len(edit.value) + _LINE_BYTES for edit in edits) > EDITS_BYTES_MAX:
        raise value.fault(f"has more than {EDITS_BYTES_MAX} bytes of headers")
    return tuple(edits)


def _header(value: Value, name: str) -> bytes:
    field = value.members(("name", "value")).get(name)
    if field is None:
        raise value.fault(f"has no {name}")
    return _header_name(field)


def _header_name(value: Value) -> bytes:
    name = value.text().lower()
    if not _TOKEN.fullmatch(name):
        raise value.fault(f"{name!r} is no name of a header")
    if name in _NOT_EDITED:
        hint = " (URLRewrite changes the host)" if name == "host" else ""
        raise value.fault(f"{name!r} is not changed by filters{hint}")
    return name.encode()


def _header_value(value: Value) -> bytes:
    field = value.get("value")
    if field is None:
        raise value.fault("has no value")
    text = field.text()
    if not _HEADER_VALUE.fullmatch(text):
        raise field.fault("has characters that no header may have")
    return text.strip(" \t").encode()


# ---- redirects and rewrites ---------------------------------------------------------------------


def _redirect(value: Value) -> Rewrite:
    fields = value.members(("scheme", "hostname", "path", "port", "statusCode"))
    path, path_kind = _path(fields.get("path"))
    status = fields["statusCode"].integer() if "statusCode" in fields else 302
    if status not in _STATUSES:
        text = f"{status} is none of {', '.join(map(str, _STATUSES))}"
        raise fields["statusCode"].fault(text)
    return Rewrite(
        _host(fields.get("hostname")),
        path,
        path_kind,
        fields["scheme"].choice("http", "https") if "scheme" in fields else "",
        fields["port"].between(1, PORT_MAX) if "port" in fields else 0,
        status,
    )


def _rewrite(value: Value) -> Rewrite:
    fields = value.members(("hostname", "path"))
    return Rewrite(_host(fields.get("hostname")), *_path(fields.get("path")))


def _host(value: Value | None) -> bytes:
    if value is None:
        return b""
    name = value.text()
    if len(name) > HOST_BYTES_MAX or not _HOST.fullmatch(name) or values.is_ip(name):
        raise value.fault(f"{name!r} is no host name in small letters")
    return name.encode()


def _path(value: Value | None) -> tuple[bytes, str]:
    if value is None:
        return b"", rows.AS_IT_CAME
    fields = value.members(("type", "replaceFullPath", "replacePrefixMatch"))
    if "type" not in fields:
        raise value.fault("has no type")
    kind = fields["type"].choice("ReplaceFullPath", "ReplacePrefixMatch")
    name = kind[0].lower() + kind[1:]
    if len(fields) > 2 or (len(fields) > 1 and name not in fields):  # noqa: PLR2004 - it and its value
        raise value.fault(f"has more than {name}")
    text = fields[name].text() if name in fields else ""
    is_full = kind == "ReplaceFullPath"
    if (text or is_full) and not _PATH.fullmatch(text):
        raise value.fault(f"{text!r} is no path: / and what need not be escaped, without a query")
    return text.encode(), rows.FULL if is_full else rows.REPLACE_PREFIX


# ---- mirrors ------------------------------------------------------------------------------------


def _mirror(value: Value, namespace: str) -> MirrorRef:
    fields = value.members(("backendRef", "percent", "fraction"))
    if "backendRef" not in fields:
        raise value.fault("has no backendRef")
    at = fields["backendRef"]
    backend = _service(at, at.members(("group", "kind", "name", "namespace", "port")), namespace)
    if "percent" in fields and "fraction" in fields:
        raise fields["fraction"].fault("cannot stand beside percent")
    if "percent" in fields:
        return MirrorRef(backend, fields["percent"].between(0, 100) * MILLION // 100)
    if "fraction" in fields:
        return MirrorRef(backend, _fraction(fields["fraction"]))
    return MirrorRef(backend)


def _fraction(value: Value) -> int:
    fields = value.members(("numerator", "denominator"))
    if "numerator" not in fields:
        raise value.fault("has no numerator")
    most = (1 << 31) - 1
    whole = fields["denominator"].between(1, most) if "denominator" in fields else 100
    return fields["numerator"].between(0, whole) * MILLION // whole


_READERS: Final[Mapping[str, Callable[[Value, Filters, str], Filters]]] = {
    "RequestHeaderModifier": lambda at, found, _: found._replace(request=_edits(at)),
    "ResponseHeaderModifier": lambda at, found, _: found._replace(response=_edits(at)),
    "RequestRedirect": lambda at, found, _: found._replace(redirect=_redirect(at)),
    "URLRewrite": lambda at, found, _: found._replace(rewrite=_rewrite(at)),
    "RequestMirror": lambda at, found, namespace: found._replace(
        mirrors=(*found.mirrors, _mirror(at, namespace))
    ),
}
