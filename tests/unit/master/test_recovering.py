"""What `gfs-master --recover-from-this-copy` refuses, before it has written anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from gfs_ha.config import (
    LOOPBACK,
    ClientConfig,
    ClusterConfig,
    Config,
    MasterAddress,
    MasterConfig,
    SettingsConfig,
)
from gfs_ha.errors import (
    ConfigError,
    GfsError,
    OldCopy,
    PreconditionFailed,
    Unreachable,
    UsageError,
    WrongDirectory,
)
from gfs_ha.kv.lmdb_kv import LmdbKV
from gfs_ha.limits import CHUNK_BYTES_MIN, DEAD_S
from gfs_ha.master.directory import MasterDirectory
from gfs_ha.master.raft.contract import RaftConfig
from gfs_ha.master.raft.identity import DATABASES, bootstrap, stop_for_good
from gfs_ha.master.raft.journal import Journal
from gfs_ha.master.raft.members import Addresses, Configuration, Point
from gfs_ha.master.raft.recovery import stored_incarnation
from gfs_ha.master.recovery import Facts, recover
from gfs_ha.protocol.reports import MasterFacts

NAMES = ("m1", "m2", "m3")
MAP_BYTES = 1 << 24


class Copy:
    """The directory of m1, stopped, and what answers when it asks around."""

    def __init__(self, path: Path) -> None:
        self.path = path / "data"
        self.own = MasterConfig("m1", self.path, MAP_BYTES, MAP_BYTES, int(DEAD_S))
        masters = tuple(MasterAddress(name, "127.0.0.1", 1, 2) for name in NAMES)
        self.config = Config(
            path=path / "gfs.toml",
            cluster=ClusterConfig("c", "name", masters),
            master=self.own,
            chunkserver=None,
            client=ClientConfig("here", "rack"),
            settings=SettingsConfig(CHUNK_BYTES_MIN),
            security=LOOPBACK,
        )
        self.raft = RaftConfig(
            "c",
            1,
            "m1",
            dict.fromkeys(NAMES, ("127.0.0.1", 2)),
            doors=dict.fromkeys(NAMES, ("127.0.0.1", 1)),
        )
        self.asked: list[str] = []
        self.looked: list[str] = []
        self.said: dict[str, MasterFacts] = {}
        directory = MasterDirectory(self.path)
        with_store(self, lambda kv: bootstrap(kv, self.raft))
        directory.close()

    def recover(self, typed: str = "name\n", raft: RaftConfig | None = None) -> int:
        def ask(text: str) -> str:
            self.asked.append(text)
            return typed

        def look(masters: Sequence[MasterAddress]) -> Facts:
            self.looked += [one.name for one in masters]
            answers: dict[str, MasterFacts | GfsError] = {
                one.name: Unreachable("it is gone") for one in masters
            }
            return {**answers, **self.said}

        return recover(self.config, self.own, raft or self.raft, ask, look)

    def files(self) -> dict[str, bytes]:
        return {
            str(file): file.read_bytes()
            for file in sorted(self.path.rglob("*"))
            if file.is_file() and file.name != "lock.mdb"
        }

    def incarnation(self) -> int | None:
        found: int | None = with_store(self, stored_incarnation)
        return found


def with_store(copy: Copy, action):  # type: ignore[no-untyped-def]
    kv = LmdbKV(copy.path / "db", DATABASES, MAP_BYTES)
    try:
        return action(kv)
    finally:
        kv.close()


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def facts(name: str, role: str, incarnation: int = 1) -> MasterFacts:
    return MasterFacts(name, role, 3, "", *[0] * 12, incarnation, "0")  # type: ignore[call-arg,arg-type]


def refused(copy: Copy, error: type[GfsError], match: str, raft: RaftConfig | None = None) -> None:
    """Nobody is asked for the name, and not one byte changes."""
    before = copy.files()
    with pytest.raises(error, match=match):
        copy.recover(raft=raft)
    assert copy.files() == before
    assert not copy.asked


def test_a_copy_that_nobody_stands_beside_goes_on(copy: Copy) -> None:
    assert copy.recover() == 2
    assert copy.looked == ["m2", "m3"]
    assert copy.incarnation() == 2


@pytest.mark.parametrize(
    ("change", "match"),
    [({"cluster_id": "another"}, "cluster c"), ({"member_id": "m2"}, "member m1")],
)
def test_the_store_of_another_cluster_or_member_is_left_alone(
    copy: Copy, change: dict[str, str], match: str
) -> None:
    refused(copy, WrongDirectory, match, msgspec.structs.replace(copy.raft, **change))
    assert not copy.looked
    assert copy.incarnation() == 1


def test_in_a_missing_directory_nothing_is_made(copy: Copy, tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path / "empty"):
        if path.name == "empty":
            path.mkdir()
        copy.own = replace(copy.own, directory=path)
        with pytest.raises(ConfigError, match="holds no store"):
            copy.recover()
        assert not path.exists() or not list(path.iterdir())


def test_a_copy_that_was_stopped_for_good_is_none(copy: Copy) -> None:
    def stop(kv: LmdbKV) -> None:
        writer = kv.begin()
        stop_for_good(writer, OldCopy("it must not vote again"))
        writer.commit()

    with_store(copy, stop)
    refused(copy, OldCopy, "must not vote")


@pytest.mark.parametrize("learns", [True, False])
def test_a_copy_whose_member_does_not_vote_is_refused(copy: Copy, learns: bool) -> None:
    def appoint(kv: LmdbKV) -> None:
        here = Addresses(("127.0.0.1", 2))
        others = Configuration({"m2": here}, {"m1": here} if learns else {})
        journal = Journal(kv)
        journal.appoint(Point(journal.last_index, journal.term_at(journal.last_index), others))
        writer = kv.begin()
        journal.write(writer)
        writer.commit()

    with_store(copy, appoint)
    refused(copy, PreconditionFailed, "only learns" if learns else "is none of the masters")


@pytest.mark.parametrize(
    ("answering", "match"),
    [
        ([facts("m2", "leader"), facts("m3", "follower")], "m2, m3 still answer: m2 leads"),
        ([facts("m2", "follower"), facts("m3", "candidate")], "are a majority"),
        ([facts("m2", "follower")], "with m1 they are a majority"),
        ([facts("m2", "follower", 2)], "incarnation 2 already"),
        ([facts("m9", "removed", 2)], "incarnation 2 already"),
        ([facts("m9", "follower")], "stop them first"),
    ],
)
def test_beside_masters_that_live_nothing_is_asked(
    copy: Copy, answering: list[MasterFacts], match: str
) -> None:
    copy.said = {one.name: one for one in answering}
    refused(copy, PreconditionFailed, match)


@pytest.mark.parametrize("typed", ["", "\n", "another\n"])
def test_without_the_name_nothing_is_changed(copy: Copy, typed: str) -> None:
    with pytest.raises(UsageError, match="nothing was changed"):
        copy.recover(typed)
    assert copy.incarnation() == 1
