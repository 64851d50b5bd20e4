"""A wake-up is never lost and never hurts."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from gfs_ha.net.tcp_links import TcpLinks
from gfs_ha.net.wakeup import Wakeup
from gfs_ha.runtime import ThreadedRuntime


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


def test_who_wakes_links_that_are_closed_by_now_writes_to_nobody() -> None:
    """It saw the loop wait, and the loop has ended since: the number may be another file's."""
    links = TcpLinks(ThreadedRuntime(), ("127.0.0.1", 0), 4096, 1 << 20)

    def end() -> bool:
        raise RuntimeError("the loop ends amid its wait")

    with pytest.raises(RuntimeError):
        links.poll(1.0, end)
    links.close()
    with Others() as others:
        links.wake()
        assert not others.readable()


class Others:
    """Takes the numbers that are free, until it is closed."""

    def __enter__(self) -> Others:
        self._ends = [end for _ in range(4) for end in socket.socketpair()]
        return self

    def __exit__(self, *_: object) -> None:
        for end in self._ends:
            end.close()

    def readable(self) -> bool:
        return bool(select.select(self._ends, [], [], 0)[0])
