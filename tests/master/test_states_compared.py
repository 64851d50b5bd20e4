"""The masters compare their states: three real ones in one process, one of them changed by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import lmdb
import pytest
from trio import Client, Trio, wait_until

from gfs_ha.errors import Busy, NotLeader, StateDiverged
from gfs_ha.master.directory import STORE_NAME
from gfs_ha.master.state.tables import DIGEST_PREFIX, INODES, STATE_DATABASE
from gfs_ha.protocol.calls import Asked, Request
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.metadata import Mkdir
from gfs_ha.protocol.reports import GetHealth, GetMasters, MasterFacts
from gfs_ha.protocol.state_checks import CheckStates, CountStates, StateReport, StatesCounting


def ask(client: Client, request: Request) -> Any:
    """Return the answer, once no earlier comparison is in its way."""

    def look() -> Any:
        reply = client.send(Asked(request))[0]
        return None if isinstance(reply, Failure) and reply.raised().retryable else reply

    return wait_until(look, f"an answer to {request}")


def compared(client: Client, *awaited: str) -> StateReport:
    """Return a comparison with just these verdicts; a master that is slow is silent in some."""

    def look() -> StateReport | None:
        report = ask(client, CheckStates())
        assert isinstance(report, StateReport), report
        return report if sorted(verdicts(report).values()) == sorted(awaited) else None

    return cast(StateReport, wait_until(look, f"a comparison with {awaited}"))


def verdicts(report: StateReport) -> dict[str, str]:
    return {row.name: row.verdict for row in report.items}


def equal(client: Client) -> bool:
    """Return whether all masters came to a check in their stores, and agree."""
    return set(verdicts(ask(client, CheckStates())).values()) == {"equal"}


def codes(client: Client) -> dict[str, str]:
    return {finding.code: finding.message for finding in ask(client, GetHealth()).items}


def flip(trio: Trio, name: str) -> None:
    """Flip one bit of an inode of a stopped master, as a disk does."""
    with opened(trio, name, INODES.table.database) as transaction, transaction.cursor() as cursor:
        assert cursor.last()
        key, data = cursor.item()
        transaction.put(key, data[:-1] + bytes([data[-1] ^ 1]))


@contextmanager
def opened(trio: Trio, name: str, database: str) -> Iterator[lmdb.Transaction]:
    """Open one database of a stopped master for writing."""
    environment = lmdb.open(str(trio.directory / name / STORE_NAME), max_dbs=16, map_size=1 << 28)
    try:
        opened_database = environment.open_db(database.encode())
        with environment.begin(write=True, db=opened_database) as transaction:
            yield transaction
    finally:
        environment.close()


def count_all(trio: Trio, client: Client) -> None:
    """Have all masters count their rows, and wait for it."""
    counting = ask(client, CountStates())
    assert isinstance(counting, StatesCounting), counting
    link = trio.link("admin")

    def counted() -> bool:
        said = [facts.state for facts in link.facts().values() if isinstance(facts, MasterFacts)]
        return len(said) == 3 and all(
            state and state.count and state.count.asked_index >= counting.index and state.count.done
            for state in said
        )

    wait_until(counted, "all rows counted")


def test_equal_masters_are_equal_whoever_leads(trio: Trio, client: Client) -> None:
    for number in range(20):
        client.ask(Mkdir(f"/d{number}"))
        report = compared(client, *["equal"] * 3)
        assert list(verdicts(report)) == ["m1", "m2", "m3"]
        assert len(report.digest) == 32 and report.diverged == ()
    trio.stop(trio.leader())
    report = compared(client, "equal", "equal", "silent")
    assert ask(client, GetMasters()).check == report
    assert not {"MASTER_DIVERGED", "STATES_DIFFER"} & codes(client).keys()


def test_a_follower_that_was_away_comes_to_the_same_state(trio: Trio, client: Client) -> None:
    name = next(name for name in trio.servers if name != trio.leader())
    trio.stop(name)
    for number in range(50):
        client.ask(Mkdir(f"/d{number}"))
    ask(client, CheckStates())
    trio.start(name)
    wait_until(
        lambda: verdicts(ask(client, CheckStates()))[name] == "equal", "the follower is equal"
    )


@pytest.mark.parametrize("leads", [False, True], ids=["follower", "leader"])
def test_a_flipped_bit_takes_its_master_out_and_the_others_go_on(
    trio: Trio, client: Client, leads: bool
) -> None:
    client.ask(Mkdir("/a"))
    wait_until(lambda: equal(client), "all have it stored")
    odd = trio.leader()
    trio.stop(odd)
    flip(trio, odd)
    client.ask(Mkdir("/b"))
    trio.start(odd)
    if leads:
        wait_until(lambda: _hand_over(trio, odd), "the odd one leads")
    compared(client, *["equal"] * 3)  # The row was not looked at yet.
    count_all(trio, client)
    wait_until(lambda: ask(client, CheckStates()).diverged == (odd,), "the odd one to be found")
    wait_until(lambda: trio.crashes, "the odd one stops")
    [(task, error)] = trio.crashes
    assert task == "raft" and isinstance(error, StateDiverged)
    assert error.message.startswith("the state of this master is not that of the majority")
    trio.stop(odd)
    trio.crashes.clear()
    client.ask(Mkdir("/c"))
    assert odd in codes(client)["MASTER_DIVERGED"]
    with pytest.raises(StateDiverged):
        trio.start(odd)
    report = ask(client, CheckStates())
    assert verdicts(report)[odd] == "silent" and report.diverged == (odd,)
    assert odd in codes(client)["MASTER_DIVERGED"]


def test_without_a_majority_nobody_stops_and_health_says_so(trio: Trio, client: Client) -> None:
    client.ask(Mkdir("/a"))
    wait_until(lambda: equal(client), "all have it stored")
    away, odd = [name for name in trio.servers if name != trio.leader()]
    trio.stop(odd)
    flip(trio, odd)
    trio.start(odd)
    trio.stop(away)
    wait_until(lambda: "NO_QUORUM_MARGIN" in codes(client), "health is asked")
    counting = ask(client, CountStates())
    link = trio.link("admin")

    def counted() -> bool:
        facts = link.facts()[odd]
        state = facts.state if isinstance(facts, MasterFacts) else None
        return bool(state and state.count and state.count.done)

    assert isinstance(counting, StatesCounting)
    wait_until(counted, "the odd one counted")
    report = compared(client, "differs", "differs", "silent")
    assert report.digest == "" and verdicts(report)[away] == "silent"
    assert "no majority" in codes(client)["STATES_DIFFER"]
    client.ask(Mkdir("/b"))
    assert not trio.crashes
    trio.start(away)
    wait_until(lambda: ask(client, CheckStates()).diverged == (odd,), "the majority is back")
    wait_until(lambda: trio.crashes, "the odd one stops")
    trio.stop(odd)
    trio.crashes.clear()
    assert "STATES_DIFFER" not in codes(client)


def test_the_leader_compares_by_itself_once_an_hour(trio: Trio, client: Client) -> None:
    leader = trio.leader()
    follower = next(name for name in trio.servers if name != leader)
    trio.servers[follower].verifier.every_minute()
    assert ask(client, GetMasters()).check is None
    trio.servers[leader].verifier.every_minute()
    first = wait_until(lambda: ask(client, GetMasters()).check, "the first comparison")
    trio.servers[leader].verifier.every_minute()
    client.ask(Mkdir("/a"))
    assert ask(client, GetMasters()).check == first, "it is not an hour old"


def test_one_comparison_at_a_time_and_the_other_comes_again(trio: Trio, client: Client) -> None:
    def two() -> list[object]:
        verifier = trio.servers[trio.leader()].verifier
        heard: list[object] = []
        verifier.check(heard.append)
        verifier.check(heard.append)
        wait_until(lambda: len(heard) == 2, "both are answered")
        # The first one may be quick, and the leadership may be lost meanwhile.
        refused = isinstance(heard[0], Busy) and not isinstance(heard[1], NotLeader)
        return heard if refused else []

    refused, report = wait_until(two, "one to come while another is made")
    assert refused.details["retry_ms"] and isinstance(report, StateReport)


def test_a_store_without_a_hash_counts_when_its_master_starts(trio: Trio, client: Client) -> None:
    for number in range(30):
        client.ask(Mkdir(f"/d{number}"))
    name = next(name for name in trio.servers if name != trio.leader())
    trio.stop(name)
    with opened(trio, name, STATE_DATABASE) as transaction:
        for key in (b"kept", b"notes"):
            transaction.delete(DIGEST_PREFIX + key)
    trio.start(name)
    wait_until(lambda: equal(client), "all are equal")
    count_all(trio, client)
    assert equal(client)


def _hand_over(trio: Trio, name: str) -> bool:
    leader = trio.leader()
    if leader == name:
        return True
    trio.servers[leader].raft.transfer(name, lambda error, now: None)
    return False
