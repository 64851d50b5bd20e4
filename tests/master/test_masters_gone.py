"""Reads while masters are gone: local ones go on, and no client goes back in time."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial

from asker import Asker, followers, made
from msgspec import structs
from trio import CALL_S, NAMES, Client, Trio, wait_until

from gfs_ha.client.filesystem import Cluster
from gfs_ha.errors import NotLeader
from gfs_ha.limits import RAFT_TIMEOUT_MAX_S, RAFT_TIMEOUT_MIN_S
from gfs_ha.master.roles import takes_part, was_removed
from gfs_ha.protocol.calls import BOUNDED, LINEARIZABLE, LOCAL, ReadTerms
from gfs_ha.protocol.metadata import FileStatus, Stat
from gfs_ha.protocol.reports import MembersReport, RemoveMaster


def test_local_reads_go_on_without_any_leader_and_say_how_old_they_are(
    trio: Trio, client: Client
) -> None:
    asker = Asker(trio)
    made(client, "/d")
    alone, _ = followers(trio)
    clock = trio.runtime.monotonic_s
    assert asker.ask(alone, ReadTerms(LINEARIZABLE), Stat("/d")).replies
    before_s = clock()
    for name in NAMES:  # Whoever leads by then: the one that is left may have been elected.
        if name != alone:
            trio.stop(name)
    stopped_s = clock()

    def degraded() -> bool:
        as_of = asker.ask(alone, ReadTerms(LOCAL), Stat("/d")).as_of
        return as_of is not None and as_of.degraded

    wait_until(degraded, "the last master says that nobody leads")
    assert clock() - before_s > RAFT_TIMEOUT_MAX_S
    for _ in range(3):
        asked_s = clock()
        answer = asker.ask(alone, ReadTerms(LOCAL), Stat("/d"))
        assert isinstance(answer.replies[0], FileStatus)
        as_of = answer.as_of
        assert as_of is not None and as_of.degraded
        # Whoever led last was sure of it until the end of its lease, and of no moment after that.
        # Its word that came before we asked may have been on its way for a while.
        assert as_of.age_ms >= (asked_s - stopped_s - RAFT_TIMEOUT_MIN_S) * 1000
        assert as_of.age_ms <= (clock() - before_s + 5) * 1000
    for kind in (LINEARIZABLE, BOUNDED):
        assert isinstance(asker.error(alone, ReadTerms(kind, 100), Stat("/d")), NotLeader)
    index = answer.as_of.index if answer.as_of is not None else 0
    behind = ReadTerms(LOCAL, 0, index + 1)
    assert isinstance(asker.error(alone, behind, Stat("/d")), NotLeader)
    # A bound that is wide enough needs no leader either.
    wide = asker.ask(alone, ReadTerms(BOUNDED, 3_600_000), Stat("/d"))
    assert isinstance(wide.replies[0], FileStatus)


def test_a_client_never_goes_back_in_time_when_masters_come_and_go(
    trio: Trio, client: Client
) -> None:
    fs = Cluster(trio.config("m1"), CALL_S, consistency="local")
    trio.at_close(fs.close)
    trio.leader()
    stop = threading.Event()
    counts: list[int] = []

    def read() -> None:
        while not stop.is_set():
            counts.append(fs.stat("/").entry_count)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        for round_index, name in enumerate(NAMES):
            for number in range(20):
                made(client, f"/{round_index}-{number}")
            trio.stop(name)
            wait_until(partial(_more, counts, len(counts) + 20), "reads go on")
            trio.start(name)
    finally:
        stop.set()
        reader.join(CALL_S)
    assert not reader.is_alive() and counts == sorted(counts)


def _more(counts: list[int], wanted: int) -> bool:
    return len(counts) >= wanted


def test_a_master_that_was_removed_and_still_runs_answers_nothing_and_holds_up_nobody(
    trio: Trio, client: Client
) -> None:
    asker = Asker(trio)
    made(client, "/d")
    gone, other = followers(trio)

    def removed() -> bool:  # Not while the other one is too busy to be counted on.
        reply = client.ask(RemoveMaster(gone))
        return isinstance(reply, MembersReport) or reply.error == "NotFound"

    wait_until(removed, "it to be removed")
    server = trio.servers[gone]
    wait_until(lambda: was_removed(server.raft.status()), "it knows")
    for _ in range(3):
        # Whatever it shows only grows older, for ever.
        assert isinstance(asker.error(gone, ReadTerms(LOCAL), Stat("/d")), NotLeader)
    answer = asker.ask(other, ReadTerms(LOCAL), Stat("/d"))
    assert isinstance(answer.replies[0], FileStatus)
    assert not takes_part(structs.replace(trio.servers[other].raft.status(), too_far_behind="!"))
    fs = Cluster(trio.config("m1"), 3.0, consistency="local")
    trio.at_close(fs.close)
    made(client, "/new")
    wait_until(lambda: fs.exists("/new"), "the others show it")
    for _ in range(20):
        assert fs.exists("/new") and fs.as_of is not None and fs.as_of.master != gone
    # Whose file names nobody but it hears of the others from it.
    file = trio.config("m1")
    alone = tuple(master for master in trio.masters if master.name == gone)
    cluster = replace(file.cluster, masters=alone)
    lonely = Cluster(replace(file, cluster=cluster), 3.0, consistency="local")
    trio.at_close(lonely.close)
    wait_until(lambda: lonely.exists("/new"), "whichever it asks shows it")
    # It is not waited for when all masters count their rows, and named by the file it is.

    def verdicts() -> dict[str, str]:
        report = fs.operations.verify_states(deep=True)
        return {row.name: row.verdict for row in report.items}

    equal = {name: "equal" for name in NAMES if name != gone}
    wait_until(lambda: verdicts() == equal, "all others are equal")
