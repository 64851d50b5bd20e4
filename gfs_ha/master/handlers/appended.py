"""What became of records that were sent to a file which its path does not lead to any more.

The file was moved, removed or replaced while somebody appended to it: the rotation of a log. Its
last tail is sealed then; so the table of the file says of each record where it lies, or that it is
not written and never will be (C8). After that the appender goes on with the path.
"""

from __future__ import annotations

from functools import partial

from gfs_ha.errors import Busy, GfsError, InvalidArgument, NotInitialized, SessionExpired
from gfs_ha.limits import APPEND_WINDOW
from gfs_ha.master.applicants import RETRY_MS
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.session_owners import check_owner
from gfs_ha.master.planners.leases import RENAMED
from gfs_ha.master.proposals import MARGIN_S
from gfs_ha.master.raft.journal import stored_applied
from gfs_ha.master.state.bounds import check_range
from gfs_ha.master.state.records import OPEN
from gfs_ha.master.state.tail_reads import records_known, tail_of
from gfs_ha.master.state.view import View
from gfs_ha.master.waiting import Ends
from gfs_ha.protocol.append import FindRecords, RecordsFound

_ID_MAX = (1 << 63) - 1
_LEFT_MIN_S = 0.2


def find_records(desk: Desk, request: FindRecords, slot: Slot) -> None:
    """Answer once the tail that the records were sent to is sealed."""
    desk.sealing()
    if len(request.sequences) > APPEND_WINDOW:
        raise InvalidArgument(f"{len(request.sequences)} records in one question")
    named = (("inode", request.inode_id), ("chunk", request.chunk_id))
    for name, value in (*named, ("appender", request.appender)):
        check_range(name, value, 1, _ID_MAX)
    _look_when_confirmed(desk, request, slot)


def _look_when_confirmed(desk: Desk, request: FindRecords, slot: Slot) -> None:
    def look(error: GfsError | None) -> None:
        if error is None:
            desk.post_or_fail(partial(_look_visible, desk, request, slot), slot.fail)
        else:
            slot.fail(desk.proposer.for_client(error))

    desk.proposer.read_index(slot.left_s() - MARGIN_S, look)


def _look_visible(desk: Desk, request: FindRecords, slot: Slot) -> None:
    if slot.closed:
        return
    try:
        _look(desk, request, slot)
    except GfsError as error:
        slot.fail(desk.weigh(error))


def _look(desk: Desk, request: FindRecords, slot: Slot) -> None:
    sealer = desk.sealing()
    if slot.left_s() < _LEFT_MIN_S:
        raise Busy("there is no time left for it; ask again", retry_ms=RETRY_MS)
    with desk.kv.read() as reader:
        view = View(reader)
        if view.settings() is None:
            raise NotInitialized("the cluster has no settings yet; its first leader writes them")
        appender = view.session(request.appender)
        if appender is None:
            raise SessionExpired(f"session {request.appender:#x} is unknown or expired")
        check_owner(appender, request.appender, slot)
        desk.leading().observed.met_session(request.appender, desk.now_s())
        tail = tail_of(view, request.inode_id)
        if tail is None or tail.chunk_id != request.chunk_id:
            # Whatever tail came later was opened when that one was sealed.
            known = records_known(view, request.inode_id, request.appender, request.sequences)
            slot.show(stored_applied(reader))
            slot.reply(RecordsFound(known.results, known.expired, known.window_start))
            return
        chunk = view.chunk(tail.chunk_id)

    def ended(error: GfsError | None) -> None:
        if error is None:
            _look_when_confirmed(desk, request, slot)
        else:
            slot.fail(error)

    one = Ends((request.chunk_id,), slot.left_s, ended).one(request.chunk_id)
    if chunk is not None and chunk.state == OPEN:
        sealer.seal(request.chunk_id, RENAMED, one, frozenset())
    else:
        sealer.wait_for(request.chunk_id, one, frozenset())
        sealer.look_at(request.chunk_id, chunk)
