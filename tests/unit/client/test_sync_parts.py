"""Globs, the decision about a name, the pace of bytes, results in order, percentiles."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gfs_ha.client.globs import Globs
from gfs_ha.client.in_order import AHEAD_PER_WORKER, InOrder
from gfs_ha.client.latencies import Latencies, percentiles
from gfs_ha.client.local_tree import LocalDirectory, LocalFile, LocalOther, LocalThing
from gfs_ha.client.pace import SharedPace
from gfs_ha.client.same_content import Judged
from gfs_ha.client.sync_steps import (
    COPY,
    DELETE,
    EQUAL,
    FAIL,
    KEEP,
    MAKE,
    SET,
    SKIP,
    SyncRule,
    steps,
)
from gfs_ha.client.transfers import Cancel, Problem
from gfs_ha.client.tree_pairs import Pair
from gfs_ha.errors import Cancelled, CorruptData, GfsError, LocalError, UsageError
from gfs_ha.ids import InodeId
from gfs_ha.protocol.metadata import DIRECTORY, FILE, FileStatus
from gfs_ha.runtime import ThreadedRuntime

# Globs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "name", "directory", "fits"),
    [
        ("*.tmp", "a.tmp", False, True),
        ("*.tmp", "deep/down/a.tmp", False, True),
        ("*.tmp", "a.tmp.txt", False, False),
        ("*.tmp", ".tmp", False, True),
        ("cache/", "x/cache", True, True),
        ("cache/", "x/cache", False, False),
        ("/cache", "cache", False, True),
        ("/cache", "x/cache", False, False),
        ("docs/*.md", "docs/a.md", False, True),
        ("docs/*.md", "docs/x/a.md", False, False),
        ("docs/*.md", "x/docs/a.md", False, False),
        ("docs/**/a", "docs/a", False, True),
        ("docs/**/a", "docs/x/y/a", False, True),
        ("**/a", "x/a", False, True),
        ("a**", "abc", False, True),
        ("?", "ü", False, True),
        ("?", "ab", False, False),
        ("[a-c]x", "bx", False, True),
        ("[!a-c]x", "bx", False, False),
        ("[!a-c]x", "dx", False, True),
        ("[", "[", False, True),
        ("[]", "[]", False, True),
        ("a.b", "aXb", False, False),
        ("we\nird", "we\nird", False, True),
        ("*", "we\nird", False, True),
        ("-dash*", "-dash", False, True),
        ("\\*", "*", False, True),
        ("\\*", "a", False, False),
        ("a\\[x]", "a[x]", False, True),
        ("a\\\\b", "a\\b", False, True),
        ("end\\", "end\\", False, True),
    ],
)
def test_what_a_glob_fits(pattern: str, name: str, directory: bool, fits: bool) -> None:
    assert Globs(excludes=(pattern,)).takes(name, directory) != fits


def test_excludes_win_and_includes_are_for_files() -> None:
    globs = Globs(includes=("*.jpg", "*.png"), excludes=("private*",))
    assert globs.takes("any/where", True)
    assert globs.takes("any/where/a.jpg", False)
    assert not globs.takes("a.txt", False)
    assert not globs.takes("private.jpg", False)
    assert not globs.takes("private", True)
    assert not globs.all and Globs().all


@pytest.mark.parametrize("pattern", ["", "/", "//", "[z-a]", "x" * 5000])
def test_what_cannot_be_meant_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError):
        Globs(excludes=(pattern,))


@given(st.text(alphabet="ab*?[]!-/^\\.", min_size=1, max_size=12), st.text("ab/", max_size=8))
def test_any_pattern_is_taken_or_refused(pattern: str, name: str) -> None:
    try:
        Globs(excludes=(pattern,)).takes(name, False)
    except UsageError as refused:
        assert "pattern" in refused.message


@given(st.text(min_size=1, max_size=20).filter(lambda text: not re.search(r"[*?\[/]", text)))
def test_a_plain_name_fits_itself_alone(name: str) -> None:
    globs = Globs(excludes=(name,))
    assert not globs.takes(name, False) and globs.takes(f"{name}x", False)


# Steps -------------------------------------------------------------------------------------------


def file(size: int = 3, mode: int = 0o644, mtime_ns: int = 7) -> LocalFile:
    return LocalFile("/here/n", "n", size, mode, mtime_ns)


def directory(mode: int = 0o755, mtime_ns: int = 7) -> LocalDirectory:
    return LocalDirectory("/here/n", "n", mode, mtime_ns)


def other(skipped: bool = True) -> LocalOther:
    return LocalOther("/here/n", "n", Problem("/here/n", LocalError("n: a link"), skipped))


def there(kind: str = FILE, size: int = 3, mode: int = 0o644, mtime_ns: int = 7) -> FileStatus:
    return FileStatus(InodeId(9), kind, size, mode, "o", "g", mtime_ns)


def decide(
    rule: SyncRule,
    local: LocalThing | None,
    remote: FileStatus | None,
    same: bool | GfsError | None = None,
) -> tuple[str, str, int]:
    judged = Judged(Pair("n", local, remote), same)
    [step] = steps(rule, iter([judged]), lambda pair: f"/shown/{pair.name}")
    assert (step.problem is not None) == (step.action in (FAIL, SKIP))
    return step.action, step.why, step.size


UP, DOWN = SyncRule(True), SyncRule(False)
FOLDER = there(DIRECTORY, 0, 0o755)


@pytest.mark.parametrize("rule", [UP, DOWN], ids=["up", "down"])
def test_what_is_equal_differs_or_is_missing(rule: SyncRule) -> None:
    up = rule.up
    assert decide(rule, file(), there()) == (EQUAL, "", 0)
    assert decide(rule, directory(), FOLDER) == (EQUAL, "", 0)
    assert decide(rule, file(size=5), there()) == (COPY, "size", 5 if up else 3)
    assert decide(rule, file(mtime_ns=8), there()) == (COPY, "time", 3)
    assert decide(rule, file(mode=0o600), there()) == (SET, "mode", 0)
    assert decide(rule, directory(mode=0o700), FOLDER) == (SET, "mode", 0)
    assert decide(rule, directory(mtime_ns=1), FOLDER) == (SET, "time", 0)
    new = (COPY, "new", 3)
    delete = SyncRule(up, delete=True)
    for one in (rule, delete):
        assert decide(one, *((file(), None) if up else (None, there()))) == new
        assert decide(one, *((directory(), None) if up else (None, FOLDER))) == (MAKE, "", 0)
    extra = (None, there()) if up else (file(), None)
    assert decide(rule, *extra) == (KEEP, "", 0)
    assert decide(delete, *extra) == (DELETE, "", 3)
    folder = (None, FOLDER) if up else (directory(), None)
    assert decide(delete, *folder) == (DELETE, "", 0)


@pytest.mark.parametrize("up", [True, False])
def test_with_contents_times_alone_copy_nothing(up: bool) -> None:
    rule = SyncRule(up, contents=True)
    assert decide(rule, file(mtime_ns=8), there(), True) == (SET, "time", 0)
    assert decide(rule, file(), there(), True) == (EQUAL, "", 0)
    assert decide(rule, file(), there(), False) == (COPY, "content", 3)
    assert decide(rule, file(), there(), CorruptData("bad"))[0] == FAIL


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("delete", [True, False])
def test_what_is_in_the_way_is_never_replaced(up: bool, delete: bool) -> None:
    rule = SyncRule(up, delete)
    for local, remote in ((file(), FOLDER), (directory(), there())):
        action, why, _ = decide(rule, local, remote)
        assert action == FAIL
        assert why.startswith("/shown/n is a ") and why.endswith("remove it first")


def test_links_are_skipped_as_sources_and_in_the_way_as_targets() -> None:
    assert decide(UP, other(), None)[0] == SKIP
    assert decide(SyncRule(True, delete=True), other(), there())[0] == SKIP
    assert decide(UP, other(skipped=False), None)[0] == FAIL
    assert decide(DOWN, other(), there())[0] == FAIL
    assert decide(DOWN, other(), None) == (KEEP, "", 0)
    assert decide(SyncRule(False, delete=True), other(), None) == (DELETE, "", 0)
    # What cannot be looked at is not deleted either.
    assert decide(SyncRule(False, delete=True), other(skipped=False), None)[0] == FAIL


def test_a_link_to_a_file_is_followed_as_a_source_and_in_the_way_as_a_target() -> None:
    link = LocalFile("/here/n", "n", 3, 0o644, 7, link=True)
    assert decide(UP, link, there()) == (EQUAL, "", 0)
    for rule in (DOWN, SyncRule(False, contents=True)):
        assert decide(rule, link, there(), True)[0] == EQUAL
        assert decide(rule, link, there(mtime_ns=8), True)[0] == FAIL
        assert decide(rule, link, there(mode=0o600), True)[0] == FAIL
    # Other bytes behind a link that looks the same are not this tree's either.
    assert decide(SyncRule(False, contents=True), link, there(), False)[0] == FAIL
    assert decide(SyncRule(False, delete=True), link, None) == (DELETE, "", 3)


def test_a_directory_that_cannot_be_listed_is_a_failure() -> None:
    judged = Judged(Problem("/d", LocalError("denied")))
    [step] = steps(UP, iter([judged]), lambda pair: pair.name)
    assert (step.action, step.name) == (FAIL, "/d")


# Pace --------------------------------------------------------------------------------------------


class Clock(ThreadedRuntime):
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@given(st.lists(st.integers(0, 500_000), min_size=1, max_size=50))
def test_a_pace_is_kept_on_the_average(sizes: list[int]) -> None:
    clock = Clock()
    pace = SharedPace(clock, 100_000, Cancel())
    for size in sizes:
        pace.take(size)
    took_s = clock.now_s - 100.0
    assert sum(sizes) / 100_000 - 0.11 <= took_s <= sum(sizes) / 100_000 + 0.01


def test_who_rests_may_not_make_up_for_it_later() -> None:
    clock = Clock()
    pace = SharedPace(clock, 100_000, Cancel())
    clock.now_s += 3600
    for _ in range(10):
        pace.take(100_000)
    assert clock.now_s - 3700.0 >= 9.8


def test_a_cancel_ends_the_waiting() -> None:
    cancel = Cancel()

    class Stopping(Clock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            cancel.set()

    clock = Stopping()
    with pytest.raises(Cancelled):
        SharedPace(clock, 1024, cancel).take(10_000_000)
    assert clock.now_s < 101.0
    with pytest.raises(UsageError):
        SharedPace(clock, 10, cancel)


# In order ----------------------------------------------------------------------------------------


def test_results_come_in_order_and_few_jobs_are_ahead() -> None:
    given_count = taken = most = 0

    def jobs() -> Iterator[int]:
        nonlocal given_count, most
        for number in range(200):
            given_count += 1
            most = max(most, given_count - taken)
            yield number

    run: InOrder[int, int] = InOrder(ThreadedRuntime(), 3, lambda job: job * job, Cancel())
    found = []
    for result in run.results(jobs()):
        taken += 1
        found.append(result)
    assert found == [number * number for number in range(200)]
    assert most <= 3 * AHEAD_PER_WORKER + 1


def test_an_error_comes_at_its_place_and_ends_the_run() -> None:
    def work(job: int) -> int:
        if job == 5:
            raise CorruptData("five")
        return job

    found = []
    run: InOrder[int, int] = InOrder(ThreadedRuntime(), 2, work, Cancel())
    with pytest.raises(CorruptData):
        for result in run.results(range(100)):
            found.append(result)
    assert found == [0, 1, 2, 3, 4]


def test_a_cancel_ends_a_run_between_results() -> None:
    cancel = Cancel()
    run: InOrder[int, int] = InOrder(ThreadedRuntime(), 2, lambda job: job, cancel)
    results = run.results(range(1_000_000))
    assert next(results) == 0
    cancel.set()
    with pytest.raises(Cancelled):
        for _ in results:
            pass


# Latencies ---------------------------------------------------------------------------------------


def test_percentiles_of_what_was_added() -> None:
    parts = [Latencies(), Latencies()]
    for number in range(1, 101):
        parts[number % 2].add(number)
    assert percentiles(parts, (0.5, 0.99, 1.0)) == [50, 99, 100]
    assert percentiles([Latencies()], (0.5,)) == [0]
    assert sum(part.count for part in parts) == 100 and parts[0].max_ns == 100


def test_many_samples_stay_few_and_true() -> None:
    times = Latencies(samples_max=64)
    for number in range(100_000):
        times.add(number)
    assert len(list(times.weighted)) <= 64
    [half, most] = percentiles([times], (0.5, 0.99))
    assert abs(half - 50_000) < 4_000 and most > 92_000
    assert (times.count, times.max_ns) == (100_000, 99_999)
