"""Many seeds one after another, counted in a file, until there are enough or the time is over."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gfs_ha.runtime import ThreadedRuntime
from gfs_ha.sim.masters import figures
from gfs_ha.sim.masters.figures import Figures, Report

_STORE_EVERY_S = 2.0


def run_seeds(
    play: Callable[[int], Report],
    seeds: range,
    path: Path | None,
    minutes: float | None,
    told: Callable[[Report], None],
) -> Figures:
    """Play these seeds and return what they came to.

    It is added to the sums in the file at `path`, if there is one.

    Ends early, between two seeds, after so many minutes.
    """
    with _seldom_collected():
        return _run(play, seeds, path, minutes, told)


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """Look for cyclic garbage between two seeds only: it costs a tenth of the time otherwise."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _run(
    play: Callable[[int], Report],
    seeds: range,
    path: Path | None,
    minutes: float | None,
    told: Callable[[Report], None],
) -> Figures:
    runtime = ThreadedRuntime()
    began_s = seed_began_s = runtime.monotonic_s()
    stored_s = began_s
    own = Figures()
    total = None if path is None else figures.load(path)
    for seed in seeds:
        gc.collect()
        report = play(seed)
        now_s = runtime.monotonic_s()
        for sums in (own, total):
            if sums is not None:
                sums.add(report)
                sums.elapsed_s += now_s - seed_began_s
        seed_began_s = now_s
        told(report)
        if path is not None and total is not None and now_s - stored_s >= _STORE_EVERY_S:
            figures.store(path, total)
            stored_s = now_s
        if minutes is not None and now_s - began_s >= minutes * 60:
            break
    if path is not None and total is not None:
        figures.store(path, total)
    return own
