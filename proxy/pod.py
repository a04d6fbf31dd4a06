"""Which pod this is, as Kubernetes' downward API has put it into the environment."""

from collections.abc import Mapping
from typing import Final

# The names are those of labels and of the log; the variables are what injection sets.
_VARIABLES: Final = {
    "pod": "POD_NAME",
    "namespace": "POD_NAMESPACE",
    "node": "NODE_NAME",
    "service_account": "SERVICE_ACCOUNT",
}


def pod_facts(environ: Mapping[str, str]) -> dict[str, str]:
    """Return all that may be known; empty texts outside of a pod."""
    return {name: environ.get(variable, "") for name, variable in _VARIABLES.items()}
