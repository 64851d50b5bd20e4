"""A disk of a chunkserver explained: how it stands, why, and what would change that."""

from __future__ import annotations

from collections.abc import Sequence

from gfs_ha.cli.explained.explanation import Explanation
from gfs_ha.cli.runbooks import Step
from gfs_ha.cli.units import count_text, share_text, size_text, time_text
from gfs_ha.ids import format_id
from gfs_ha.protocol.disks import FAILED, LOST, PLACES_COUNTED_MAX, SILENT, DiskStanding
from gfs_ha.protocol.events import EventItem
from gfs_ha.protocol.server_modes import DRAINED, DRAINING, IN_SERVICE, LEAVING

EVENTS_SHOWN = 4
_VERDICTS = {
    IN_SERVICE: "in service",
    DRAINING: "draining: its copies go elsewhere, and it takes nothing new",
    DRAINED: "drained: it is empty, and takes nothing",
    FAILED: "failed: its server goes on without it, and its copies are made anew elsewhere",
    LOST: "lost: its server came back without it, and its copies are made anew elsewhere",
    SILENT: "not reported: nobody says how it is now",
}
_COMING = {
    DRAINING: "it is drained once nothing is left there; until then it can be taken back",
    DRAINED: "nothing by itself: it stays empty until it is taken back or changed",
    FAILED: "it stays out until its server starts again with a directory that works",
    LOST: "it is forgotten once no chunk has a place there; mounted again, it counts again",
    SILENT: "it is known again when its server is heard",
}
_ROOM = (
    "only disks in service, of servers in service, are room: placement, rebalance and all views"
    " leave out the others"
)


def explain_disk(row: DiskStanding, events: Sequence[EventItem]) -> Explanation:
    """Return how a disk stands, why, and what would change it; events are those of its server."""
    shown = format_id(row.disk_id)
    name = f"{row.server}:{shown}"
    facts = [
        ("of", f"chunkserver {row.server}, rack {row.rack}, {row.server_state}"),
        ("directory", row.directory or "not told"),
    ]
    if row.total_bytes and row.state not in (LOST, FAILED, SILENT):
        used = share_text(1 - row.free_bytes / row.total_bytes)
        free = f"{size_text(row.free_bytes)} of {size_text(row.total_bytes)} free"
        facts.append(("room", f"{free}, {used} used"))
    if row.places >= 0:
        more = "+" * (row.places >= PLACES_COUNTED_MAX)
        facts.append(("left there", f"{count_text(row.places)}{more} places of chunks"))
    if row.since_ns:
        facts.append(("since", time_text(row.since_ns)))
    if row.job:
        far = f", {share_text(row.job_share)}" if row.job_share >= 0 else ""
        facts.append(("job", f"{row.job}{far}"))
    others = count_text(row.serving, "other disk")
    facts.append(("beside it", f"{others} of {row.server} in service"))
    own = [one for one in events if shown in one.text][-EVENTS_SHOWN:]
    facts += [
        ("lately" if not at else "", f"{time_text(one.wall_ns)}  {one.text}")
        for at, one in enumerate(own)
    ]
    well = row.state == IN_SERVICE and not row.why
    return Explanation(
        about="disk",
        name=name,
        well=well,
        verdict=_verdict(row),
        facts=tuple(facts),
        rules=() if row.state == IN_SERVICE == row.server_mode else (_ROOM,),
        troubles=(row.why,) if row.why else (),
        coming=(_COMING[row.state],) if row.state in _COMING else (),
        next=_steps(row, name),
    )


def _verdict(row: DiskStanding) -> str:
    if row.state == IN_SERVICE != row.server_mode:
        return f"works, and takes nothing: its server is {row.server_mode}"
    return _VERDICTS.get(row.state, row.state)


def _steps(row: DiskStanding, name: str) -> tuple[Step, ...]:
    found = []
    if row.job and row.state == DRAINING:
        found.append(Step(f"gfsctl explain {row.job}", "the job that empties it"))
    if row.state == IN_SERVICE and row.server_mode != IN_SERVICE:
        if row.job and row.server_mode in LEAVING:
            found.append(Step(f"gfsctl explain {row.job}", "the job that empties its server"))
        back = f"gfsctl admin chunkservers undrain {row.server}"
        found.append(Step(back, "take its server back into service"))
    if row.mode != IN_SERVICE and row.state in (DRAINING, DRAINED):
        found.append(Step(f"gfsctl admin disks undrain {name}", "take it back into service"))
    if row.state == IN_SERVICE == row.server_mode:
        found.append(Step(f"gfsctl admin disks drain {name} -n", "what it would take to empty it"))
    elif row.state == SILENT:
        found.append(Step(f"gfsctl explain {row.server}", "its server, which is away"))
    else:
        found.append(Step(f"gfsctl admin disks replace {name}", "how to change it, step by step"))
    found.append(Step(f"gfsctl admin events --subject {row.server} --kind disk", "its story"))
    return tuple(found)
