"""Proxies of other meshes: started and looked at where a binary is given."""

import sys
from pathlib import Path

import pytest

from bench import meshes, record
from bench.meshes import Mesh, report_on, rest
from bench.running import RunError

# Stands for a proxy that cannot be had here: it reads what it is told as linkerd2-proxy does.
ALIVE = """
import http.server, os, pathlib
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/live" else 404)
        self.end_headers()
assert pathlib.Path(os.environ["LINKERD2_PROXY_IDENTITY_DIR"], "csr.der").stat().st_size
assert "BEGIN CERTIFICATE" in os.environ["LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"]
host, port = os.environ["LINKERD2_PROXY_ADMIN_LISTEN_ADDR"].split(":")
http.server.HTTPServer((host, int(port)), Answer).serve_forever()
"""


def program(directory: Path, script: str) -> Mesh:
    path = directory / "linkerd2-proxy"
    path.write_text(f"#!{sys.executable}\n{script}")
    path.chmod(0o755)
    return Mesh("linkerd2-proxy", path, "/live")


def test_the_start_and_the_memory_of_a_given_proxy_are_measured(tmp_path: Path) -> None:
    found = rest(program(tmp_path, ALIVE))
    assert found.ms > 1
    assert found.memory.pss > 1_000_000


def test_a_given_proxy_that_ends_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"(?s)exited with status 1.*no such variable"):
        rest(program(tmp_path, "raise SystemExit('no such variable')"))


def test_a_report_says_who_did_not_run_and_that_no_requests_were_measured(tmp_path: Path) -> None:
    top = record.Top("Proxies of other meshes", ["bench", "--linkerd2-proxy", "it"])
    text = report_on([program(tmp_path, "raise SystemExit(3)")], top)["md"]
    assert "- command: `python -m bench --linkerd2-proxy it`" in text
    assert "| linkerd2-proxy | - | - | - | - | did not run: exited with status 3 |" in text
    assert "no requests" in text


def test_ztunnel_reads_its_workloads_from_a_file_and_makes_its_own_certificates(
    tmp_path: Path,
) -> None:
    words: dict[str, object] = {"port": 4001, "admin_port": 4002, "directory": tmp_path}
    told = meshes._prepared(tmp_path, "ztunnel", words)
    assert told["FAKE_CA"] == "true"
    assert Path(told["LOCAL_XDS_PATH"]) == tmp_path / "ztunnel.yaml"
    assert '"proxyAdminPort": 4002' in told["PROXY_CONFIG"]
