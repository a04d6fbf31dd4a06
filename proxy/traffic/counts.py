"""How much there is of what, for people and metrics."""

from proxy.traffic.rows import Traffic


def counts(rows: Traffic) -> dict[str, int]:
    """Return it by kind."""
    return {
        "services": len({backend.service for backend in rows.backends}),
        "fronts": len(rows.fronts),
        "backends": len(rows.backends),
        "endpoints": sum(len(backend.endpoints) for backend in rows.backends),
        "without_endpoints": sum(not backend.endpoints for backend in rows.backends),
        "directs": len(rows.directs),
        "routes": len({rule.route for rule in rows.rules}),
        "rules": len(rows.rules),
        "matches": sum(len(front.routes) for front in rows.fronts),
        "expressions": len(rows.dfas),
    }
