"""An authority on its disk: one at a time, whole after every crash, bounded."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from gfs_ha.errors import (
    AlreadyExists,
    Busy,
    ConfigError,
    Denied,
    GfsError,
    LimitExceeded,
    NotFound,
    UsageError,
)
from gfs_ha.pki import authority as module
from gfs_ha.pki import files
from gfs_ha.pki.authority import Authority, create, opened
from gfs_ha.pki.certificates import (
    describe,
    load_authorities,
    load_certificate,
    load_lists,
    load_revocations,
)
from gfs_ha.pki.enrolment import ask
from gfs_ha.pki.names import PeerName, Role, parse_uri
from gfs_ha.pki.peers import PeerCertificate, Revocations
from gfs_ha.pki.requests import make_key
from gfs_ha.pki.standing import ending, troubles
from gfs_ha.runtime import ThreadedRuntime

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
ANN = PeerName("prod", Role.CLIENT, "ann")


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    create(tmp_path / "ca", "prod", NOW)
    with opened(tmp_path / "ca") as found:
        yield found


def issue(authority: Authority, name: PeerName = ANN, days: int = 30) -> bytes:
    return authority.issue(make_key().public_key(), name, [], NOW, days)


@pytest.mark.parametrize("days", [20, 390])
def test_the_certificate_that_was_issued_last_is_in_use(authority: Authority, days: int) -> None:
    """Also when it ends before the one it replaces: nobody shows that any more."""
    issue(authority, days=365)
    later = NOW + timedelta(days=1)
    last = describe(
        load_certificate(authority.issue(make_key().public_key(), ANN, [], later, days), "ann")
    )
    issued = authority.issued()
    assert [one.certificate for one in issued if one.in_use(issued, later)] == [last]
    over = NOW + timedelta(days=50)
    left = [one.certificate.expires > last.expires for one in issued if one.in_use(issued, over)]
    assert left == [days < 50], "what is good still is what is left to its holder"


def test_one_process_at_a_time_has_it(authority: Authority) -> None:
    with pytest.raises(Busy, match="another command"), opened(authority.directory):
        pass


def test_of_two_that_make_it_at_once_one_does_and_its_key_stays(tmp_path: Path) -> None:
    runtime = ThreadedRuntime()
    for turn in range(5):
        where = tmp_path / str(turn)
        made: list[Authority] = []
        refused: list[GfsError] = []
        start = threading.Barrier(4)

        def make(
            where: Path = where,
            made: list[Authority] = made,
            refused: list[GfsError] = refused,
            start: threading.Barrier = start,
        ) -> None:
            start.wait()
            while True:
                try:
                    made.append(create(where, "prod", NOW))
                except Busy:
                    continue  # It is being made, and may come to nothing.
                except AlreadyExists as error:
                    refused.append(error)
                return

        tasks = [runtime.spawn("make", make) for _ in range(4)]
        assert all(task.join(30.0) for task in tasks)
        assert (len(made), len(refused)) == (1, 3)
        with opened(where) as found:
            assert found.current.id == made[0].current.id


def test_who_comes_behind_the_one_that_made_it_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both looked before there was one; the lock lets one in after the other."""
    where = tmp_path / "ca"
    ours = module.files.make_directory

    def overtaken(path: Path) -> None:
        ours(path)
        monkeypatch.setattr(module.files, "make_directory", ours)
        create(where, "prod", NOW)

    monkeypatch.setattr(module.files, "make_directory", overtaken)
    with pytest.raises(AlreadyExists, match="tls rotate"):
        create(where, "other", NOW)
    with opened(where) as found:
        assert found.cluster == "prod"


def test_a_request_that_cannot_be_written_leaves_no_key_and_changes_none(tmp_path: Path) -> None:
    (tmp_path / files.REQUEST / "in the way").mkdir(parents=True)
    key = tmp_path / files.KEY
    with pytest.raises(ConfigError, match="cannot be written"):
        ask(ANN, [], tmp_path)
    assert not key.exists()
    key.write_bytes(b"that of a process that runs")
    with pytest.raises(ConfigError, match="cannot be written"):
        ask(ANN, [], tmp_path)
    assert key.read_bytes() == b"that of a process that runs"


def test_a_key_that_cannot_be_written_leaves_no_request_for_it(tmp_path: Path) -> None:
    (tmp_path / files.KEY / "in the way").mkdir(parents=True)
    with pytest.raises(ConfigError, match="cannot be written"):
        ask(ANN, [], tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir()) == [files.KEY]


def test_nothing_is_opened_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="tls init"), opened(tmp_path):
        pass


def test_certificates_say_who_for_how_long_and_never_outlive_the_authority(
    authority: Authority,
) -> None:
    one = describe(load_certificate(issue(authority), "ann"))
    assert one.name == ANN and one.expires == NOW + timedelta(days=30)
    assert one.authority == authority.current.id
    late = authority.current.certificate.not_valid_after_utc - timedelta(days=5)
    pem = authority.issue(make_key().public_key(), ANN, [], late, 365)
    assert describe(load_certificate(pem, "ann")).expires == late + timedelta(days=5)
    with pytest.raises(UsageError, match="1 to 398"):
        issue(authority, days=399)
    with pytest.raises(UsageError, match="is of another cluster"):
        issue(authority, PeerName("test", Role.CLIENT, "ann"))


@pytest.mark.parametrize("done", [1, 2, 3])
def test_a_rotation_that_a_crash_cut_short_is_whole_when_it_is_opened_next(
    tmp_path: Path, done: int
) -> None:
    create(tmp_path / "ca", "prod", NOW)
    before = tmp_path / "before"
    shutil.copytree(tmp_path / "ca", before)
    with opened(tmp_path / "ca") as whole:
        ann = describe(load_certificate(issue(whole), "ann"))
        whole.revoke([ann], NOW)
        shutil.copy(whole.directory / files.REVOKED, before)
        whole.rotate(NOW)
    # The files of a rotation in the order in which they are written.
    for name in ("old.key", "now.key", files.REVOKED, files.TRUSTED)[:done]:
        shutil.copy(tmp_path / "ca" / name, before / name)
    with opened(before) as found:
        assert (found.previous is None) == (done < 2)
        trusted = load_authorities((before / files.TRUSTED).read_bytes(), "x")
        assert found.current.id in trusted.ids and len(trusted.ids) == (1 if done < 2 else 2)
        found.renew_lists(NOW)
        assert load_revocations(found.lists_pem, trusted, "x").has(ann)


def test_what_a_finish_left_undone_is_done_when_it_is_opened_next(authority: Authority) -> None:
    authority.rotate(NOW)
    (authority.directory / "old.key").unlink()
    # Opened again as after a crash; the lock is this process's own.
    shutil.copytree(authority.directory, authority.directory.parent / "copy")
    with opened(authority.directory.parent / "copy") as found:
        assert found.previous is None
        trusted = load_authorities((found.directory / files.TRUSTED).read_bytes(), "x")
        assert trusted.ids == {found.current.id}


def test_what_an_authority_signed_that_is_gone_is_in_no_ones_way(authority: Authority) -> None:
    issue(authority)
    authority.rotate(NOW)
    issue(authority)
    authority.finish(NOW)
    authority.revoke([one.certificate for one in authority.find("ann", None, NOW)], NOW)
    authority.rotate(NOW)
    assert authority.outdated(NOW) == []
    assert not any(one.in_use(authority.issued(), NOW) for one in authority.issued())
    with pytest.raises(NotFound, match="all of it are revoked or have run out"):
        authority.find("ann", None, NOW)


def test_the_number_of_kept_certificates_is_bounded(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ISSUED_MAX", 2)
    issue(authority)
    issue(authority)
    with pytest.raises(LimitExceeded, match="2 certificates are in use"):
        issue(authority)
    later = NOW + timedelta(days=30 + 91)
    authority.issue(make_key().public_key(), ANN, [], later, 1)
    assert len(authority.issued()) == 1


def test_the_list_of_the_revoked_is_bounded_and_never_too_long_to_be_read(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    def some(count: int) -> list[PeerCertificate]:
        ends = NOW + timedelta(days=398)
        serials = [x509.random_serial_number() for _ in range(count)]
        return [PeerCertificate(ANN, one, authority.current.id, NOW, ends) for one in serials]

    empty = len(authority.lists_pem)
    authority.revoke(some(100), NOW)
    each = (len(authority.lists_pem) - empty) / 100
    assert each * module.REVOKED_MAX < 0.9 * files.FILE_BYTES_MAX

    monkeypatch.setattr(module, "REVOKED_MAX", 102)
    before = some(1)
    authority.revoke(before, NOW + timedelta(days=1))
    with pytest.raises(LimitExceeded, match="103 certificates would be listed"):
        authority.revoke(some(2), NOW + timedelta(days=398))
    # Those of the first day have run out by now; the one of the second may not have.
    late = NOW + timedelta(days=399, hours=1)
    authority.revoke(some(2), late)
    lists = load_lists(authority.lists_pem, "x")
    assert len(lists[0]) == 3
    assert lists[0].get_revoked_certificate_by_serial_number(before[0].serial) is not None


def test_a_list_that_nobody_trusted_signed_says_nothing_and_a_forged_one_is_an_error(
    authority: Authority, tmp_path: Path
) -> None:
    ann = describe(load_certificate(issue(authority), "ann"))
    authority.revoke([ann], NOW)
    trusted = load_authorities(authority.trusted_pem, "x")
    assert load_revocations(authority.lists_pem, trusted, "x").has(ann)
    other = create(tmp_path / "other", "prod", NOW)
    theirs = load_authorities(other.trusted_pem, "x")
    assert load_revocations(authority.lists_pem, theirs, "x") == Revocations()
    lines = authority.lists_pem.decode().splitlines()
    lines[-2] = lines[-2][:-8] + lines[-2][-8:-4][::-1] + lines[-2][-4:]
    with pytest.raises(ConfigError, match="x: "):
        load_revocations("\n".join(lines).encode() + b"\n", trusted, "x")


@pytest.mark.parametrize(
    "uri",
    [
        *("", "gfs://", "gfs://prod/king/x", "gfs://prod/client", "gfs://prod/client/a/b"),
        *("gfs://prod/client/", "gfs:///client/a", "gfs://prod/client/a b", "http://x"),
        "gfs://prod/CLIENT/a",
    ],
)
def test_a_name_that_is_none_of_ours_is_denied(uri: str) -> None:
    with pytest.raises(Denied, match="which is no gfs://CLUSTER/ROLE/NAME"):
        parse_uri(uri)
    assert parse_uri(ANN.uri) == ANN


def test_what_ends_soon_is_said_in_words(authority: Authority) -> None:
    trusted = load_authorities(authority.trusted_pem, "x")
    lists = load_revocations(authority.lists_pem, trusted, "x")
    one = describe(load_certificate(issue(authority, days=60), "ann"))
    assert list(troubles(one, trusted, lists, NOW)) == []
    later = NOW + timedelta(days=31)
    assert list(troubles(one, trusted, lists, later)) == [
        "the certificate of client ann runs out in 29 days: issue a new one",
        "the list of revoked certificates has run out 1 day ago: give out a new one (tls trust)",
    ]
    assert "authority" in next(troubles(None, trusted, lists, NOW + timedelta(days=3640)))
    none = list(troubles(one, trusted, Revocations(), NOW))
    assert none == ["there is no list of revoked certificates (crl.pem): nobody can be locked out"]
    assert ending(NOW, NOW) == "has run out less than a day ago"
    assert ending(NOW + timedelta(hours=30), NOW) == "runs out in 1 day"
