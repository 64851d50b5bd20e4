"""Real masters answer reads under the terms of the caller, whoever leads."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from asker import Asker, followers, made
from trio import CALL_S, Client, Trio

from gfs_ha.client.filesystem import Cluster
from gfs_ha.errors import NotLeader, ProtocolError
from gfs_ha.protocol.calls import (
    BOUNDED,
    LED,
    LINEARIZABLE,
    LOCAL,
    ReadTerms,
)
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.metadata import FileStatus, ListDirectory, Listing, Stat
from gfs_ha.protocol.reports import GetServers


@pytest.fixture
def asker(shared: Trio) -> Asker:
    return Asker(shared)


@pytest.fixture
def home(guest: Client) -> str:
    """A directory of this test's own."""
    path = f"/{guest.session_id:x}"
    made(guest, path)
    return path


@pytest.mark.parametrize("terms", [ReadTerms(LINEARIZABLE), ReadTerms(BOUNDED, 0)])
def test_a_follower_shows_what_was_made_a_moment_ago(
    shared: Trio, guest: Client, home: str, asker: Asker, terms: ReadTerms
) -> None:
    for number in range(30):
        path = f"{home}/{number}"
        made(guest, path)
        for name in followers(shared):
            answer = asker.ask(name, terms, Stat(path))
            assert isinstance(answer.replies[0], FileStatus), (name, answer)
            assert answer.as_of is not None and answer.as_of.master == name
            assert answer.as_of.age_ms == 0 and not answer.as_of.degraded


def test_without_terms_only_the_leader_answers(shared: Trio, home: str, asker: Asker) -> None:
    for terms in (None, ReadTerms(LED)):
        answer = asker.ask(shared.leader(), terms, Stat(home))
        assert isinstance(answer.replies[0], FileStatus)
        assert (answer.as_of is None) == (terms is None)
        for name in followers(shared):
            assert isinstance(asker.error(name, terms, Stat(home)), NotLeader)


def test_what_needs_a_leaders_facts_is_not_answered_by_a_follower(
    shared: Trio, guest: Client, home: str, asker: Asker
) -> None:
    for name in followers(shared):
        assert isinstance(asker.error(name, ReadTerms(LOCAL), GetServers()), NotLeader)


def test_terms_that_are_not_known_are_an_error_of_the_caller(shared: Trio, asker: Asker) -> None:
    shared.leader()
    with pytest.raises(ProtocolError):
        asker.ask("m1", ReadTerms("telepathic"), Stat("/"))


def test_nobody_answers_from_before_what_the_caller_has_seen(
    shared: Trio, guest: Client, home: str, asker: Asker
) -> None:
    for number in range(30):
        path = f"{home}/{number}"
        made(guest, path)
        first, second = followers(shared)
        seen = asker.ask(first, ReadTerms(LINEARIZABLE), Stat(path)).as_of
        assert seen is not None
        answer = asker.ask(second, ReadTerms(LOCAL, 0, seen.index), Stat(path))
        assert isinstance(answer.replies[0], FileStatus), "the other one need not have it yet"
        assert answer.as_of is not None and answer.as_of.index >= seen.index


def test_a_bounded_answer_is_never_older_than_its_bound_under_a_writing_load(
    shared: Trio, guest: Client, home: str, asker: Asker
) -> None:
    for name in followers(shared):  # Both show the directory from here on.
        asker.ask(name, ReadTerms(LINEARIZABLE), Stat(home))
    clock = shared.runtime.monotonic_s
    acked: list[tuple[float, int]] = []
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            made(guest, f"{home}/{len(acked):06d}")
            acked.append((clock(), len(acked) + 1))

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        ages: dict[int, list[int]] = {}
        for turn in range(300):
            bound_ms = (10, 40, 500)[turn % 3]
            name = followers(shared)[turn % 2]
            asked_s = clock()
            answer = asker.ask(name, ReadTerms(BOUNDED, bound_ms), Stat(home))
            status, as_of = answer.replies[0], answer.as_of
            assert isinstance(status, FileStatus) and as_of is not None and not as_of.degraded
            assert 0 <= as_of.age_ms <= bound_ms
            ages.setdefault(bound_ms, []).append(as_of.age_ms)
            oldest_s = asked_s - bound_ms / 1000
            required = max((count for at_s, count in list(acked) if at_s < oldest_s), default=0)
            assert status.entry_count >= required
    finally:
        stop.set()
        writer.join(CALL_S)
    assert max(ages[500]) > 0, "some answers came at once"


def test_several_reads_of_one_call_show_one_moment(
    shared: Trio, guest: Client, home: str, asker: Asker
) -> None:
    made(guest, f"{home}/d")
    name = followers(shared)[0]
    answer = asker.ask(name, ReadTerms(LINEARIZABLE), Stat(home), ListDirectory(home), Stat("/no"))
    status, listing, missing = answer.replies
    assert isinstance(status, FileStatus) and isinstance(listing, Listing)
    assert status.entry_count == len(listing.entries) == 1
    assert isinstance(missing, Failure) and missing.error == "NotFound"
    assert answer.as_of is not None


# The library ------------------------------------------------------------------------------------


@pytest.fixture
def connected(shared: Trio) -> Callable[[str], Cluster]:
    def connect(consistency: str) -> Cluster:
        cluster = Cluster(shared.config("m1"), CALL_S, consistency=consistency)
        shared.at_close(cluster.close)
        return cluster

    return connect


@pytest.mark.parametrize("consistency", ["local", "bounded:1000", "bounded:0", "linearizable"])
def test_a_client_sees_its_own_changes_whoever_answers(
    shared: Trio, home: str, connected: Callable[[str], Cluster], consistency: str
) -> None:
    fs = connected(consistency)
    shared.leader()
    seen = set()
    for number in range(40):
        fs.mkdir(f"{home}/{number}")
        assert fs.exists(f"{home}/{number}")
        seen.add(fs.as_of.master if fs.as_of is not None else "")
    assert (seen == {""}) == (consistency == "linearizable")
