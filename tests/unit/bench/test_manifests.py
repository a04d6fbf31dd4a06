"""Manifests that the benchmark writes: as many as asked for, and all of them good."""

from pathlib import Path

from bench import manifests
from proxy.sources.directory import ManifestDirectory


def test_as_many_services_as_asked_for_are_read_without_a_fault(tmp_path: Path) -> None:
    manifests.write(tmp_path / "m", 300, 8080)
    objects = ManifestDirectory(tmp_path / "m").load()
    assert len(objects.services) == len({each.cluster_ips for each in objects.services}) == 300
    addresses = [
        address
        for each in objects.endpoint_slices
        for endpoint in each.endpoints
        for address in endpoint.addresses
    ]
    assert len(addresses) == len({*addresses}) == 3_000
    assert "127.0.0.10" in addresses


def test_what_changes_is_the_service_that_is_asked(tmp_path: Path) -> None:
    manifests.write(tmp_path / "m", 2, 8080)
    source = ManifestDirectory(tmp_path / "m")
    before = source.load()
    manifests.write_hot(tmp_path / "m", 8080, 1)
    after = source.load()
    assert before.http_routes != after.http_routes
    changed = [each for each in after.services if each not in before.services]
    assert not changed
