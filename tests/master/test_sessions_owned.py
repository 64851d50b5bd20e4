"""In a closed cluster a session serves the certificate that opened it, and no other one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from closed_trio import ClosedTrio, KeyedServer
from growing import grant, made
from test_tickets_given import keyed_servers
from trio import CALL_S, PASSING, Client, answer, started, wait_until

from gfs_ha.errors import GfsError
from gfs_ha.ids import SessionId
from gfs_ha.master.handlers.session_owners import SessionOwners
from gfs_ha.pki.names import Role
from gfs_ha.protocol.append import FindRecords, GrantAppend
from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.metadata import (
    AllocateChunk,
    ChunkAllocated,
    CloseSession,
    Done,
    FileStatus,
    Mkdir,
    OpenSession,
    Remove,
    Renew,
    SealChunk,
    SessionOpened,
    Stat,
)
from gfs_ha.protocol.tickets import GetTickets, Right


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClosedTrio]:
    with started(ClosedTrio(tmp_path_factory.mktemp("owned"))) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def servers(trio: ClosedTrio) -> list[KeyedServer]:
    return keyed_servers(trio)


def check_refused(told: Any) -> None:
    assert isinstance(told, Failure), told
    assert told.error == "Denied" and "another certificate opened it" in told.message, told


def test_nothing_is_done_under_a_session_for_another_certificate(
    trio: ClosedTrio, servers: list[KeyedServer]
) -> None:
    ann, eve = Client(trio, "ann"), trio.link("client", "eve")
    made(ann)
    granted = grant(ann)
    chunk = ann.ask(AllocateChunk())
    assert isinstance(chunk, ChunkAllocated)
    everybody = tuple(one.server_id for one in servers)
    for request in (
        Mkdir("/stolen"),
        AllocateChunk(),
        SealChunk(chunk.chunk_id, ()),
        Remove("/log"),
        Renew(),
        GrantAppend("/log"),
        GetTickets(chunk.chunk_id, int(Right.PUSH), everybody),
        CloseSession(),
    ):
        asked = Asked(request, ann.session_id, ann.sequence + 1, 1)
        check_refused(answer(eve, asked))
        check_refused(answer(trio.link("admin", "ann"), asked))  # The name is not all of it.

    # Nor is it hers as the one whose records an append asks about.
    own = answer(eve, Asked(OpenSession("eve")))
    for request in (
        GrantAppend("/log", appender=ann.session_id),
        FindRecords(granted.inode_id, granted.tail.chunk_id, ann.session_id, (1,)),
    ):
        check_refused(answer(eve, Asked(request, own.session_id, 1, 1)))

    # The owner goes on where he was, also with a new certificate.
    assert isinstance(ann.ask(Mkdir("/hers")), FileStatus)
    assert isinstance(ann.ask(Stat("/stolen")), Failure)
    trio._house.enrol(Role.CLIENT, "ann")
    renewed = trio.link("client", "ann")
    assert answer(renewed, Asked(Renew(), ann.session_id)) == Done()


def test_a_read_that_came_before_its_session_was_to_be_seen_is_looked_at_again(
    trio: ClosedTrio, servers: list[KeyedServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, eve = Client(trio, "ann"), trio.link("client", "eve")
    chunk = ann.ask(AllocateChunk())
    places = tuple(one.server_id for one in chunk.replicas)
    monkeypatch.setattr(SessionOwners, "admits", lambda owners, slot: True)
    for request in (Renew(), GetTickets(chunk.chunk_id, int(Right.PUSH), places)):
        check_refused(answer(eve, Asked(request, ann.session_id)))


def test_another_leader_knows_whose_a_session_is(trio: ClosedTrio) -> None:
    ann, eve = Client(trio, "ann"), trio.link("client", "eve")
    leader = trio.leader()
    trio.stop(leader)
    try:
        check_refused(answer(eve, Asked(Mkdir("/stolen"), ann.session_id, ann.sequence + 1, 1)))
        assert isinstance(ann.ask(Mkdir("/hers-too")), FileStatus)
    finally:
        trio.start(leader)


def test_who_guesses_the_number_of_the_next_session_gets_nothing_done_in_it(
    trio: ClosedTrio,
) -> None:
    last = Client(trio, "ann").session_id
    stop = threading.Event()
    heard: list[Any] = []

    def guess() -> None:
        link = trio.link("client", "eve")
        while not stop.is_set():
            body = tuple(
                Asked(Mkdir(f"/guessed-{number}"), SessionId(last + number), 1, 1)
                for number in range(1, 40)
            )
            try:
                heard.extend(link.call(body, CALL_S))
            except GfsError:
                stop.wait(0.01)

    eve = threading.Thread(target=guess, daemon=True)
    eve.start()
    try:
        for number in range(8):
            ann = Client(trio, "ann")
            ann.sequence = 0
            told = ann.ask(Mkdir(f"/first-{number}"))
            assert isinstance(told, FileStatus), f"somebody used its first number: {told}"
            assert isinstance(ann.ask(Stat(f"/first-{number}")), FileStatus)
    finally:
        stop.set()
        eve.join(2 * CALL_S)
    assert heard and all(isinstance(one, Failure) for one in heard)
    refused = {"Denied", "SessionExpired"}
    assert {one.error for one in heard} <= {*refused, *PASSING, "Busy"}


def test_the_key_of_a_session_is_that_of_one_certificate_too(trio: ClosedTrio) -> None:
    ann, eve = trio.link("client", "ann"), trio.link("client", "eve")
    opened = answer(ann, Asked(OpenSession("writer", "nightly")))
    assert isinstance(opened, SessionOpened)
    assert answer(ann, Asked(OpenSession("writer again", "nightly"))) == opened

    def refused() -> bool:
        told = answer(eve, Asked(OpenSession("writer", "nightly")))
        return isinstance(told, Failure) and "the key 'nightly'" in told.message

    wait_until(refused, "the refusal of a key that is taken")
    check_refused(answer(eve, Asked(Mkdir("/stolen"), opened.session_id, 1, 1)))


def test_what_a_client_calls_itself_gives_it_nobody_elses_session(trio: ClosedTrio) -> None:
    eve, ann = trio.link("client", "eve"), trio.link("client", "ann")
    opened = answer(eve, Asked(OpenSession("[client ann] " + "x" * 300)))
    assert isinstance(opened, SessionOpened)
    assert isinstance(answer(eve, Asked(Mkdir("/eve"), opened.session_id, 1, 1)), FileStatus)
    check_refused(answer(ann, Asked(Mkdir("/ann"), opened.session_id, 2, 1)))
