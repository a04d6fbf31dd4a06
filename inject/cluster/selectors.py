"""Label selectors of Kubernetes, as the API server understands them."""

from collections.abc import Mapping
from typing import Any


def selects(selector: object, labels: Mapping[str, Any]) -> bool:
    """Whether a selector selects what has these labels. One that is missing or empty does."""
    if not isinstance(selector, dict):
        return True
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(name) != text for name, text in wanted.items()):
        return False
    return all(_holds(each, labels) for each in selector.get("matchExpressions") or [])


def _holds(expression: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    name, values = str(expression.get("key")), expression.get("values") or []
    is_in = name in labels and labels[name] in values
    # In, Exists, and their opposites; what is not there is in nothing.
    return {
        "In": is_in,
        "NotIn": not is_in,
        "Exists": name in labels,
        "DoesNotExist": name not in labels,
    }.get(str(expression.get("operator")), False)
