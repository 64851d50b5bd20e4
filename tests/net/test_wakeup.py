"""A wake-up is never lost and never hurts."""

from __future__ import annotations

import select
from collections.abc import Iterator

import pytest

from gfs_ha.net.wakeup import Wakeup


@pytest.fixture
def wakeup() -> Iterator[Wakeup]:
    made = Wakeup()
    yield made
    made.close()


def readable(wakeup: Wakeup) -> bool:
    return bool(select.select([wakeup.descriptor], [], [], 0)[0])


def test_it_is_readable_from_set_to_clear(wakeup: Wakeup) -> None:
    assert not readable(wakeup)
    wakeup.set()
    wakeup.set()
    assert readable(wakeup)
    wakeup.clear()
    assert not readable(wakeup)
    wakeup.set()
    assert readable(wakeup)


def test_a_closed_one_is_set_in_vain_but_in_peace(wakeup: Wakeup) -> None:
    wakeup.close()
    wakeup.set()
    wakeup.close()
    assert wakeup.closed
