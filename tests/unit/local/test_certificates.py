"""What the processes and the user of a closed local cluster show, made once and renewed in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gfs_ha.local.certificates import certify, forget
from gfs_ha.local.layout import Layout, Plan
from gfs_ha.local.member_text import HOST
from gfs_ha.net.tls import Credentials
from gfs_ha.pki import authority as authorities
from gfs_ha.pki import files
from gfs_ha.pki.enrolment import enrol
from gfs_ha.pki.names import PeerName, Role
from gfs_ha.runtime import ThreadedRuntime

PLAN = Plan(masters=1, chunkservers=2, racks=("r1",), closed=True)
PORTS = tuple(range(10_000, 10_000 + PLAN.ports_needed()))
ID = "local-1"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "d")
    made.claim()
    made.write(PLAN, ID, PORTS)
    certify(made)
    return made


def held(place: Path) -> Credentials:
    return Credentials(place / "tls", ID, ThreadedRuntime())


def contents(layout: Layout) -> dict[Path, bytes]:
    return {
        path: path.read_bytes() for path in layout.directory.rglob("*") if path.suffix == ".pem"
    }


def test_everybody_shows_who_he_is_and_the_user_is_an_administrator(layout: Layout) -> None:
    assert layout.plan() == PLAN
    for name, role in (("m1", "master"), ("cs1", "chunkserver"), ("cs2", "chunkserver")):
        own = held(layout.directory / name)
        assert (own.own.name, own.own.role, own.certificate.hosts) == (name, role, (HOST,))
    assert held(layout.directory).own.role == Role.ADMIN


def test_what_is_good_stays_as_it_is(layout: Layout) -> None:
    before = contents(layout)
    certify(layout)
    assert contents(layout) == before


def test_what_ends_soon_is_made_anew_and_a_newcomer_gets_his(layout: Layout) -> None:
    place = layout.directory / "cs1" / "tls"
    old = held(layout.directory / "cs2").certificate.serial
    with authorities.opened(layout.directory / "ca") as authority:
        name = PeerName(ID, Role.CHUNKSERVER, "cs1")
        enrol(authority, name, [HOST], place, datetime.now(UTC), 20)
    (layout.directory / "m1" / "tls" / files.KEY).unlink()
    new = layout.lay_out_master("m1", (20_000, 20_001, 20_002))
    certify(layout)
    later = datetime.now(UTC) + timedelta(days=300)
    for one in ("cs1", "m1", new.name):
        assert held(layout.directory / one).certificate.expires > later
    assert held(layout.directory / "cs2").certificate.serial == old


def test_a_list_of_what_is_revoked_that_ends_soon_is_given_out_anew(layout: Layout) -> None:
    past = datetime.now(UTC) - timedelta(days=25)
    with authorities.opened(layout.directory / "ca") as authority:
        authority.renew_lists(past)
    certify(layout)
    for place in (layout.directory, *(home.directory for home in layout.homes())):
        ends = held(place).revocations.expires
        assert ends is not None and ends > datetime.now(UTC) + timedelta(days=25)


def test_an_open_cluster_has_none_and_a_wiped_one_leaves_none(tmp_path: Path) -> None:
    bare = Layout(tmp_path / "bare")
    bare.claim()
    bare.write(Plan(masters=1, chunkservers=1), ID, PORTS)
    certify(bare)
    assert not contents(bare)

    closed = Layout(tmp_path / "closed")
    closed.claim()
    closed.write(PLAN, ID, PORTS)
    certify(closed)
    forget(closed)
    closed.remove()
    assert not closed.directory.exists()
