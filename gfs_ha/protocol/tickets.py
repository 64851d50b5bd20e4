"""Tickets: what the leader lets whoever asks do on data ports, and the keys that seal them.

A ticket is for one chunkserver, which made the key that it is sealed with and opens it alone. What
those who use it have in common, the secret of their operation, is in the ticket and in the pass.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from gfs_ha.errors import ProtocolError
from gfs_ha.ids import Birth, ChunkId, ServerId, StartId
from gfs_ha.protocol.codec import Word, decode, encode, prepare

SECRET_BYTES = 32
KEY_BYTES = 32
CLIENT_BYTES_MAX = 64  # Of the name in a ticket.
# Why a data port refuses a request.
REASONS = (
    *("missing", "unknown_key", "altered", "expired", "foreign", "not_allowed", "limit"),
    *("level", "replayed"),
)


class Level(enum.IntEnum):
    """How the bytes of one operation travel; the greater, the less can be done to them."""

    NONE = 0  # In clear; the ticket and the request are checked all the same.
    INTEGRITY = 1  # In clear, and nobody changes them.
    ENCRYPT = 2


class Right(enum.IntFlag):
    """What a ticket allows with its chunk."""

    READ = 1  # To fetch bytes, block CRCs, the length of a tail.
    PUSH = 2  # To write it as its one writer.
    APPEND = 4  # To send records to its primary.
    RECORDS = 8  # To push records down its chain, as its primary.
    LOG = 16  # To read log lines of the server; of no chunk.


class TicketKey(Word, frozen=True):
    """What a chunkserver tells the masters to seal tickets with. Never logged, never stored."""

    key_id: int
    key: bytes
    now_ms: int  # Of the clock of the chunkserver, by which tickets end, as it was told.

    def __repr__(self) -> str:
        return f"TicketKey(key_id={self.key_id:#x}, key=…)"


class TicketFacts(Word, frozen=True):
    """What is sealed in a ticket."""

    server_id: ServerId
    chunk_id: ChunkId
    birth: Birth
    rights: int
    byte_limit: int  # Offset and length that are asked for reach no further.
    ends_ms: int  # Of the clock of the chunkserver.
    level: int
    client: str  # The name in the certificate of who asked.
    secret: bytes

    def __repr__(self) -> str:
        return f"TicketFacts(server_id={self.server_id}, chunk_id={self.chunk_id:#x}, secret=…)"


class OperationPass(Word, frozen=True):
    """What the holder of tickets that came together has to know of them."""

    secret: bytes
    level: int
    life_ms: int  # From when the answer came; on a data port, from when the request did.

    def __repr__(self) -> str:
        return f"OperationPass(level={self.level}, life_ms={self.life_ms}, secret=…)"


class GetTickets(Word, frozen=True, tag="get_tickets"):
    """-> TicketsGiven, new ones for a chunk, of the servers named that hold it and are known.

    With the right LOG the chunk is 0. A client with a claim asks for PUSH, a primary for RECORDS,
    who was ordered to copy a chunk for READ of it. Raises: Denied, UnknownChunk, Busy while the
    leader has not heard the keys of any.
    """

    chunk_id: ChunkId
    rights: int
    servers: tuple[ServerId, ...]


class TellTicketKey(Word, frozen=True, tag="tell_ticket_key"):
    """-> Done, by any master: the newest key of a chunkserver, for one that does not lead now.

    It answers reads, and may lead in a moment. Raises: UnknownServer.
    """

    server_id: ServerId
    start_id: StartId
    key: TicketKey


class TicketsGiven(Word, frozen=True, tag="tickets_given"):
    pass_: OperationPass
    tickets: tuple[tuple[ServerId, bytes], ...]

    @property
    def by_server(self) -> Mapping[ServerId, bytes]:
        """Return the tickets by the server that each is for."""
        return dict(self.tickets)


TicketRequest = GetTickets | TellTicketKey
TicketReply = TicketsGiven


def encode_facts(facts: TicketFacts) -> bytes:
    """Return the bytes that are sealed."""
    return encode(facts)


def decode_facts(data: bytes) -> TicketFacts:
    """Return what was sealed. Raises: ProtocolError."""
    facts = decode(TicketFacts, data)
    if len(facts.secret) != SECRET_BYTES:
        raise ProtocolError(f"the secret of a ticket has {SECRET_BYTES} bytes")
    return facts


prepare(TicketFacts)
