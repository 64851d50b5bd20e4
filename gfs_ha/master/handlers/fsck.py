"""The pages of `admin fsck`: each looks at so many rows that others hardly wait for it."""

from __future__ import annotations

from gfs_ha.errors import InvalidArgument
from gfs_ha.ids import DiskId, ServerId
from gfs_ha.master.chunk_scan import ChunkScan
from gfs_ha.master.file_scan import FileScan
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.chunk_reports import Describer
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.observed import LIVE
from gfs_ha.master.place_scan import PlaceScan
from gfs_ha.master.reign import Reign
from gfs_ha.master.state.view import View
from gfs_ha.protocol.fsck import (
    NOT_TOLD,
    SCAN_ROWS_MAX,
    SILENT,
    ChunksScanned,
    FilesScanned,
    PlacesScanned,
    ScanChunks,
    ScanFiles,
    ScanPlaces,
    ScanTallies,
    TalliesScanned,
    TallyRow,
)


def scan_files(desk: Desk, view: View, request: ScanFiles, slot: Slot) -> FilesScanned:
    """Return one page of files. Raises: NotFound, NotADirectory, InvalidArgument."""
    _check_rows(request.rows)
    below = request.path.rstrip("/") + "/"
    if request.after and request.after != request.path and not request.after.startswith(below):
        raise InvalidArgument(f"{request.after} does not lie below {request.path}")
    return FileScan(view, Describer(desk, view).row, request).page()


def scan_chunks(desk: Desk, view: View, request: ScanChunks, slot: Slot) -> ChunksScanned:
    """Return one page of chunks. Raises: InvalidArgument."""
    _check_rows(request.rows)
    return ChunkScan(view, Describer(desk, view).row, request).page()


def scan_places(desk: Desk, view: View, request: ScanPlaces, slot: Slot) -> PlacesScanned:
    """Return one page of what servers have by the tables. Raises: InvalidArgument."""
    _check_rows(request.rows)
    return PlaceScan(view, request).page()


def scan_tallies(desk: Desk, view: View, request: ScanTallies, slot: Slot) -> TalliesScanned:
    """Return how disks' tallies compare with the tables, one page. Raises: InvalidArgument."""
    _check_rows(request.rows)
    reign, now_s = desk.leading(), desk.now_s()
    disks = sorted(
        (server_id, disk.disk_id, server.name)
        for server_id, server in view.servers()
        for disk in server.disks
        if not disk.lost
    )
    left = [one for one in disks if one[:2] > request.after]
    rows = tuple(_tally_row(reign, one, now_s) for one in left[: request.rows])
    return TalliesScanned(rows, reign.tally.counted, len(left) > len(rows))


def _tally_row(reign: Reign, known: tuple[ServerId, DiskId, str], now_s: float) -> TallyRow:
    """Return one disk of a server with a name."""
    server_id, disk_id, name = known
    facts = reign.observed.servers.get(server_id)
    if reign.observed.state(server_id, now_s) != LIVE:
        return TallyRow(server_id, name, disk_id, SILENT)
    if facts is None or disk_id not in facts.tallies:
        return TallyRow(server_id, name, disk_id, NOT_TOLD)
    state, buckets, since_s = reign.tally.compared((server_id, disk_id), now_s)
    counted_s = reign.tally.checked_s.get((server_id, disk_id))
    ages = (_age_ms(since_s, now_s), _age_ms(counted_s, now_s))
    return TallyRow(server_id, name, disk_id, state, buckets, *ages)


def _age_ms(since_s: float | None, now_s: float) -> int:
    return -1 if since_s is None else int(max(0.0, now_s - since_s) * 1000)


def _check_rows(rows: int) -> None:
    if not 1 <= rows <= SCAN_ROWS_MAX:
        raise InvalidArgument(f"a page looks at 1 to {SCAN_ROWS_MAX} rows, not {rows}")
