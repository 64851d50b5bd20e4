"""What a sealed stream believes, what it keeps, and what it never says twice."""

from __future__ import annotations

import pytest
from wire import Wire

from gfs_ha.errors import (
    CorruptData,
    Fenced,
    GfsError,
    Overloaded,
    ProtocolError,
    TicketRefused,
    UnknownReplica,
    Unreachable,
)
from gfs_ha.limits import KIB
from gfs_ha.net.payloads import RECORD_BYTES_MAX
from gfs_ha.net.sealed_stream import SealedStream
from gfs_ha.pki.seals import Seal
from gfs_ha.protocol.frames import FrameKind, encode_error, encode_frame
from gfs_ha.protocol.tickets import Level

DOWN, UP = Seal(b"d" * 32), Seal(b"u" * 32)
SEALED = [Level.INTEGRITY, Level.ENCRYPT]


def patient(idle_s: float) -> None:
    raise AssertionError("it waits")


def asking(wire: Wire, level: Level = Level.ENCRYPT) -> SealedStream:
    stream = SealedStream(wire, b"n" * 16, lambda peer: None)  # type: ignore[arg-type]
    stream.begin(level, DOWN, UP, asks=True)
    return stream


def asked(wire: Wire, level: Level = Level.ENCRYPT) -> SealedStream:
    stream = SealedStream(wire, b"n" * 16, lambda peer: None)  # type: ignore[arg-type]
    stream.begin(level, UP, DOWN)
    return stream


def in_clear(error: GfsError) -> bytes:
    return encode_frame(FrameKind.FAILED, 0, encode_error(error))


def heard(stream: SealedStream, at_once: bool) -> None:
    into = memoryview(bytearray(24))
    if at_once:
        stream.receive_now(into)
    else:
        stream.receive(into, patient)


@pytest.mark.parametrize("at_once", [False, True])
def test_a_refusal_in_clear_is_heard_and_nothing_that_it_says_beside(at_once: bool) -> None:
    """Anybody on the way can say it: that nothing was written would have a record sent twice."""
    said = Overloaded("full", unwritten=1, server=3, retry_ms=9_000)
    with pytest.raises(Overloaded, match="full") as caught:
        heard(asking(Wire(in_clear(said))), at_once)
    assert caught.value.details == {"in_clear": 1}
    refused = TicketRefused("no", reason="expired", unwritten=1)
    with pytest.raises(TicketRefused) as told:
        heard(asking(Wire(in_clear(refused))), at_once)
    assert told.value.details == {"reason": "expired", "in_clear": 1}
    for reason in ("not_given", "made up", "", 5):  # No data port says that.
        with pytest.raises(TicketRefused) as told:
            heard(asking(Wire(in_clear(TicketRefused("no", reason=reason)))), at_once)
        assert told.value.details == {"in_clear": 1}


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("at_once", [False, True])
def test_who_dialled_hears_nothing_before_it_asks(at_once: bool, level: Level) -> None:
    """One thread may listen before the other one asks: what it hears then is in clear."""
    wire = Wire()
    stream = SealedStream(wire, b"n" * 16, lambda peer: None, dialled=True)  # type: ignore[arg-type]
    if at_once:
        with pytest.raises(Unreachable, match="hung up"):
            heard(stream, at_once)  # As any stream says at its end.
    for _ in range(2):  # Also between two requests.
        wire.coming += b"x" * 24
        with pytest.raises(Unreachable, match="spoke before it was asked"):
            heard(stream, at_once)
        assert len(wire.coming) == 24, "it was taken"
        wire.coming.clear()
        stream.begin(level, DOWN, UP, asks=True)
        peer = Wire()
        asked(peer, level).send([b"y" * 24], patient)
        wire.coming += peer.sent
        heard(stream, at_once)
        assert stream.end()


@pytest.mark.parametrize("at_once", [False, True])
def test_who_is_asked_hears_no_refusals(at_once: bool) -> None:
    said = in_clear(Overloaded("full", unwritten=1))
    with pytest.raises(ProtocolError, match="a record of"):
        heard(asked(Wire(said)), at_once)


@pytest.mark.parametrize("at_once", [False, True])
def test_what_a_server_says_of_a_chunk_it_never_says_in_clear(at_once: bool) -> None:
    for error in (Fenced("sealed", end=0), CorruptData("damaged"), UnknownReplica("gone")):
        with pytest.raises(Unreachable, match="refuses in clear, as no server does") as caught:
            heard(asking(Wire(in_clear(error))), at_once)
        assert not caught.value.details


@pytest.mark.parametrize("at_once", [False, True])
def test_an_answer_that_is_nonsense_is_as_good_as_none(at_once: bool) -> None:
    """Who asks goes elsewhere: it is the doing of whoever is on the way."""
    good = in_clear(Overloaded("full"))
    for said in (bytes(24), b"\xff" * 24, good[:-1] + b"x", good[:5] + b"\x09" + good[6:]):
        with pytest.raises(Unreachable, match=r"with a record of|in nonsense"):
            heard(asking(Wire(said)), at_once)


def test_a_refusal_behind_the_first_record_is_none() -> None:
    wire = Wire()
    asked(wire).send([b"x" * 24], patient)
    stream = asking(Wire(bytes(wire.sent) + in_clear(Overloaded("full"))))
    heard(stream, at_once=False)
    with pytest.raises(Unreachable, match="a record of"):
        heard(stream, at_once=False)


def test_a_request_in_clear_is_not_sealed_with_the_keys_of_the_one_before() -> None:
    """Its counters begin anew: one key would seal two records with the same."""
    wire = Wire()
    stream = asking(wire)
    stream.send([b"x" * 24], patient)
    del wire.sent[:]
    stream.begin(Level.NONE, DOWN, UP)
    stream.send([b"y" * 24], patient)
    assert wire.sent == b"y" * 24 and not stream.speaks_records


class Full(Wire):
    """Takes nothing that does not wait."""

    def send_now(self, data: bytes) -> bool:
        return False


@pytest.mark.parametrize("level", SEALED)
def test_what_did_not_leave_takes_no_place_among_the_records(level: Level) -> None:
    """Else who reads slowly, and misses news, finds the next record altered."""
    wire = Full()
    stream = asked(wire, level)
    assert not stream.send_now(b"news")
    stream.send([b"x" * 24], patient)
    heard(asking(Wire(bytes(wire.sent)), level), at_once=False)


@pytest.mark.parametrize("level", SEALED)
def test_each_record_has_its_place(level: Level) -> None:
    wire = Wire()
    stream = asked(wire, level)
    for byte in (b"x", b"y"):
        stream.send([byte * 24], patient)
    one, two = bytes(wire.sent[: len(wire.sent) // 2]), bytes(wire.sent[len(wire.sent) // 2 :])
    for said in (two + one, two, one + one):
        reader = asking(Wire(said), level)
        with pytest.raises(Unreachable, match="altered"):
            for _ in range(2):
                heard(reader, at_once=False)


@pytest.mark.parametrize("level", SEALED)
def test_what_was_sent_is_not_heard_by_who_sent_it(level: Level) -> None:
    wire = Wire()
    stream = asking(wire, level)
    stream.send([b"x" * 24], patient)
    wire.coming += wire.sent
    with pytest.raises(Unreachable, match="altered"):
        heard(stream, at_once=False)


def test_between_requests_a_stream_keeps_little() -> None:
    """A data port has hundreds of them, and most are idle."""
    wire = Wire()
    server = asked(wire)
    server.send([bytes(3 * RECORD_BYTES_MAX)], patient)
    client = asking(Wire(bytes(wire.sent)))
    into = memoryview(bytearray(3 * RECORD_BYTES_MAX))
    client.receive(into[:100], patient)
    client.receive(into[100:], patient)
    for stream in (server, client):
        assert stream.end()
        assert sum(map(len, (stream._room, stream._raw, stream._plain))) <= 192 * KIB


@pytest.mark.parametrize("level", SEALED)
def test_a_record_that_was_altered_is_counted_once_however_often_it_is_looked_at(
    level: Level,
) -> None:
    """Who pushes looks again with each packet, and hears of it at the end."""
    wire = Wire()
    asked(wire, level).send([b"x" * 24], patient)
    wire.sent[10] ^= 1
    told: list[str] = []
    stream = SealedStream(Wire(bytes(wire.sent)), b"n" * 16, told.append)  # type: ignore[arg-type]
    stream.begin(level, DOWN, UP, asks=True)
    for at_once in (True, True, False):
        with pytest.raises(Unreachable, match="altered"):
            heard(stream, at_once)
    assert told == ["peer:1"] and not stream.end()
