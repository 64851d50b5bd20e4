"""The ids that records are sent under live as long as their appender, however busy it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from little_tails import HangUp, Tail
from test_appender import WAIT_S, House

from gfs_ha.errors import UnknownOutcome
from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.metadata import CloseSession, OpenSession


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr("gfs_ha.client.appender.ID_LIFE_S", -1.0)  # Each question is a late one.
    made = House()
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_writer_with_a_key_renews_its_id_although_records_are_in_doubt(
    house: House, forgotten: bool
) -> None:
    """Else a run that never rests is forgotten after a day, and the next appends all of it again.

    Where it was forgotten all the same, nothing in doubt is sent under another id.
    """
    appender = house.appender(key="days")

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
    opened = [one for one in house.masters.requests(OpenSession) if one.request.key]
    assert len(opened) >= 2
    assert house.masters.content("/log") == b"a"
