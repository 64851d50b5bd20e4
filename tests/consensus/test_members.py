"""Three members on LMDB and loopback elect, apply, answer and come back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from raft_members import DATABASES, Cluster, Member, running, wait_until

from gfs_ha.errors import (
    ConfigError,
    LimitExceeded,
    NotLeader,
    OldCopy,
    PortTaken,
    UnknownOutcome,
    WrongDirectory,
)
from gfs_ha.kv.lmdb_kv import LmdbKV
from gfs_ha.limits import COMMAND_BYTES_MAX
from gfs_ha.master.raft.contract import Outcome, RaftConfig
from gfs_ha.master.raft.identity import bootstrap


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running(tmp_path) as cluster:
        yield cluster


def test_a_command_is_applied_on_every_member(cluster: Cluster) -> None:
    outcome = cluster.goes_through(b"hello")
    assert outcome.result == b"done hello"
    for member in cluster.members.values():
        wait_until(lambda member=member: outcome.index in member.state(), "the command")
        assert set(member.state().values()) == {b"hello"}


def test_a_follower_names_the_leader(cluster: Cluster) -> None:
    def named() -> bool:
        leader = cluster.leader()
        followers = [one for one in cluster.members.values() if one is not leader]
        errors = [one.propose(b"x").error for one in followers]
        return all(
            isinstance(error, NotLeader) and error.details["leader"] == leader.config.member_id
            for error in errors
        ) and all(isinstance(one.read_index(), NotLeader) for one in followers)

    wait_until(named, "both followers to name the leader")


def test_a_read_index_shows_what_was_acknowledged(cluster: Cluster) -> None:
    for number in range(20):
        outcome = cluster.goes_through(b"%d" % number)
        assert cluster.confirmed().state()[outcome.index] == b"%d" % number


def test_the_others_go_on_without_the_leader_and_it_catches_up(cluster: Cluster) -> None:
    first = cluster.goes_through(b"before")
    name = cluster.leader().config.member_id
    cluster.stop(name)
    second = cluster.goes_through(b"after")
    assert second.term > first.term
    returned = cluster.start(name)
    wait_until(lambda: second.index in returned.state(), "the member to catch up")
    assert returned.state()[first.index] == b"before"
    assert set(returned.state().values()) == {b"before", b"after"}


def test_everything_survives_a_restart_of_all(cluster: Cluster) -> None:
    kept = {cluster.goes_through(b"%d" % number).index: b"%d" % number for number in range(50)}
    for name in list(cluster.members):
        cluster.stop(name)
    for name in cluster.addresses:
        cluster.start(name)
    state = cluster.confirmed().state()
    assert kept.items() <= state.items() and set(state.values()) == set(kept.values())


def test_without_a_majority_a_proposal_ends_unknown(cluster: Cluster) -> None:
    leader = cluster.leader()
    for name in cluster.members.keys() - {leader.config.member_id}:
        cluster.stop(name)
    outcome = leader.propose(b"lonely")
    assert isinstance(outcome.error, UnknownOutcome | NotLeader)
    wait_until(lambda: leader.node.status().role != "leader", "the leader to step down")
    assert isinstance(leader.propose(b"x").error, NotLeader)


def test_a_role_listener_hears_of_leading_once_it_is_visible(cluster: Cluster) -> None:
    leader = cluster.leader()
    heard: list[tuple[str, int]] = []
    leader.node.on_role_change(lambda role, term: heard.append((role, term)))
    term = leader.node.status().term
    cluster.stop(leader.config.member_id)
    assert heard == [("follower", term)]


def test_a_callback_that_raises_does_no_harm(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    def angry(outcome: Outcome) -> None:
        raise RuntimeError("the client hung up")

    def applied() -> bool:
        cluster.leader().node.propose(b"angry", 5.0, angry)
        cluster.goes_through(b"calm")
        members = cluster.members.values()
        return all(set(one.state().values()) == {b"angry", b"calm"} for one in members)

    wait_until(applied, "both commands on every member")
    assert all(member.task.running() for member in cluster.members.values())
    assert "the client hung up" in caplog.text


def test_a_command_that_is_too_long_is_refused_at_once(cluster: Cluster) -> None:
    outcome = cluster.leader().propose(bytes(COMMAND_BYTES_MAX + 1))
    assert isinstance(outcome.error, LimitExceeded)
    cluster.goes_through(bytes(COMMAND_BYTES_MAX))


def test_a_cluster_of_one_serves(tmp_path: Path) -> None:
    with running(tmp_path, count=1) as cluster:
        outcome = cluster.goes_through(b"alone")
        state = cluster.confirmed().state()
        assert outcome.index in state and set(state.values()) == {b"alone"}


def test_a_store_that_was_never_bootstrapped_does_not_start(tmp_path: Path) -> None:
    config = RaftConfig("test", 1, "m1", {"m1": ("127.0.0.1", 0)})
    with pytest.raises(ConfigError, match="--bootstrap"):
        Member(config, tmp_path)


def test_only_an_empty_store_is_bootstrapped(tmp_path: Path) -> None:
    kv = LmdbKV(tmp_path, DATABASES, 1 << 24)
    config = RaftConfig("test", 1, "m1", {"m1": ("127.0.0.1", 0)})
    bootstrap(kv, config)
    with pytest.raises(WrongDirectory, match="not empty"):
        bootstrap(kv, config)
    kv.close()


@pytest.mark.parametrize(
    ("config", "error"),
    [
        (RaftConfig("other", 1, "m1", {"m1": ("127.0.0.1", 0)}), WrongDirectory),
        (RaftConfig("test", 2, "m1", {"m1": ("127.0.0.1", 0)}), WrongDirectory),
        (RaftConfig("test", 1, "m2", {"m2": ("127.0.0.1", 0)}), WrongDirectory),
    ],
)
def test_the_store_of_another_member_is_refused(
    tmp_path: Path, config: RaftConfig, error: type[Exception]
) -> None:
    kv = LmdbKV(tmp_path, DATABASES, 1 << 24)
    bootstrap(kv, RaftConfig("test", 1, "m1", {"m1": ("127.0.0.1", 0)}))
    kv.close()
    with pytest.raises(error):
        Member(config, tmp_path)


def test_a_taken_port_is_named(cluster: Cluster, tmp_path: Path) -> None:
    taken = cluster.addresses["m1"]
    with pytest.raises(PortTaken, match=str(taken[1])):
        Member(RaftConfig("test", 1, "m1", {"m1": taken}), tmp_path / "other", fresh=True)


def test_a_wiped_member_that_is_bootstrapped_again_stops_for_good(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.goes_through(b"x")
    victim = cluster.followers()[0].config
    # It has this by a link: the member at the other end knows its start then.
    wait_until(cluster.members[victim.member_id].state, "it to have that")
    cluster.stop(victim.member_id)
    wiped = Member(victim, tmp_path / "wiped", fresh=True)
    wait_until(lambda: not wiped.task.running(), "the copy to stop")
    assert isinstance(wiped.error, OldCopy)
    wiped.kv.close()
    with pytest.raises(OldCopy):
        Member(victim, tmp_path / "wiped")
    cluster.start(victim.member_id)  # The true one is still welcome.
    cluster.goes_through(b"y")
