"""Requests with numbers that are no ids: refused in words, at once, and never our own mistake."""

from __future__ import annotations

from typing import Any

import pytest
from trio import Client

from gfs_ha.errors import GfsError
from gfs_ha.ids import ChunkId, ContentId, DiskId, InodeId, LogIndex, ServerId
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.damage import ShowChunks, VerifyChunk
from gfs_ha.protocol.fsck import ScanChunks, ScanPlaces
from gfs_ha.protocol.losses import AcceptLoss, GetLoss
from gfs_ha.protocol.metadata import Locate, ReadExtents, ReportReplica, SealChunk
from gfs_ha.protocol.placement import ExplainPlacement
from gfs_ha.protocol.reports import AddMaster
from gfs_ha.protocol.servers import CountPlaces

NO_CHUNK, NO_SERVER = ChunkId(-1), ServerId(-(1 << 63))


@pytest.mark.parametrize(
    "request_",
    [
        Locate((ChunkId(1), NO_CHUNK)),
        ReadExtents(InodeId(-1), ContentId(1), 0, 0),
        ReportReplica(NO_CHUNK, NO_SERVER, "damaged"),
        SealChunk(NO_CHUNK),
        ShowChunks((NO_CHUNK,)),
        VerifyChunk(NO_CHUNK),
        ExplainPlacement(NO_CHUNK),
        GetLoss(NO_CHUNK),
        AcceptLoss(NO_CHUNK, LogIndex(1), 1, ()),
        ScanChunks(ChunkId(-5)),
        ScanChunks(ChunkId(1), (-1, -1, -1)),
        ScanPlaces((NO_SERVER, DiskId(-1), NO_CHUNK)),
        CountPlaces(NO_SERVER),
    ],
    ids=lambda one: type(one).__name__,
)
def test_numbers_that_are_no_ids_are_refused(guest: Client, request_: Any) -> None:
    try:
        reply = guest.ask(request_)
    except GfsError as error:  # Of the call as a whole.
        assert error.code in ("InvalidArgument", "UnknownChunk"), error
        return
    assert isinstance(reply, Failure) and reply.error in ("InvalidArgument", "UnknownChunk"), reply


@pytest.mark.parametrize("host", ["", "a..b", "x" * 64, "m9.example" + "." * 2, "m9\n"])
def test_what_no_host_is_called_is_no_host_of_a_master(guest: Client, host: str) -> None:
    """All members would ask for it for ever."""
    reply = guest.ask(AddMaster("m9", host, 7000, 7100))
    assert isinstance(reply, Failure) and "no master's name or host" in reply.message, reply
