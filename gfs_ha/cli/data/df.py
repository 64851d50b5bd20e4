"""`gfsctl df`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import click
from msgspec import convert
from rich.console import Group
from rich.table import Table
from rich.text import Text

from gfs_ha.cli.admin.chunkservers import by_name
from gfs_ha.cli.data.room import LIVE, fitting_bytes, room_bytes, sharing, standing
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import TABLE, WIDE
from gfs_ha.cli.render import render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import count_text, share_text, size_text
from gfs_ha.cli.verb import Verb
from gfs_ha.master.placement import HIGH_WATER
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.disk_counts import disks_out_text
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
    state: str = LIVE  # Of a server that is live, too: draining, decommissioned, in maintenance…


class Space(Word, frozen=True):
    """What the disks have, and how much more of files fits there."""

    items: tuple[SpaceRow, ...]
    path: str
    goal: int
    rule: str
    fits_bytes: int  # With the goal's copies, by the rule.
    fits_against_rule_bytes: int  # With as many copies, wherever they lie.
    high_water_share: float
    sharing: tuple[str, ...] = ()  # Servers that seem to lie on one disk, each counting it whole.


class ExactSpace(Space, frozen=True):
    """The same, for people who want bytes."""


@click.command(
    cls=Verb,
    examples="""
    gfsctl df                # capacity, used, free, and how much more of files fits
    gfsctl df /archive       # with the copies and the rule that files there get
    gfsctl df -o wide        # each rack and each server, too
    gfsctl df -b             # in bytes
    gfsctl df -o json        # for programs
    """,
)
@click.argument("path", metavar="[PATH]", default="/")
@click.option("-h/-b", "--human/--bytes", default=True, help="Sizes like 1.2 GiB, or in bytes.")
@watched
@pass_session
def df(session: Session, path: str, human: bool) -> None:
    """Show the space of the cluster's disks, and how many more bytes of files fit.

    What fits counts all copies that new files below PATH get, on servers and racks as the rule of
    placement wants them, up to the mark at which a disk takes no more. Servers that are not live,
    are being emptied or are in maintenance have no room.
    """
    wanted = session.path(path)
    policy = session.cluster.policies.get(wanted)
    servers = session.operations.servers().items
    space = space_of(servers, policy.path, policy.goal, policy.rule)
    exact = not human and session.options.output in (TABLE, WIDE)
    session.show(convert(space, ExactSpace, from_attributes=True) if exact else space)
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
        sharing=tuple(sharing(servers)),
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
    state = LIVE if live else "none is live"
    if len(servers) == 1:
        state = standing(servers[0])
    room = sum(map(room_bytes, live))
    return SpaceRow(name, kind, rack, len(live), capacity, capacity - free, free, room, state)


def _warnings(space: Space, servers: Sequence[ServerRow]) -> list[str]:
    found: list[str] = []
    mark = share_text(HIGH_WATER)
    near = [one for one in servers if one.state == LIVE and one.disk_usage >= NEAR_SHARE]
    full = sorted(near, key=lambda one: (-one.disk_usage, by_name(one)))
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
    ways = [(one.name, standing(one)) for one in servers if one.state == LIVE]
    out = [(one.name, one.disk_counts) for one in servers if one.state == LIVE]
    told = [f"{name} ({disks_out_text(counts)})" for name, counts in out if counts.out]
    if told:
        found.append(
            f"disks that are not in service are no room: {', '.join(told[:8])}"
            f"{f' and {len(told) - 8} more' if len(told) > 8 else ''}"
        )
    closed = [f"{name} ({how})" for name, how in ways if how != LIVE]
    if closed:
        found.append(
            f"without room, for they take nothing new: {', '.join(closed[:8])}"
            f"{f' and {len(closed) - 8} more' if len(closed) > 8 else ''}"
        )
    taking = len(ways) - len(closed)
    if taking < space.goal:
        some = "no server takes" if not taking else "only 1 server takes"
        some = some if taking < 2 else f"only {taking:,} servers take"
        found.append(f"{some} new files, which want {count_text(space.goal, 'copy', 'copies')}")
    elif space.fits_against_rule_bytes > space.fits_bytes * 1.01:
        found.append(
            f"{size_text(space.fits_against_rule_bytes - space.fits_bytes)} more fit only against "
            f"the rule {space.rule}: the racks are not equally large; add servers to the fuller one"
        )
    if space.sharing:
        found.append(
            f"{', '.join(space.sharing[:8])} seem to share a disk, which each counts whole: "
            "give each its part with capacity in [chunkserver]"
        )
    return found


@render.register
def _(space: Space, wide: bool) -> Group:
    return _screen(space, wide, size_text)


@render.register
def _(space: ExactSpace, wide: bool) -> Group:
    return _screen(space, wide, str)


def _screen(space: Space, wide: bool, size: Callable[[int], str]) -> Group:
    table = Table(box=None)
    for title in ("Disks of", "Servers", "Capacity", "Used", "Free", "Used %"):
        table.add_column(title, justify="left" if title == "Disks of" else "right", no_wrap=True)
    if wide:
        table.add_column("Room", justify="right", no_wrap=True)
    for row in space.items:
        if row.kind == "cluster" or wide:
            table.add_row(*_cells(row, wide, size))
    fits = Text.assemble(
        ("Fits still: ", "bold"),
        f"{size(space.fits_bytes)}{' bytes' if size is str else ''} of files, with "
        f"{count_text(space.goal, 'copy', 'copies')} by the rule {space.rule}",
    )
    if space.path != "/":
        fits.append(f" (as for {printable(space.path)})")
    return Group(table, Text(), fits)


def _cells(row: SpaceRow, wide: bool, size: Callable[[int], str]) -> list[str | Text]:
    indent = {"cluster": "", "rack": "  rack ", "server": "    "}[row.kind]
    share = row.used_bytes / row.capacity_bytes if row.capacity_bytes else 0.0
    style = "red" if share >= HIGH_WATER else "yellow" if share >= NEAR_SHARE else ""
    live = row.capacity_bytes or row.state == LIVE
    cells: list[str | Text] = [
        f"{indent}{row.name}",
        count_text(row.servers) if row.kind != "server" else "" if row.state == LIVE else row.state,
        size(row.capacity_bytes) if live else "-",
        size(row.used_bytes) if live else "-",
        size(row.free_bytes) if live else "-",
        Text(share_text(share), style) if live else "-",
    ]
    if wide:
        cells.append(size(row.room_bytes) if live else "-")
    return cells
