"""A real Kubernetes API server on this machine, and `kubectl` for it. See tests/kube/apiserver."""

import itertools
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from cryptography.hazmat.primitives import serialization

from tests.support.svids import Shape, Signer, Svid
from tests.support.tools import needed, plain_environment
from tests.support.waiting import PATIENCE_S, eventually

BINARY: Final = Path(__file__).parents[2] / "build" / "kube" / "apiserver"
_NAME: Final = "kubernetes.default.svc"
# Users by their groups. The second one may do nothing. Nobody else reaches this server.
USERS: Final = {"admin": "system:masters", "dev": "developers"}
# Far above a start, which loads a gigabyte of types on two cores that others use.
_START_S: Final = PATIENCE_S * 6

Json = dict[str, Any]


class ApiServer:
    """The server with its etcd, in one process, and a kubeconfig of its administrator."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self.kubeconfig = folder / "kubeconfig"
        authority = Signer.root("of the API server")
        serving = authority.issue(Shape(uris=(), dns=(_NAME, "localhost")))
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [str(BINARY), *self._flags(serving)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=plain_environment(),
        )
        assert self._process.stdout is not None
        url = self._process.stdout.readline().decode().strip()
        assert url, self._last_words()
        # For programs that ask it themselves; its certificate has this name.
        self.url = url.replace("127.0.0.1", "localhost")
        self.ca = folder / "ca.crt"
        self.ca.write_bytes(Svid(authority.key, (authority.certificate,)).chain_pem())
        self._write_kubeconfig(url)
        eventually("the API server to be ready", self._is_ready, seconds=_START_S)

    def _flags(self, serving: Svid) -> list[str]:
        tokens = self._folder / "tokens.csv"
        rows = (f"token-of-{name},{name},{name},{group}\n" for name, group in USERS.items())
        tokens.write_text("".join(rows))
        crt, key, of_accounts = (self._folder / name for name in ("tls.crt", "tls.key", "sa.key"))
        crt.write_bytes(serving.chain_pem())
        key.write_bytes(serving.key_pem())
        # This one is read in the format of OpenSSL only.
        of_accounts.write_bytes(
            serving.key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        return [
            *("--data", str(self._folder / "etcd"), "--cert-dir", str(self._folder)),
            *("--tls-cert-file", str(crt), "--tls-private-key-file", str(key)),
            *("--token-auth-file", str(tokens), "--authorization-mode", "RBAC"),
            *("--service-account-issuer", f"https://{_NAME}"),
            *("--service-account-key-file", str(of_accounts)),
            *("--service-account-signing-key-file", str(of_accounts)),
            *("--service-cluster-ip-range", "10.96.0.0/16", "--allow-privileged"),
            # There is no address of this server that its objects could name.
            *("--endpoint-reconciler-type", "none", "--advertise-address", "127.0.0.1"),
        ]

    def _write_kubeconfig(self, url: str) -> None:
        ca = str(self.ca)
        server = {"server": url, "certificate-authority": ca, "tls-server-name": _NAME}
        page = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": server}],
            "users": [{"name": name, "user": {"token": f"token-of-{name}"}} for name in USERS],
            "contexts": [
                {"name": name, "context": {"cluster": "tests", "user": name}} for name in USERS
            ],
            "current-context": "admin",
        }
        self.kubeconfig.write_text(yaml.safe_dump(page))

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, self._last_words()
        return self.kubectl("get", "--raw", "/readyz").returncode == 0

    def _last_words(self) -> str:
        return (self._folder / "log").read_text()[-4000:]

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._log.close()

    # ---- talking to it ---------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """Return variables for programs that call kubectl. It keeps its notes in our folder."""
        home = {"HOME": str(self._folder), "KUBECONFIG": str(self.kubeconfig)}
        return plain_environment() | home

    def kubectl(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator."""
        return subprocess.run(
            [needed("kubectl"), *words],
            input=given,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S * 3,
            check=False,
            env=self.environment(),
        )

    def said(self, *words: str, given: str = "") -> str:
        """Run kubectl; it must end well."""
        done = self.kubectl(*words, given=given)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def get(self, *words: str) -> Json:
        found: Json = json.loads(self.said("get", *words, "-o", "json"))
        return found

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Make objects; their status too, which no controller here would write."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.said("apply", "--server-side", "-f", "-", given=json.dumps(listed))
        for each in objects:
            if "status" in each:
                self.said(
                    *("apply", "--server-side", "--subresource=status", "-f", "-"),
                    given=json.dumps(each),
                )

    def namespace(self, *, labels: Mapping[str, str] | None = None, name: str = "") -> str:
        """Make a namespace and what its controllers would put there; return its name."""
        made = name or f"test-{next(self._numbers)}"
        meta = {"name": made, "labels": dict(labels or {})}
        account = {"name": "default", "namespace": made}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
        self.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
        return made

    def token(self, namespace: str, account: str = "default") -> str:
        """Return a token of a service account, as a pod of it has."""
        return self.said("create", "token", account, "-n", namespace).strip()

    def run(self, words: Sequence[str], given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program that finds this server by its environment."""
        return subprocess.run(
            words,
            input=given,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S * 6,
            check=False,
            env=self.environment() | {"PYTHONSAFEPATH": "1"},
            cwd=self._folder,
        )


def missing() -> str:
    """Return why there is no such server here, "" if there can be one."""
    if not os.access(BINARY, os.X_OK):
        return "the Kubernetes API server of the tests is not built (make kube)"
    return ""
