"""One caller at a time changes a local cluster, also one that was wiped while others waited."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from gfs_ha.errors import NotFound
from gfs_ha.local.layout import Layout
from gfs_ha.local.locking import locked
from gfs_ha.runtime import ThreadedRuntime

WAIT_S = 20.0


class Patient(ThreadedRuntime):
    """Says when it waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Event()

    def sleep(self, seconds: float) -> None:
        self.waits.set()
        super().sleep(seconds)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "d")
    made.claim()
    return made


def holds(layout: Layout, runtime: Patient) -> bool:
    with locked(layout, runtime):
        return layout.lock.exists()


def test_where_no_cluster_is_nothing_is_locked_and_nothing_made(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "d")
    with pytest.raises(NotFound, match="there is no local cluster in"):
        holds(layout, Patient())
    layout.directory.mkdir()
    with pytest.raises(NotFound):
        holds(layout, Patient())
    assert not layout.lock.exists()


@pytest.mark.parametrize("other", [False, True], ids=["gone with it", "something else stays"])
def test_who_waited_for_a_cluster_that_was_wiped_changes_nothing(
    layout: Layout, other: bool
) -> None:
    runtime = Patient()
    with ThreadPoolExecutor(1) as pool:
        with locked(layout, Patient()):
            waiting = pool.submit(holds, layout, runtime)
            assert runtime.waits.wait(WAIT_S)
            if other:
                (layout.directory / "mine").touch()
            layout.remove()
        with pytest.raises(NotFound, match="local up"):
            waiting.result(WAIT_S)
    assert not layout.lock.exists()


def test_who_waited_for_a_cluster_that_was_made_anew_waits_for_the_new_one(layout: Layout) -> None:
    runtime = Patient()
    with ThreadPoolExecutor(1) as pool, ExitStack() as wiping, ExitStack() as anew:
        wiping.enter_context(locked(layout, Patient()))
        waiting = pool.submit(holds, layout, runtime)
        assert runtime.waits.wait(WAIT_S)
        layout.remove()
        layout.claim()
        anew.enter_context(locked(layout, Patient()))
        wiping.close()
        for _ in range(3):
            runtime.waits.clear()
            assert runtime.waits.wait(WAIT_S), "it went on beside who made it anew"
        anew.close()
        assert waiting.result(WAIT_S), "it holds the lock that lies there"
