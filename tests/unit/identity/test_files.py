"""An identity directory: every layout, and every way in which it changes."""

from datetime import timedelta
from pathlib import Path

import pytest

from proxy.identity import spiffe
from proxy.identity.authority import Authority, Issued, write_svid
from proxy.identity.files import SETTLE_S, DirectorySource, read_directory
from proxy.identity.material import Material, MaterialError

HOUR = timedelta(hours=1)


class Watched:
    """A directory, its source, and what the source told."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder = folder
        self.authority = authority
        self.fresh: list[Material] = []
        self.faults: list[MaterialError] = []
        self.source = DirectorySource(folder, self.fresh.append, self.faults.append)
        self._now_s = 0.0

    def issue(self, account: str = "web") -> Issued:
        identity = spiffe.of_service_account("cluster.local", "shop", account)
        return self.authority.issue(identity, HOUR)

    def look(self, times: int = 3) -> None:
        for _ in range(times):
            self._now_s += 2 * SETTLE_S
            self.source.look(self._now_s)

    def accounts(self) -> list[str | None]:
        return [material.identity.service_account for material in self.fresh]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("ca") / "ca", "cluster.local")


@pytest.fixture
def watched(tmp_path: Path, authority: Authority) -> Watched:
    return Watched(tmp_path / "id", authority)


def plain(folder: Path, issued: Issued) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "tls.key").write_bytes(issued.key)
    (folder / "tls.crt").write_bytes(issued.chain)
    (folder / "ca.crt").write_bytes(issued.bundle)


def test_a_credential_bundle_is_read_like_three_files(watched: Watched) -> None:
    issued = watched.issue()
    watched.folder.mkdir()
    (watched.folder / "credentialbundle.pem").write_bytes(issued.key + issued.chain)
    (watched.folder / "ca.crt").write_bytes(issued.bundle)
    assert read_directory(watched.folder).leaf == issued.leaf


def test_a_missing_file_is_named(watched: Watched) -> None:
    plain(watched.folder, watched.issue())
    (watched.folder / "tls.key").unlink()
    with pytest.raises(MaterialError, match=r"tls\.key: No such file"):
        read_directory(watched.folder)


def test_the_swap_of_a_link_is_noticed(watched: Watched) -> None:
    for account in ("one", "two", "three"):
        write_svid(watched.folder, watched.issue(account))
        watched.look()
    assert watched.accounts() == ["one", "two", "three"]
    assert not watched.faults
    kept = [path for path in watched.folder.iterdir() if not path.is_symlink()]
    assert kept == [(watched.folder / "..data").resolve()]


def test_plain_writes_are_noticed_when_they_are_whole(watched: Watched) -> None:
    plain(watched.folder, watched.issue("one"))
    watched.look()
    fresh = watched.issue("two")
    (watched.folder / "tls.key").write_bytes(fresh.key)
    watched.look(1)
    (watched.folder / "tls.crt").write_bytes(fresh.chain)
    watched.look(1)
    assert watched.accounts() == ["one"]
    watched.look(1)
    assert watched.accounts() == ["one", "two"]
    assert not watched.faults


def test_what_stays_the_same_is_told_once(watched: Watched) -> None:
    issued = watched.issue()
    plain(watched.folder, issued)
    watched.look(10)
    plain(watched.folder, issued)
    watched.look(10)
    assert watched.accounts() == ["web"]


def test_a_torn_update_is_told_and_the_next_good_one_counts(watched: Watched) -> None:
    plain(watched.folder, watched.issue("one"))
    watched.look()
    (watched.folder / "tls.crt").write_bytes(b"-----BEGIN CERT")
    watched.look()
    assert watched.accounts() == ["one"]
    assert len(watched.faults) == 1
    assert "certificate chain" in str(watched.faults[0])
    plain(watched.folder, watched.issue("two"))
    watched.look()
    assert watched.accounts() == ["one", "two"]


def test_a_directory_may_come_later(watched: Watched) -> None:
    watched.look()
    assert not watched.fresh
    plain(watched.folder, watched.issue())
    watched.look()
    assert watched.accounts() == ["web"]


def test_a_key_is_never_readable_for_others(watched: Watched) -> None:
    write_svid(watched.folder, watched.issue())
    assert (watched.folder / "tls.key").stat().st_mode & 0o077 == 0
