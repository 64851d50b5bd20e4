"""What the tables say of the scrub: how disks are scrubbed, and the rounds that were asked for."""

from __future__ import annotations

from collections.abc import Iterator

from gfs_ha.errors import InvalidArgument, UnknownServer
from gfs_ha.ids import ServerId
from gfs_ha.limits import (
    SCRUB_BYTES_PER_S,
    SCRUB_PERIOD_MAX_S,
    SCRUB_PERIOD_MIN_S,
    SCRUB_PERIOD_S,
)
from gfs_ha.master.state import tables
from gfs_ha.master.state.bounds import SIZE_MAX, U64_MAX, check_count, check_range
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.events import note_event
from gfs_ha.master.state.scrub_commands import AskScrub, SetScrub
from gfs_ha.master.state.scrub_records import AskedScrub, ScrubSettings
from gfs_ha.master.state.tables import ONLY, id_key
from gfs_ha.master.state.view import View
from gfs_ha.protocol.events import SETTING
from gfs_ha.protocol.metadata import Done
from gfs_ha.protocol.scrub import SERVERS_PER_START_MAX, ScrubBudgetReport, ScrubWanted

USUAL = ScrubSettings(SCRUB_BYTES_PER_S, SCRUB_PERIOD_S)


@step(SetScrub)
def set_scrub(draft: Draft, command: SetScrub) -> ScrubBudgetReport:
    """Write down how disks are scrubbed, and return all of it. Refuses: InvalidArgument."""
    check_range("bytes_per_s", command.bytes_per_s, -1, SIZE_MAX)
    check_range("paused", command.paused, -1, 1)
    if command.period_s not in (-1, 0):
        check_range("period_s", command.period_s, SCRUB_PERIOD_MIN_S, SCRUB_PERIOD_MAX_S)
    known = scrub_settings(draft.view)
    row = ScrubSettings(
        known.bytes_per_s if command.bytes_per_s == -1 else command.bytes_per_s,
        known.period_s if command.period_s == -1 else command.period_s,
        known.paused if command.paused == -1 else bool(command.paused),
    )
    if row != known:
        draft.rows.put(tables.SCRUB_SETTINGS, ONLY, row)
        hours = row.period_s / 3600
        said = f"every disk is read once in {hours:,.0f} h" if row.period_s else "rounds are off"
        note_event(draft, SETTING, "scrub", f"{said}{', paused' if row.paused else ''}")
    return ScrubBudgetReport(row.bytes_per_s, row.period_s, row.paused)


@step(AskScrub)
def ask_scrub(draft: Draft, command: AskScrub) -> Done:
    """Ask servers for a round. Refuses: UnknownServer, LimitExceeded, InvalidArgument."""
    check_count("servers", command.servers, SERVERS_PER_START_MAX)
    check_range("bytes_per_s", command.bytes_per_s, 0, SIZE_MAX)
    if not command.servers:
        raise InvalidArgument("a scrub of no server")
    row = AskedScrub(draft.order_index, command.bytes_per_s)
    for server_id in command.servers:
        check_range("server", server_id, 0, U64_MAX)
        if draft.view.server(server_id) is None:
            raise UnknownServer(f"there is no chunkserver {server_id}")
        draft.rows.put(tables.ASKED_SCRUBS, id_key(server_id), row)
    return Done()


def scrub_settings(view: View) -> ScrubSettings:
    """Return how disks are scrubbed."""
    return view.rows.get(tables.SCRUB_SETTINGS, ONLY) or USUAL


def scrub_wanted(view: View, server_id: ServerId) -> ScrubWanted:
    """Return what a server is to be told."""
    settings = scrub_settings(view)
    asked = view.rows.get(tables.ASKED_SCRUBS, id_key(server_id))
    usual = (settings.bytes_per_s, settings.period_s, settings.paused)
    if asked is None:
        return ScrubWanted(*usual)
    return ScrubWanted(*usual, asked=asked.number, asked_bytes_per_s=asked.bytes_per_s)


def check_asked(view: View) -> Iterator[str]:
    """Yield what is wrong: rounds that were asked of servers that do not exist (an invariant)."""
    for key, _ in view.rows.scan(tables.ASKED_SCRUBS):
        server_id = ServerId(tables.read_id(key))
        if view.server(server_id) is None:
            yield f"a scrub is asked of server {server_id}, which is none"
