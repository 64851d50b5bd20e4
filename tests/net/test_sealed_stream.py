"""What a sealed stream believes, what it keeps, and what it never says twice."""

from __future__ import annotations

import pytest
from wire import Wire

from gfs_ha.errors import GfsError, Overloaded, ProtocolError, TicketRefused, Unreachable
from gfs_ha.limits import KIB
from gfs_ha.net.sealed_stream import RECORD_BYTES_MAX, SealedStream
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
    assert caught.value.details == {}
    refused = TicketRefused("no", reason="expired", unwritten=1)
    with pytest.raises(TicketRefused) as told:
        heard(asking(Wire(in_clear(refused))), at_once)
    assert told.value.details == {"reason": "expired"}
    for reason in ("not_given", "made up", "", 5):  # No data port says that.
        with pytest.raises(TicketRefused) as told:
            heard(asking(Wire(in_clear(TicketRefused("no", reason=reason)))), at_once)
        assert told.value.details == {}


@pytest.mark.parametrize("at_once", [False, True])
def test_who_is_asked_hears_no_refusals(at_once: bool) -> None:
    said = in_clear(Overloaded("full", unwritten=1))
    with pytest.raises(ProtocolError, match="a record of"):
        heard(asked(Wire(said)), at_once)


def test_a_refusal_behind_the_first_record_is_none() -> None:
    wire = Wire()
    asked(wire).send([b"x" * 24], patient)
    stream = asking(Wire(bytes(wire.sent) + in_clear(Overloaded("full"))))
    heard(stream, at_once=False)
    with pytest.raises(ProtocolError, match="a record of"):
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
