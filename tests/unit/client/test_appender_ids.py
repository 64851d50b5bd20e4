"""The ids that records are sent under live as long as their appender, however busy it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from little_tails import HangUp, Tail
from test_appender import RUNTIME, WAIT_S, House

from gfs_ha.errors import UnknownOutcome
from gfs_ha.ids import SessionId
from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.metadata import CloseSession, OpenSession


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    # Each question is a late one.
    monkeypatch.setattr("gfs_ha.client.append_identity.ID_RENEW_S", -1.0)
    made = House()
    try:
        yield made
    finally:
        made.close()


def opened(house: House) -> list[str]:
    """Return the keys under which ids of appenders were opened, or opened again."""
    asked = house.masters.requests(OpenSession)
    return [one.request.key for one in asked if "appends" in one.request.client]


@pytest.mark.parametrize("key", ["days", ""])
@pytest.mark.parametrize("forgotten", [False, True])
def test_an_id_is_renewed_although_records_are_in_doubt(
    house: House, forgotten: bool, key: str
) -> None:
    """Else a run that never rests is forgotten after a day, and what is in doubt is unknown.

    Where it was forgotten all the same, nothing in doubt is sent under another id.
    """
    appender = house.appender(key=key)

    def lose(when: str, tail: Tail) -> None:
        if when == "after":
            if forgotten:
                house.masters.answer("m1", Asked(CloseSession(), appender.appender_id, 1, 1))
            raise HangUp

    house.first.faults.append(lose)
    try:
        future = appender.append(b"a")
        if forgotten:
            with pytest.raises(UnknownOutcome):
                future.result(WAIT_S)
        else:
            assert future.result(WAIT_S).offset == 0
    finally:
        appender.abandon()
    keys = opened(house)
    assert len(keys) >= 2 and len(set(keys)) == 1 and keys[0]
    assert house.masters.content("/log") == b"a"


def test_an_appender_that_never_asks_for_a_grant_keeps_its_id(house: House) -> None:
    """A tail that fills slowly is granted once in days; reads are no use of a session."""
    with house.appender() as appender:
        appender.append(b"a").result(WAIT_S)
        granted = len(house.masters.grants)
        deadline_s = RUNTIME.monotonic_s() + WAIT_S
        while len(opened(house)) < 3:
            assert RUNTIME.monotonic_s() < deadline_s
            appender.append(b"b").result(WAIT_S)
        assert len(house.masters.grants) == granted
    assert appender.appender_id != SessionId(0)
