"""Sync, check and checksums of random trees against a real cluster."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gfs_ha
from gfs_ha.checksum import crc32c
from gfs_ha.client.comparison import DIFFER, ERROR, MISSING_LOCAL, MISSING_REMOTE, SAME, SKIPPED
from gfs_ha.client.file_checksum import READ, STORED, VERIFIED
from gfs_ha.client.globs import Globs
from gfs_ha.client.sync import Sync, SyncSummary
from gfs_ha.client.sync_steps import CHANGES, COPY, DELETE, SyncRule
from gfs_ha.client.transfers import Cancel
from gfs_ha.client.trees import TreeOptions
from gfs_ha.errors import Cancelled, NotADirectory, NotFound, PartlyDone
from gfs_ha.local.cluster import LocalCluster

pytestmark = pytest.mark.processes

NAMES = ("a", "a.b", "b", "-dash", "with space", "ü", "[x]", "a b")
UNIQUE = count()


@dataclass(frozen=True)
class Facts:
    """One name of a tree; `data` is None for a directory."""

    data: bytes | None
    mode: int
    mtime_ns: int


Tree = dict[str, Facts]


@pytest.fixture(scope="module")
def library(running: LocalCluster) -> Iterator[gfs_ha.Cluster]:
    with gfs_ha.connect(running.config_path) as cluster:
        yield cluster


@st.composite
def universes(draw: st.DrawFn) -> dict[str, bool]:
    """Draw names with their kind, True for directories; every parent is there."""
    found: dict[str, bool] = {}
    for _ in range(draw(st.integers(0, 9))):
        above = draw(st.sampled_from(["", *(n for n, directory in found.items() if directory)]))
        name = draw(st.sampled_from(NAMES))
        found.setdefault(f"{above}/{name}" if above else name, draw(st.booleans()))
    return found


@st.composite
def trees(draw: st.DrawFn, universe: dict[str, bool]) -> Tree:
    """Draw one side: some of the names, with contents whose times tell them apart."""
    found: Tree = {}
    for name, directory in universe.items():
        above = name.rpartition("/")[0]
        if (above and above not in found) or not draw(st.booleans()):
            continue
        if directory:
            mode = draw(st.sampled_from((0o755, 0o700)))
            found[name] = Facts(None, mode, draw(st.sampled_from((5, 1_600_000_000_000_000_001))))
        else:
            data = draw(st.sampled_from((b"", b"x", b"y", b"longer", b"z" * 70_000)))
            moment = zlib.crc32(data) * 1_000_000_007 + draw(st.integers(0, 1))
            found[name] = Facts(data, draw(st.sampled_from((0o644, 0o600))), moment)
    return found


def write_local(tree: Tree, root: Path) -> None:
    root.mkdir()
    for name, facts in tree.items():
        if facts.data is None:
            (root / name).mkdir()
        else:
            (root / name).write_bytes(facts.data)
    for name, facts in reversed(tree.items()):
        (root / name).chmod(facts.mode)
        os.utime(root / name, ns=(facts.mtime_ns, facts.mtime_ns))


def write_remote(tree: Tree, cluster: gfs_ha.Cluster, root: str) -> None:
    cluster.mkdir(root)
    for name, facts in tree.items():
        if facts.data is None:
            cluster.mkdir(f"{root}/{name}")
        else:
            cluster.write_bytes(f"{root}/{name}", facts.data)
    for name, facts in reversed(tree.items()):
        cluster.set_attributes(f"{root}/{name}", mode=facts.mode, mtime_ns=facts.mtime_ns)


def read_local(root: Path) -> Tree:
    found = {}
    for path in root.rglob("*"):
        status = path.stat()
        data = None if path.is_dir() else path.read_bytes()
        facts = Facts(data, status.st_mode & 0o7777, status.st_mtime_ns)
        found[str(path.relative_to(root))] = facts
    return found


def read_remote(cluster: gfs_ha.Cluster, root: str) -> Tree:
    found = {}
    for path, entry in cluster.walk(root):
        status = entry.status
        data = None if status.kind == "directory" else cluster.read_bytes(path)
        found[path[len(root) + 1 :]] = Facts(data, status.mode, status.mtime_ns)
    return found


def run_all(run: Sync) -> SyncSummary:
    run.copy()
    if run.deletions():
        run.delete()
    return run.finish()


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data(), up=st.booleans(), delete=st.booleans(), contents=st.booleans())
def test_what_sync_does_is_its_plan_and_a_second_run_does_nothing(
    library: gfs_ha.Cluster,
    tmp_path: Path,
    data: st.DataObject,
    up: bool,
    delete: bool,
    contents: bool,
) -> None:
    universe = data.draw(universes())
    here, there = data.draw(trees(universe)), data.draw(trees(universe))
    local, remote = tmp_path / f"t{next(UNIQUE)}", f"/t{next(UNIQUE)}"
    write_local(here, local)
    write_remote(there, library, remote)
    rule = SyncRule(up, delete, contents)
    try:
        plan = [s for s in library.trees.sync(local, remote, rule).plan() if s.action in CHANGES]
        assert (read_local(local), read_remote(library, remote)) == (here, there)

        summary = run_all(library.trees.sync(local, remote, rule))
        assert summary.problems == []
        copied = [step for step in plan if step.action == COPY]
        assert summary.copied_files == len(copied)
        assert summary.copied_bytes == sum(step.size for step in copied)
        deleted = {step.name for step in plan if step.action == DELETE}
        assert summary.deleted_files + summary.deleted_directories == len(deleted)

        source, target = (here, there) if up else (there, here)
        after_here, after_there = read_local(local), read_remote(library, remote)
        after = after_there if up else after_here
        assert (after_here if up else after_there) == source
        extra = target.keys() - source.keys()
        assert deleted == (extra if delete else set())
        assert after.keys() == source.keys() | (extra - deleted)
        assert {name: after[name] for name in source} == source
        assert {step.name for step in plan} >= {
            name for name in source if source[name] != target.get(name)
        }

        again = library.trees.sync(local, remote, rule)
        assert [step for step in again.plan() if step.action in CHANGES] == []
        found = list(library.trees.compare(local, remote).findings())
        assert {one.state for one in found} <= {SAME, MISSING_REMOTE, MISSING_LOCAL}
        assert len([one for one in found if one.state != SAME]) == len(extra - deleted)
    finally:
        shutil.rmtree(local)
        library.remove(remote, recursive=True)


@pytest.fixture
def place(library: gfs_ha.Cluster) -> str:
    path = f"/p{next(UNIQUE)}"
    library.mkdir(path)
    return path


@pytest.mark.parametrize("up", [True, False])
def test_what_is_in_the_way_is_named_and_nothing_is_deleted_then(
    library: gfs_ha.Cluster, tmp_path: Path, place: str, up: bool
) -> None:
    local = tmp_path / "tree"
    (local / "thing").mkdir(parents=True)
    (local / "thing" / "inner").write_bytes(b"inner")
    (local / "only-here").write_bytes(b"1")
    library.write_bytes(f"{place}/thing", b"a file")
    library.write_bytes(f"{place}/only-there", b"2")
    run = library.trees.sync(local, place, SyncRule(up, delete=True))
    summary = run_all(run)
    assert [problem.error.code for problem in summary.problems] == ["AlreadyExists"]
    assert "remove it first" in summary.problems[0].error.message
    assert summary.withheld
    assert (local / "only-here").exists() and library.exists(f"{place}/only-there")
    assert library.exists(f"{place}/only-here") == up
    assert (local / "only-there").exists() != up
    assert library.read_bytes(f"{place}/thing") == b"a file"
    assert (local / "thing" / "inner").read_bytes() == b"inner"


def test_links_are_skipped_and_keep_nothing_from_being_deleted(
    library: gfs_ha.Cluster, tmp_path: Path, place: str
) -> None:
    local = tmp_path / "tree"
    (local / "real").mkdir(parents=True)
    (local / "to-real").symlink_to("real")
    (local / "nowhere").symlink_to("missing")
    library.mkdir(f"{place}/to-real")
    library.write_bytes(f"{place}/to-real/kept", b"its name is here, so it is not extra")
    library.write_bytes(f"{place}/extra", b"")
    summary = run_all(library.trees.sync(local, place, SyncRule(True, delete=True)))
    assert all(problem.skipped for problem in summary.problems)
    assert len(summary.problems) == 2 and not summary.withheld
    assert [path for path, _ in library.walk(place)] == [
        *(f"{place}/real", f"{place}/to-real", f"{place}/to-real/kept"),
    ]


def test_links_of_the_target_are_deleted_and_not_followed(
    library: gfs_ha.Cluster, tmp_path: Path, place: str
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_bytes(b"!")
    local = tmp_path / "tree"
    local.mkdir()
    (local / "link").symlink_to("../outside")
    summary = run_all(library.trees.sync(local, place, SyncRule(False, delete=True)))
    assert (summary.problems, summary.deleted_files) == ([], 1)
    assert list(local.iterdir()) == []
    assert (tmp_path / "outside" / "precious").exists()
    library.write_bytes(f"{place}/file", b"!")
    library.set_attributes(f"{place}/file", mode=0o600)
    (local / "file").symlink_to("../outside/precious")
    before = (tmp_path / "outside" / "precious").stat()
    summary = run_all(library.trees.sync(local, place, SyncRule(False)))
    assert [problem.error.code for problem in summary.problems] == ["AlreadyExists"]
    after = (tmp_path / "outside" / "precious").stat()
    assert (before.st_mode, before.st_mtime_ns) == (after.st_mode, after.st_mtime_ns)
    library.mkdir(f"{place}/link")
    library.write_bytes(f"{place}/link/f", b"f")
    (local / "link").symlink_to("../outside")
    summary = run_all(library.trees.sync(local, place, SyncRule(False)))
    assert [problem.error.code for problem in summary.problems] == ["AlreadyExists"] * 2
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["precious"]


@pytest.mark.parametrize("up", [True, False])
def test_a_directory_that_got_something_meanwhile_is_named_and_stays(
    library: gfs_ha.Cluster, tmp_path: Path, place: str, up: bool
) -> None:
    local = tmp_path / "tree"
    local.mkdir()
    (local / "both").write_bytes(b"1")
    assert run_all(library.trees.sync(local, place, SyncRule(True))).problems == []
    if up:
        library.mkdir(f"{place}/extra")
    else:
        (local / "extra").mkdir()
    run = library.trees.sync(local, place, SyncRule(up, delete=True))
    run.copy()
    if up:
        library.write_bytes(f"{place}/extra/new", b"!")
    else:
        (local / "extra" / "new").write_bytes(b"!")
    run.delete()
    summary = run.finish()
    assert [problem.error.code for problem in summary.problems] == ["DirectoryNotEmpty"]
    assert (summary.deleted_files, summary.deleted_directories) == (0, 0)
    kept = library.read_bytes(f"{place}/extra/new") if up else (local / "extra/new").read_bytes()
    assert kept == b"!"


def test_what_globs_leave_out_stays_on_both_sides(
    library: gfs_ha.Cluster, tmp_path: Path, place: str
) -> None:
    local = tmp_path / "tree"
    (local / "keep").mkdir(parents=True)
    (local / "keep" / "a.tmp").write_bytes(b"t")
    (local / "keep" / "a.txt").write_bytes(b"t")
    library.mkdir(f"{place}/old")
    library.write_bytes(f"{place}/old/b.tmp", b"o")
    library.write_bytes(f"{place}/old/b.txt", b"o")
    options = TreeOptions(globs=Globs(excludes=("*.tmp",)))
    summary = run_all(library.trees.sync(local, place, SyncRule(True, delete=True), options))
    assert summary.problems == []
    assert [path for path, _ in library.walk(place)] == [
        *(f"{place}/keep", f"{place}/old", f"{place}/keep/a.txt", f"{place}/old/b.tmp"),
    ]


def test_a_run_that_is_broken_off_is_ended_by_the_next(
    library: gfs_ha.Cluster, tmp_path: Path, place: str
) -> None:
    local = tmp_path / "tree"
    local.mkdir()
    for number in range(40):
        (local / f"f{number:02}").write_bytes(bytes([number]) * 200_000)
    cancel = Cancel()

    class StopAtTheFifth:
        def __init__(self) -> None:
            self.count = 0

        def expect(self, files: int, size: int) -> None:
            pass

        def moved(self, size: int) -> None:
            pass

        def finished(self, path: str) -> None:
            self.count += 1
            if self.count == 5:
                cancel.set()

    options = TreeOptions(jobs=1, progress=StopAtTheFifth(), cancel=cancel)
    with pytest.raises(Cancelled):
        library.trees.sync(local, place, SyncRule(True), options).copy()
    done = sum(1 for _ in library.walk(place))
    summary = run_all(library.trees.sync(local, place, SyncRule(True)))
    assert (summary.problems, summary.copied_files) == ([], 40 - done)
    assert {one.state for one in library.trees.compare(local, place).findings()} == {SAME}


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_file_that_changes_while_it_is_read_is_named_and_its_old_content_stays(
    library: gfs_ha.Cluster, tmp_path: Path, place: str, jobs: int
) -> None:
    local = tmp_path / "tree"
    local.mkdir()
    (local / "busy").write_bytes(os.urandom(6_000_000))
    (local / "calm").write_bytes(b"calm")
    library.write_bytes(f"{place}/busy", b"old")
    library.write_bytes(f"{place}/extra", b"it would be deleted if nothing failed")

    class Scribble:
        def expect(self, files: int, size: int) -> None:
            pass

        def moved(self, size: int) -> None:
            with (local / "busy").open("ab") as file:
                file.write(b"+")

        def finished(self, path: str) -> None:
            pass

    options = TreeOptions(jobs=jobs, progress=Scribble())
    summary = run_all(library.trees.sync(local, place, SyncRule(True, delete=True), options))
    assert [problem.error.code for problem in summary.problems] == ["PartlyDone"]
    assert "busy changed while it was read" in summary.problems[0].error.message
    assert summary.withheld and library.exists(f"{place}/extra")
    assert library.read_bytes(f"{place}/busy") == b"old"
    assert library.read_bytes(f"{place}/calm") == b"calm"


def test_a_pace_holds_for_both_ways_and_changes_nothing_else(
    library: gfs_ha.Cluster, tmp_path: Path, place: str
) -> None:
    local = tmp_path / "tree"
    local.mkdir()
    data = os.urandom(2_500_000)
    (local / "big").write_bytes(data)
    (local / "small").write_bytes(b"s")
    options = TreeOptions(bytes_per_s=20_000_000)
    assert run_all(library.trees.sync(local, place, SyncRule(True), options)).problems == []
    back = tmp_path / "back"
    assert run_all(library.trees.sync(back, place, SyncRule(False), options)).problems == []
    assert (back / "big").read_bytes() == data and (back / "small").read_bytes() == b"s"


def test_files_that_grow_are_synced_by_their_true_size(
    library: gfs_ha.Cluster, tmp_path: Path, place: str
) -> None:
    for number in range(20):
        library.append(f"{place}/log", f"line {number}\n".encode())
    local = tmp_path / "tree"
    assert run_all(library.trees.sync(local, place, SyncRule(False))).problems == []
    assert (local / "log").read_bytes() == library.read_bytes(f"{place}/log")
    again = library.trees.sync(local, place, SyncRule(False, contents=True))
    assert [step.name for step in again.plan() if step.action == COPY] == []
    assert [one.state for one in library.trees.compare(local, place).findings()] == [SAME]
    library.append(f"{place}/log", b"one more line\n")  # No heartbeat has told of it yet.
    for more, state in ((b"", DIFFER), (b"one more line\n", SAME)):
        (local / "log").write_bytes((local / "log").read_bytes() + more)
        run = library.trees.compare(local / "log", f"{place}/log", contents=False)
        assert [one.state for one in run.findings()] == [state]


def test_a_source_or_target_that_cannot_be_is_refused(
    library: gfs_ha.Cluster, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_bytes(b"")
    library.write_bytes(f"{place}/file", b"")
    for rule, local, remote, error in (
        (SyncRule(True), tmp_path / "none", place, NotFound),
        (SyncRule(True), tmp_path / "file", place, NotADirectory),
        (SyncRule(True), tmp_path, f"{place}/no/where", NotFound),
        (SyncRule(False), tmp_path, f"{place}/none", NotFound),
        (SyncRule(False), tmp_path, f"{place}/file", NotADirectory),
        (SyncRule(False), tmp_path / "no" / "where", place, NotFound),
        (SyncRule(False), tmp_path / "file", place, NotADirectory),
    ):
        with pytest.raises(error):
            library.trees.sync(local, remote, rule)


def test_compare_tells_what_differs_and_where(
    library: gfs_ha.Cluster, tmp_path: Path, place: str
) -> None:
    local = tmp_path / "tree"
    (local / "dir").mkdir(parents=True)
    (local / "same").write_bytes(b"s")
    (local / "bytes").write_bytes(b"x")
    (local / "size").write_bytes(b"xx")
    (local / "here").write_bytes(b"")
    (local / "kind").mkdir()
    (local / "link").symlink_to("dir")
    for name, data in (
        ("same", b"s"),
        ("bytes", b"y"),
        ("size", b"x"),
        ("there", b""),
        ("kind", b""),
    ):
        library.write_bytes(f"{place}/{name}", data)
    run = library.trees.compare(local, place)
    found = {one.name: one.state for one in run.findings()}
    assert found == {
        "bytes": DIFFER,
        "dir": MISSING_REMOTE,
        "here": MISSING_REMOTE,
        "kind": DIFFER,
        "link": SKIPPED,
        "same": SAME,
        "size": DIFFER,
        "there": MISSING_LOCAL,
    }
    assert list(found) == sorted(found)
    assert (run.summary.differences, run.summary.uncompared) == (6, 1)
    sizes = library.trees.compare(local, place, contents=False, one_way=True)
    states = {one.name: one.state for one in sizes.findings()}
    assert states["bytes"] == SAME and "there" not in states
    files = library.trees.compare(local / "bytes", f"{place}/bytes")
    assert [one.state for one in files.findings()] == [DIFFER]
    with pytest.raises(NotADirectory):
        library.trees.compare(local, f"{place}/same")


def test_a_checksum_is_that_of_the_bytes_and_reads_only_what_it_must(
    library: gfs_ha.Cluster, place: str
) -> None:
    data = os.urandom(2_500_000)
    path = f"{place}/f"
    library.write_bytes(path, data)
    [(_, whole)] = library.trees.checksums([path])
    assert not isinstance(whole, Exception)
    assert (whole.crc32c, whole.size, whole.read_bytes, whole.how) == (
        *(crc32c(data), len(data), 0, STORED),
    )
    [(_, verified)] = library.trees.checksums([path], verify=True)
    assert not isinstance(verified, Exception)
    assert (verified.crc32c, verified.read_bytes, verified.how) == (
        *(crc32c(data), len(data), VERIFIED),
    )
    library.truncate(path, 2_000_001)
    library.pwrite(path, 100, b"middle")
    data = data[:100] + b"middle" + data[106:2_000_001]
    [(_, refused)] = library.trees.checksums([path], read=False)
    assert isinstance(refused, PartlyDone) and path in refused.message
    [(_, read)] = library.trees.checksums([path])
    assert not isinstance(read, Exception)
    assert (read.crc32c, read.how) == (crc32c(data), READ)
    assert 0 < read.read_bytes < len(data)


def test_checksums_come_in_order_with_what_fails_among_them(
    library: gfs_ha.Cluster, place: str
) -> None:
    wanted = {}
    for number in range(70):
        data = bytes([number]) * number
        wanted[f"{place}/f{number}"] = crc32c(data)
    with_gap = [*wanted, f"{place}/none", place]
    for path in wanted:
        library.write_bytes(
            path, bytes([int(path.rpartition("f")[2])]) * int(path.rpartition("f")[2])
        )
    found = list(library.trees.checksums(with_gap))
    assert [path for path, _ in found] == with_gap
    assert {
        path: one.crc32c for path, one in found[:70] if not isinstance(one, Exception)
    } == wanted
    assert [type(one).__name__ for _, one in found[70:]] == ["NotFound", "IsADirectory"]


def test_an_error_of_one_side_is_no_difference(
    library: gfs_ha.Cluster, tmp_path: Path, place: str
) -> None:
    local = tmp_path / "tree"
    local.mkdir()
    (local / "f").write_bytes(b"abc")
    library.write_bytes(f"{place}/f", b"abc")
    run = library.trees.compare(local, place)
    findings = run.findings()
    library.remove(f"{place}/f")  # Behind the back of who has not looked yet.
    states = [one.state for one in findings]
    assert states in ([ERROR], [MISSING_REMOTE])
