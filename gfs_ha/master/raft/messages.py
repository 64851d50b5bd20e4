"""The messages between members: typed, bounded, msgpack on the wire.

A message of a term that is not the receiver's is never counted; answers echo the leader's send
time, which confirms its leadership at that time.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from gfs_ha.errors import ProtocolError

Count = Annotated[int, msgspec.Meta(ge=0, lt=(1 << 63) - 1)]
Entry = tuple[Count, bytes]  # Term and command; the index follows from the position.


class AppendEntries(
    msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag="append", frozen=True
):
    """The leader's log after `prev_index`; without entries a heartbeat."""

    term: Count
    sent_ns: Count  # The leader's clock, unique within its term.
    prev_index: Count
    prev_term: Count
    commit: Count
    drop_to: Count  # Every member holds and has applied the log up to here.
    entries: list[Entry]
    log_first: Count = 0  # Above 0: the receiver needs entries that only a snapshot could bring.


class Appended(
    msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag="appended", frozen=True
):
    """The answer to AppendEntries, sent once everything it says is durable."""

    term: Count  # The answering member's.
    asked_term: Count  # Echo: a refused leader of an old term may lead the answer's term by now.
    sent_ns: Count  # Echo.
    matched: bool
    index: Count  # Matched: the log equals the leader's up to here. Else: send from here on.
    applied: Count
    space_low: bool
    behind: bool


class AskPreVote(
    msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag="ask_pre_vote", frozen=True
):
    """Would you vote for me in `term`? Nobody's term changes by asking."""

    term: Count
    last_index: Count
    last_term: Count


class PreVote(
    msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag="pre_vote", frozen=True
):
    """Granted: `term` is the one that was asked for. Refused: the answering member's own."""

    term: Count
    granted: bool


class AskVote(
    msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag="ask_vote", frozen=True
):
    term: Count
    last_index: Count
    last_term: Count
    succeeds: Count = 0  # Above 0: the leader of that term, the one before, handed over to it.


class Vote(msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag="vote", frozen=True):
    """A durable vote in `term`, or a refusal that tells the newer term."""

    term: Count
    granted: bool


class TimeoutNow(
    msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag="timeout_now", frozen=True
):
    """The leader of `term` hands over: stand for election at once. It takes no lease any more."""

    term: Count


class OfferSnapshot(
    msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag="offer_snapshot", frozen=True
):
    """The receiver needs what the leader's log does not hold any more: the state at `index`."""

    term: Count
    number: Count  # Of this one frozen state.
    index: Count
    last_term: Count  # Of the entry at `index`.
    configuration: bytes  # As an entry of the log holds it.


class SnapshotChunk(
    msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag="snapshot_chunk", frozen=True
):
    """Rows of the state, in order."""

    term: Count
    number: Count
    position: Count  # From 0.
    last: bool
    crc: Count
    rows: bytes


class SnapshotStored(
    msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag="snapshot_stored", frozen=True
):
    """Chunks below `stored` are durable here; or all of it is installed (or not needed)."""

    term: Count
    number: Count
    stored: Count
    installed: bool


class AskReadIndex(
    msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag="ask_read_index", frozen=True
):
    """A follower asks its leader up to where reads that arrived before now must see."""

    term: Count
    asked_ns: Count  # The follower's clock, unique in this run of it.


class ReadIndex(
    msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag="read_index", frozen=True
):
    """What the leader of `term` had committed when, after the question came, it surely led."""

    term: Count
    asked_ns: Count  # Echo.
    index: Count


Message = (
    AppendEntries
    | Appended
    | AskPreVote
    | PreVote
    | AskVote
    | Vote
    | TimeoutNow
    | OfferSnapshot
    | SnapshotChunk
    | SnapshotStored
    | AskReadIndex
    | ReadIndex
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """Return the bytes of a message."""
    return _encoder.encode(message)


def decode(frame: bytes) -> Message:
    """Return the message in a frame. Raises: ProtocolError."""
    try:
        return _decoder.decode(frame)  # type: ignore[no-any-return]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(f"a member sent what is no message: {error}") from error
