"""The pages of `admin fsck`: each looks at so many rows that others hardly wait for it."""

from __future__ import annotations

from gfs_ha.errors import InvalidArgument
from gfs_ha.master.chunk_scan import ChunkScan
from gfs_ha.master.file_scan import FileScan
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.chunk_reports import Describer
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.state.view import View
from gfs_ha.protocol.fsck import (
    SCAN_ROWS_MAX,
    ChunksScanned,
    FilesScanned,
    ScanChunks,
    ScanFiles,
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


def _check_rows(rows: int) -> None:
    if not 1 <= rows <= SCAN_ROWS_MAX:
        raise InvalidArgument(f"a page looks at 1 to {SCAN_ROWS_MAX} rows, not {rows}")
