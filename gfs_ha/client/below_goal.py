"""Which files have fewer good copies than they want, as the leader finds them, page by page."""

from __future__ import annotations

from collections.abc import Iterator

from gfs_ha.client.cluster import ClusterCalls, expect
from gfs_ha.errors import NotADirectory, NotFound
from gfs_ha.limits import REQUESTS_PER_CALL_MAX
from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.damage import MISSING, UNDER
from gfs_ha.protocol.fsck import FilesScanned, ScanFiles
from gfs_ha.protocol.metadata import FileStatus, Stat


def files_below_goal(calls: ClusterCalls, path: str) -> Iterator[tuple[str, FileStatus]]:
    """Yield the files at and below a path that lack copies of any byte, in order of their names.

    By one look of the leader: copies of a server that is silent for three seconds do not count.
    Raises: NotFound, NotADirectory.
    """
    request = ScanFiles(path)
    told = ""
    while True:
        page = calls.ask(request, FilesScanned)
        paths: list[str] = []
        for finding in page.findings:
            # A file has a finding for each extent, and may go on over several pages.
            if finding.kind in (UNDER, MISSING) and finding.path != told:
                told = finding.path
                paths.append(told)
        yield from _with_status(calls, paths)
        if not page.more:
            return
        request = ScanFiles(path, page.after, page.offset)


def _with_status(calls: ClusterCalls, paths: list[str]) -> Iterator[tuple[str, FileStatus]]:
    """Yield what is there of the paths; one that is gone by now lacks nothing."""
    for start in range(0, len(paths), REQUESTS_PER_CALL_MAX):
        part = paths[start : start + REQUESTS_PER_CALL_MAX]
        replies = calls.settle([Asked(Stat(path)) for path in part])
        for path, reply in zip(part, replies, strict=True):
            try:
                yield path, expect(reply, FileStatus)
            except (NotFound, NotADirectory):
                continue
