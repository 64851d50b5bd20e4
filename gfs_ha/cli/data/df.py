"""`gfsctl df`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from gfs_ha.cli.admin.chunkservers import by_name
from gfs_ha.cli.data.room import LIVE, fitting_bytes, room_bytes, sharing
from gfs_ha.cli.names import printable
from gfs_ha.cli.render import render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import count_text, share_text, size_text
from gfs_ha.cli.verb import Verb
from gfs_ha.master.placement import HIGH_WATER
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.reports import ServerRow

NEAR_SHARE = HIGH_WATER - 0.1  # Of a disk; from here on people are warned.


class SpaceRow(Word, frozen=True):
    """The disks of the cluster, of a rack or of one server."""

    name: str
    kind: str  # "cluster", "rack", "server".
    rack: str
    servers: int  # That are live.
    capacity_bytes: int
    used_bytes: int
    free_bytes: int
    room_bytes: int  # Free below the high-water mark.
    state: str = LIVE


class Space(Word, frozen=True):
    """What the disks have, and how much more of files fits there."""

    items: tuple[SpaceRow, ...]
    path: str
    goal: int
    rule: str
    fits_bytes: int  # With the goal's copies, by the rule.
    fits_against_rule_bytes: int  # With as many copies, wherever they lie.
    high_water_share: float


@click.command(
    cls=Verb,
    examples="""
    gfsctl df                # capacity, used, free, and how much more of files fits
    gfsctl df /archive       # with the copies and the rule that files there get
    gfsctl df -o wide        # each rack and each server, too
    gfsctl df -o json        # for programs
    """,
)
@click.argument("path", metavar="[PATH]", default="/")
@watched
@pass_session
def df(session: Session, path: str) -> None:
    """Show the space of the cluster's disks, and how many more bytes of files fit.

    What fits counts all copies that new files below PATH get, on servers and racks as the rule of
    placement wants them, up to the mark at which a server takes no more. Servers that are not live
    have no room.
    """
    policy = session.cluster.policies.get(session.path(path))
    servers = session.operations.servers().items
    space = space_of(servers, policy.path, policy.goal, policy.rule)
    session.show(space)
    for warning in _warnings(space, servers):
        session.warn(warning)


def space_of(rows: Sequence[ServerRow], path: str, goal: int, rule: str) -> Space:
    """Return the space of a cluster's disks, for files that want so many copies by a rule."""
    servers = sorted(rows, key=by_name)
    items = [_row("cluster", "cluster", "", servers)]
    for rack, members in _racks(servers).items():
        items.append(_row(rack, "rack", rack, members))
        items += [_row(one.name, "server", rack, [one]) for one in members]
    return Space(
        items=tuple(items),
        path=path,
        goal=goal,
        rule=rule,
        fits_bytes=fitting_bytes(servers, goal, rule),
        fits_against_rule_bytes=fitting_bytes(list(map(_in_one_rack, servers)), goal, rule),
        high_water_share=HIGH_WATER,
    )


def _in_one_rack(server: ServerRow) -> ServerRow:
    from msgspec.structs import replace

    return replace(server, rack="")


def _racks(servers: Sequence[ServerRow]) -> dict[str, list[ServerRow]]:
    racks: dict[str, list[ServerRow]] = defaultdict(list)
    for server in servers:
        racks[server.rack].append(server)
    return dict(sorted(racks.items()))


def _row(name: str, kind: str, rack: str, servers: Sequence[ServerRow]) -> SpaceRow:
    live = [one for one in servers if one.state == LIVE]
    capacity = sum(one.total_bytes for one in live)
    free = sum(one.free_bytes for one in live)
    state = LIVE if live else servers[0].state if len(servers) == 1 else "none is live"
    room = sum(map(room_bytes, live))
    return SpaceRow(name, kind, rack, len(live), capacity, capacity - free, free, room, state)


def _warnings(space: Space, servers: Sequence[ServerRow]) -> list[str]:
    found: list[str] = []
    mark = share_text(HIGH_WATER)
    full = [one for one in servers if one.state == LIVE and one.disk_usage >= NEAR_SHARE]
    if full:
        named = ", ".join(f"{one.name} {share_text(one.disk_usage)}" for one in full[:8])
        more = f" and {len(full) - 8} more" if len(full) > 8 else ""
        found.append(
            f"near the high-water mark ({mark}, where a server takes no more): {named}{more}"
        )
    silent = [one.name for one in servers if one.state != LIVE]
    if silent:
        found.append(
            f"not counted, for they are not live: {', '.join(silent[:8])}"
            f"{f' and {len(silent) - 8} more' if len(silent) > 8 else ''}"
        )
    live = len(servers) - len(silent)
    if live < space.goal:
        found.append(
            f"{live} live servers are fewer than the {space.goal} copies wanted: "
            "new files get fewer copies"
        )
    elif space.fits_against_rule_bytes > space.fits_bytes * 1.01:
        found.append(
            f"{size_text(space.fits_against_rule_bytes - space.fits_bytes)} more fit only against "
            f"the rule {space.rule}: the racks are not equally large; add servers to the fuller one"
        )
    if shared := sharing(servers):
        found.append(
            f"{', '.join(shared[:8])} seem to share a disk, which each counts whole: "
            "give each its part with capacity in [chunkserver]"
        )
    return found


@render.register
def _(space: Space, wide: bool) -> Group:
    table = Table(box=None)
    for title in ("Disks of", "Servers", "Capacity", "Used", "Free", "Used %"):
        table.add_column(title, justify="left" if title == "Disks of" else "right", no_wrap=True)
    if wide:
        table.add_column("Room", justify="right", no_wrap=True)
    for row in space.items:
        if row.kind == "cluster" or wide:
            table.add_row(*_cells(row, wide))
    fits = Text.assemble(
        ("Fits still: ", "bold"),
        f"{size_text(space.fits_bytes)} of files, with {count_text(space.goal, 'copy', 'copies')} "
        f"by the rule {space.rule}",
    )
    if space.path != "/":
        fits.append(f" (as for {printable(space.path)})")
    return Group(table, Text(), fits)


def _cells(row: SpaceRow, wide: bool) -> list[str | Text]:
    indent = {"cluster": "", "rack": "  rack ", "server": "    "}[row.kind]
    share = row.used_bytes / row.capacity_bytes if row.capacity_bytes else 0.0
    style = "red" if share >= HIGH_WATER else "yellow" if share >= NEAR_SHARE else ""
    live = row.capacity_bytes or row.state == LIVE
    cells: list[str | Text] = [
        f"{indent}{row.name}",
        count_text(row.servers) if row.kind != "server" else "" if live else row.state,
        size_text(row.capacity_bytes) if live else "-",
        size_text(row.used_bytes) if live else "-",
        size_text(row.free_bytes) if live else "-",
        Text(share_text(share), style) if live else "-",
    ]
    if wide:
        cells.append(size_text(row.room_bytes) if live else "-")
    return cells
