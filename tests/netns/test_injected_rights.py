"""What `remora inject` writes, run with the rights that it asks for and with no others."""

import sys
from typing import Any

import pytest

from inject.patch import apply
from inject.plan import inject
from inject.settings import DEFAULTS
from tests.netns.harness import Namespace

pytestmark = pytest.mark.root

# As the kubelet does: a read-only root, memory where volumes are, these capabilities and no more.
SHELL = """\
set -eu
mount -t tmpfs -o mode=0777 tmpfs {volume}
mount -o bind,ro / /
! touch /usr/written 2>/dev/null
exec setpriv --bounding-set {bounding} --inh-caps -all --no-new-privs {who} "$@"
"""
POD: dict[str, Any] = {
    "metadata": {
        "annotations": {
            "remora.dev/skip-inbound-ports": "9090",
            "remora.dev/skip-subnets": "169.254.169.254",
        }
    },
    "spec": {"containers": [{"name": "app", "image": "app"}]},
}


def injected(name: str) -> dict[str, Any]:
    """Return one of the containers that are put in."""
    made = apply(POD, inject(POD, DEFAULTS).patch)
    (found,) = [each for each in made["spec"]["initContainers"] if each["name"] == name]
    assert isinstance(found, dict)
    return found


def confined(container: dict[str, Any]) -> list[str]:
    """Return the command of a container, to be run with its rights."""
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert security["allowPrivilegeEscalation"] is False
    added = [f"+{name.lower()}" for name in security["capabilities"].get("add", ())]
    uid, gid = security["runAsUser"], security["runAsGroup"]
    script = SHELL.format(
        volume=container["volumeMounts"][0]["mountPath"],
        bounding=",".join(["-all", *added]),
        who=f"--reuid {uid} --regid {gid} --clear-groups",
    )
    words = [sys.executable, "-m", "proxy", *container["args"]]
    return ["unshare", "--mount", "bash", "-c", script, "-", *words]


def test_the_init_step_redirects_with_two_capabilities_and_a_read_only_root(
    pod: Namespace,
) -> None:
    done = pod.run(confined(injected("remora-init")))
    assert "every port, but not 9090, 15020" in done.stdout
    assert "but not 169.254.169.254/32" in done.stdout


def test_the_init_step_says_what_it_lacks_without_them(pod: Namespace) -> None:
    container = injected("remora-init")
    container["securityContext"]["capabilities"] = {"drop": ["ALL"]}
    done = pod.run(confined(container), check=False)
    assert done.returncode != 0
    assert "remora init: " in done.stderr
