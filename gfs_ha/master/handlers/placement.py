"""What is asked about where files lie, why, and how directories want new ones to be kept."""

from __future__ import annotations

from itertools import islice

from gfs_ha.errors import NotInitialized, UnknownChunk
from gfs_ha.ids import format_id
from gfs_ha.master.candidates import candidates
from gfs_ha.master.explanation import explain, explain_new
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.chunk_reports import Describer, check_limit
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.growing import with_growth
from gfs_ha.master.placement import Wanted
from gfs_ha.master.repairing import scene_now
from gfs_ha.master.roster import Roster, roster
from gfs_ha.master.rules import RULE_TEXTS
from gfs_ha.master.state.policy_reads import fitting, policy_report
from gfs_ha.master.state.records import Settings
from gfs_ha.master.state.tail_reads import tail_of
from gfs_ha.master.state.view import View
from gfs_ha.protocol.placement import (
    ExplainNewPlacement,
    ExplainPlacement,
    NewPlacementExplained,
    PlacementExplained,
)
from gfs_ha.protocol.policy import GetPolicy, PolicyReport
from gfs_ha.protocol.reports import GetPlacement, PlacedExtent, PlacementReport


def get_policy(desk: Desk, view: View, request: GetPolicy, slot: Slot) -> PolicyReport:
    """Return what a directory says and what holds below it, or how a file is kept."""
    return policy_report(view, _settings(view), request.path, request.nearest)


def get_placement(desk: Desk, view: View, request: GetPlacement, slot: Slot) -> PlacementReport:
    """Return where the bytes of one file lie."""
    check_limit(request.limit)
    status = view.open_file(request.path, 0, 1).status
    describer = Describer(desk, view)
    items: list[PlacedExtent] = []
    more = False
    for extent in islice(view.extents(status.content_id, request.offset), request.limit + 1):
        if len(items) == request.limit:
            more = True
            break
        chunk = view.chunk(extent.chunk_id)
        assert chunk is not None, f"an extent in chunk {extent.chunk_id:#x}, which is not there"
        items.append(
            PlacedExtent(
                file_offset=extent.file_offset,
                length=extent.length,
                chunk_offset=extent.chunk_offset,
                chunk=describer.row(extent.chunk_id, chunk),
            )
        )
    tail = None if more else tail_of(view, status.inode_id)
    if tail is not None:
        chunk = view.chunk(tail.chunk_id)
        assert chunk is not None, f"the tail {tail.chunk_id:#x} is not there"
        row = describer.row(tail.chunk_id, chunk)
        items.append(PlacedExtent(tail.file_offset, row.length, 0, row))
    inode = view.inode(status.inode_id)
    assert inode is not None, f"a name without inode {status.inode_id}"
    return PlacementReport(
        path=request.path,
        size=with_growth(desk, view, status).size,
        rule=RULE_TEXTS[inode.rule or _settings(view).rule],
        items=tuple(items),
        more=more,
        goal=status.goal,
        fitting=fitting(view, status.content_id, {one.chunk.chunk_id for one in items}),
    )


def explain_placement(
    desk: Desk, view: View, request: ExplainPlacement, slot: Slot
) -> PlacementExplained:
    """Return why a chunk lies where it does, and what would come next."""
    chunk = view.chunk(request.chunk_id)
    if chunk is None:
        raise UnknownChunk(f"chunk {format_id(request.chunk_id)} is not known (any more)")
    row = Describer(desk, view).row(request.chunk_id, chunk)
    return explain(scene_now(desk, view), request.chunk_id, chunk, row)


def explain_new_placement(
    desk: Desk, view: View, request: ExplainNewPlacement, slot: Slot
) -> NewPlacementExplained:
    """Return where a chunk of a new file would go now."""
    reign, settings = desk.leading(), _settings(view)
    policy = policy_report(view, settings, request.path, nearest=True)
    wanted = Wanted(
        goal=policy.goal,
        min_copies=settings.min_copies,
        capacity=policy.chunk_bytes,
        machine=request.machine,
        rack=request.rack,
        failed=frozenset(),
        spread=desk.runtime.random_u64(),
        rule=policy.rule,
    )
    found = candidates(_roster(desk, view), reign.observed, desk.now_s())
    return explain_new(found, wanted, request.path)


def _roster(desk: Desk, view: View) -> Roster:
    return roster(view, desk.now_s() - desk.leading().elected_s)


def _settings(view: View) -> Settings:
    settings = view.settings()
    if settings is None:
        raise NotInitialized("the cluster has no settings yet; its first leader writes them")
    return settings
