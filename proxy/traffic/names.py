"""What a Service is called by those who speak to it."""

from typing import Final

CLUSTER_DOMAIN: Final = "cluster.local"
_SUFFIXES: Final = ("", ".svc", f".svc.{CLUSTER_DOMAIN}")


def names_of(namespace: str, name: str, own_namespace: str) -> tuple[str, ...]:
    """Return every host name of a Service; the bare one counts in its own namespace."""
    bare = (name,) if namespace == own_namespace else ()
    return (*bare, *(f"{name}.{namespace}{suffix}" for suffix in _SUFFIXES))


def service_of(host: str, namespace: str) -> str:
    """Return NAMESPACE/NAME of the Service that a host may mean, said in a namespace."""
    host = host.lower().rstrip(".")
    for suffix in reversed(_SUFFIXES[1:]):
        if host.endswith(suffix):
            host = host.removesuffix(suffix)
            break
    name, _, own = host.partition(".")
    return f"{own or namespace}/{name}"
