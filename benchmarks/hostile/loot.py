"""Genuine tickets of an operator, which the attackers of data ports try to stretch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import gfs_ha
from gfs_ha.config import Config
from gfs_ha.errors import GfsError
from gfs_ha.ids import Birth, ChunkId, ServerId
from gfs_ha.limits import MIB
from gfs_ha.net.entry import enter_as_person
from gfs_ha.net.leader import LeaderLink
from gfs_ha.protocol.calls import Asked, Request
from gfs_ha.protocol.metadata import FileOpened, OpenFile
from gfs_ha.protocol.tickets import GetTickets, OperationPass, Right, TicketsGiven
from gfs_ha.runtime import ThreadedRuntime

T = TypeVar("T")
RUNTIME = ThreadedRuntime()
BAIT = "/bait"
_BAIT_BYTES = 16 * MIB  # More than lies between two sockets.
_CALL_S = 10.0
_WAIT_S = 60.0


@dataclass(frozen=True)
class Loot:
    """What one reader of the bait, and one reader of logs, got from the leader."""

    chunk_id: ChunkId
    birth: Birth
    length: int
    given: OperationPass
    tickets: Mapping[str, bytes]  # By name of the server.
    ids: Mapping[str, ServerId]
    log_given: OperationPass
    log_tickets: Mapping[str, bytes]
    taken_s: float


def lay_bait(config: Config) -> None:
    with gfs_ha.connect(config) as cluster:
        cluster.write_bytes(BAIT, bytes(range(256)) * (_BAIT_BYTES // 256))
        # Who was slow in its writing gets its copy from repair: tickets are stolen for each server.
        ends_s = time.monotonic() + _WAIT_S
        while not _whole(cluster):
            assert time.monotonic() < ends_s, f"a server has no copy of {BAIT}"
            time.sleep(0.2)


def _whole(cluster: gfs_ha.Cluster) -> bool:
    rows = [one.chunk for one in cluster.operations.placement(BAIT).items]
    return all(row.copies == row.goal == len(row.replicas) for row in rows)


def take(config: Config) -> Loot:
    """Ask as an operator does who reads the bait and the logs."""
    entry = enter_as_person(config, "thief", RUNTIME)
    link = LeaderLink(config.cluster.masters, entry.network, entry.hello, RUNTIME)
    try:
        opened = _ask(link, OpenFile(BAIT), FileOpened)
        chunk = opened.chunks[0]
        assert chunk.pass_ is not None, "a cluster without tickets"
        ids = {one.name: one.server_id for one in chunk.replicas}
        logs = _ask(link, GetTickets(ChunkId(0), int(Right.LOG), tuple(ids.values())), TicketsGiven)
        by_id = dict(logs.tickets)
        return Loot(
            *(chunk.chunk_id, chunk.birth, chunk.length, chunk.pass_),
            {one.name: one.ticket for one in chunk.replicas},
            ids,
            logs.pass_,
            {name: by_id.get(one, b"") for name, one in ids.items()},
            time.monotonic(),
        )
    finally:
        link.close()


def _ask(link: LeaderLink, request: Request, kind: type[T]) -> T:
    ends_s = time.monotonic() + _WAIT_S
    while True:
        try:
            (reply,) = link.call((Asked(request),), _CALL_S)
            if isinstance(reply, kind):
                return reply
            assert time.monotonic() < ends_s, reply
        except GfsError:
            if time.monotonic() > ends_s:
                raise
        time.sleep(0.2)
