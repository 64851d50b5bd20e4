"""Tells of what only a leader observes: servers, disks, findings, repair that come and go.

Each thing is compared with what is noted of it in the tables, so a new leader neither repeats what
its predecessor told nor forgets what nobody told yet; the command compares once more (M1). What is
as it should be has no row.

A new leader counts silences from its own election: for a while it takes dead servers for suspect
ones, and their copies for good. Until it knows better, what was told because of them stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gfs_ha.ids import ServerId, format_id
from gfs_ha.limits import (
    EVENT_CHANGES_MAX,
    EVENT_NOTED_MAX,
    EVENT_SUBJECT_BYTES_MAX,
    EVENT_TEXT_BYTES_MAX,
    EVENT_WINDOW_MS,
    GIB,
    MIB,
)
from gfs_ha.master.muting import (
    FINDING_CLASS,
    SERVER_CODES,
    disk_key,
    finding_key,
    mute_ends,
    server_key,
)
from gfs_ha.master.observed import DEAD, LIVE, SUSPECT
from gfs_ha.master.planners.news import News
from gfs_ha.master.planners.plan import Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.state.bounds import fitting_text
from gfs_ha.master.state.event_commands import EndMute, NotedChange, NoteEvents
from gfs_ha.master.state.event_records import Noted
from gfs_ha.master.state.events import OFTEN, all_noted
from gfs_ha.master.state.jobs import running_jobs
from gfs_ha.master.state.mutes import all_mutes
from gfs_ha.master.state.records import Server
from gfs_ha.master.state.view import View
from gfs_ha.protocol import events as words
from gfs_ha.protocol.events import ERROR, INFO, WARNING
from gfs_ha.protocol.jobs import PAUSED, RUNNING, job_id

_SERVER, _DISK, _REPAIR, _MASTERS = "server", "disk", "repair", "masters"
# Findings that other events tell of in better words; since when they stand is noted all the same.
_TOLD_ELSEWHERE = ("DISK_FAILED", "DISK_LOST", "CHUNKS_UNDER", *SERVER_CODES)
_BY_DEATHS = ("CHUNKS_UNDER", "CHUNKS_LOST", "GARBAGE_HELD")  # What dead servers may bring about.
_BLOCKED = "DRAIN_BLOCKED"
_ENDED = "dead: it ended when its last disk failed, its copies are made anew elsewhere"
_SERVER_TEXTS = {
    SUSPECT: "suspect: no heartbeat, gets nothing new",
    DEAD: "dead: its copies are made anew elsewhere",
}
_RESTS = "dead: its copies are made anew elsewhere once its maintenance ends"


@dataclass(frozen=True, slots=True)
class Watched:
    """Something that is not as it should be, and how events tell of that."""

    key: str
    state: str
    kind: str
    subject: str
    text: str
    severity: str
    values: tuple[int, ...] = ()


def plan_events(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return what is to be told and noted; nothing before the leader has heard of everybody."""
    made = Plan()
    if seen.repair.young:
        return made
    noted = all_noted(view)
    now_ms = seen.cluster_ms(view.counters())
    unsure = _unsure(view, seen, noted)
    # In the order in which one brings about the next.
    watched = [*_disks(view, seen, noted), *_servers(view, seen, noted)]
    watched += _repair(view, cursors, noted, unsure)
    looked_at = {_SERVER, _DISK, _REPAIR}
    if seen.news is not None:
        watched += _findings(seen.news, noted, unsure)
        watched += _blocked_as_before(view, cursors, noted, watched)
        looked_at.add(FINDING_CLASS)
    # What is over, or settled, comes first: it makes room for what begins.
    changes = list(_over(view, noted, watched, looked_at))
    if seen.news is not None:
        changes += _masters(noted, seen.news)
        made.proposals += _mutes_over(view, seen.news, now_ms)
    begun = list(_begun(noted, watched))
    changed = {one.key for one in (*changes, *begun)}
    changes += [one for one in _settled(noted, now_ms) if one.key not in changed]
    changes += _with_room(noted, changes, begun)
    if changes:
        made.proposals.append(NoteEvents(tuple(changes[:EVENT_CHANGES_MAX])))
    return made


# What is not as it should be ----------------------------------------------------------------------


def _unsure(view: View, seen: Seen, noted: Mapping[str, Noted]) -> bool:
    """Return whether servers are noted as dead of which this leader does not know that they are."""
    return any(
        _state(noted, server_key(server.name)) == DEAD
        and seen.repair.states.get(server_id) == SUSPECT
        and not _ended(seen, server_id, server)
        for server_id, server in view.servers()
    )


def _servers(view: View, seen: Seen, noted: Mapping[str, Noted]) -> Iterator[Watched]:
    now_ms = seen.cluster_ms(view.counters())
    for server_id, server in view.servers():
        state = seen.repair.states.get(server_id, "")
        text = _ENDED if _ended(seen, server_id, server) else ""
        if text:
            state = DEAD  # Its silence would tell so only after repair of it is over.
        elif state == SUSPECT and _state(noted, server_key(server.name)) == DEAD:
            state = DEAD  # Who has not been heard since is no less dead than before.
        if state == DEAD and not text and view.server_mode(server_id).in_maintenance(now_ms):
            text = _RESTS
        if state in _SERVER_TEXTS:
            severity = ERROR if state == DEAD else WARNING
            told = (server.name, text or _SERVER_TEXTS[state], severity)
            yield Watched(server_key(server.name), state, words.SERVER, *told)


def _ended(seen: Seen, server_id: ServerId, server: Server) -> bool:
    """Return whether a server said that its last disk failed: it ends then."""
    own = [one.disk_id for one in server.disks if not one.lost]
    return bool(own) and all((server_id, one) in seen.repair.failed_disks for one in own)


def _disks(view: View, seen: Seen, noted: Mapping[str, Noted]) -> Iterator[Watched]:
    """Yield the disks that failed; of servers that are silent, those of which that is noted."""
    failed = set(seen.repair.failed_disks)
    for server_id, server in view.servers():
        if seen.repair.states.get(server_id) != LIVE:
            disks = [one.disk_id for one in server.disks]
            failed |= {
                (server_id, one) for one in disks if _state(noted, disk_key(server.name, one))
            }
    for server_id, disk_id in sorted(failed):
        owner = view.server(server_id)
        if owner is not None:
            name = format_id(disk_id)
            text = f"disk {name} is out of service, its copies are made anew"
            told = (owner.name, text, ERROR)
            yield Watched(disk_key(owner.name, disk_id), "failed", words.DISK, *told)


def _repair(
    view: View, cursors: Cursors, noted: Mapping[str, Noted], unsure: bool
) -> Iterator[Watched]:
    """Yield that copies are being made anew; with a first round under way, what was known before.

    Chunks without any copy do not count: nothing can be done for them.
    """
    queue = cursors.queue
    lacking = max(one.chunks - one.without_copy for one in (queue.found, queue.running))
    if not lacking and not (_state(noted, _REPAIR) and (unsure or not queue.rounds)):
        return
    most = max(queue.found, queue.running, key=lambda one: one.chunks)
    chunks = "1 chunk lacks" if lacking == 1 else f"{lacking:,} chunks lack"
    size = size_text(most.lacking_bytes - most.unplaced_bytes)
    text = f"begins: {chunks} copies, {size} to copy"
    if most.unplaced_copies:
        text += f", and no server can take {most.unplaced_copies:,} of them"
    counters = view.counters()
    values = (counters.repaired_copies, counters.repaired_bytes)
    yield Watched(_REPAIR, "running", words.REPAIR, "repair", text, WARNING, values)


def _findings(news: News, noted: Mapping[str, Noted], unsure: bool) -> Iterator[Watched]:
    keys = set()
    if unsure:
        for code in _BY_DEATHS:
            key = f"{FINDING_CLASS}/{code}/"
            if state := _state(noted, key):
                keys.add(key)
                yield Watched(key, state, words.FINDING, code, "", state)
    for one in news.findings:
        key = finding_key(one)
        if key in keys or one.code in SERVER_CODES:
            continue
        keys.add(key)
        text = f"{one.code}: {one.message}" if one.subject else one.message
        text = "" if one.code in _TOLD_ELSEWHERE else text
        told = (one.subject or one.code, text, one.severity)
        yield Watched(key, one.severity, words.FINDING, *told)


def _blocked_as_before(
    view: View, cursors: Cursors, noted: Mapping[str, Noted], watched: list[Watched]
) -> Iterator[Watched]:
    """Yield what was told of blocked jobs that this leader has not been through yet."""
    keys = {one.key for one in watched}
    for number, job in running_jobs(view):
        server = view.server(job.server_id)
        if server is None or job.phase != RUNNING or number in cursors.jobs.left:
            continue
        key = f"{FINDING_CLASS}/{_BLOCKED}/{server.name}"
        if key not in keys and (state := _state(noted, key)):
            keys.add(key)
            yield Watched(key, state, words.FINDING, server.name, "", state)


# Compared with what is noted ----------------------------------------------------------------------


def _state(noted: Mapping[str, Noted], key: str) -> str:
    row = noted.get(key)
    return row.state if row is not None else ""


def _begun(noted: Mapping[str, Noted], watched: list[Watched]) -> Iterator[NotedChange]:
    for one in watched:
        before = _state(noted, one.key)
        if before != one.state:
            yield NotedChange(
                key=one.key,
                seen=before,
                state=one.state,
                kind=one.kind,
                subject=fitting_text(one.subject, EVENT_SUBJECT_BYTES_MAX),
                text=fitting_text(one.text, EVENT_TEXT_BYTES_MAX),
                severity=one.severity,
                values=one.values,
            )


def _with_room(
    noted: Mapping[str, Noted], others: list[NotedChange], begun: list[NotedChange]
) -> list[NotedChange]:
    """Return what begins and can be noted; the rest waits until something else is forgotten."""
    left = EVENT_NOTED_MAX - len(noted) - sum(one.key not in noted for one in others)
    found = []
    for one in begun:
        left -= one.key not in noted
        if one.key in noted or left >= 0:
            found.append(one)
    return found


def _over(
    view: View, noted: Mapping[str, Noted], watched: list[Watched], looked_at: set[str]
) -> Iterator[NotedChange]:
    standing = {one.key for one in watched}
    disks = {
        server.name: {format_id(disk.disk_id) for disk in server.disks if not disk.lost}
        for _, server in view.servers()
    }
    for key, row in noted.items():
        whose, _, rest = key.partition("/")
        if not row.state or key in standing or whose not in looked_at:
            continue
        kind, subject = _about(key)
        text, timed = f"back, it was {row.state}", True
        if whose == _DISK:
            name, _, disk = rest.partition("/")
            there = disk in disks.get(name, ())
            text = f"disk {disk} serves again" if there else f"goes on without disk {disk}"
        elif whose == _REPAIR:
            text = _repaired_text(view, row)
        elif whose == FINDING_CLASS:
            code, _, about = rest.partition("/")
            text = f"{code} is over" if about else "is over"
            text = "" if code in _TOLD_ELSEWHERE else text
            paused = _paused(view, about) if code == _BLOCKED else ""
            if paused:
                text, timed = f"{code}: {paused} is paused, and is looked at when it goes on", False
        if whose in (_SERVER, _DISK) and subject not in disks:
            text = ""  # Its removal was told.
        yield NotedChange(key, row.state, "", kind, subject, text, INFO, timed=timed)


def _paused(view: View, name: str) -> str:
    """Return a paused job that is to empty a server, or a disk of it; empty: there is none."""
    for number, job in running_jobs(view):
        server = view.server(job.server_id)
        if server is not None and server.name == name and job.phase == PAUSED:
            return f"job {job_id(job.kind, number)}"
    return ""


def _repaired_text(view: View, row: Noted) -> str:
    counters = view.counters()
    copies, size = counters.repaired_copies, counters.repaired_bytes
    if len(row.values) == 2:
        copies, size = copies - row.values[0], size - row.values[1]
    made = "1 copy" if copies == 1 else f"{copies:,} copies"
    return f"over: {made} made, {size_text(size)},"


def size_text(size: int) -> str:
    """Return a size for people."""
    return f"{size / GIB:,.1f} GiB" if size >= GIB else f"{size / MIB:,.1f} MiB"


def _masters(noted: Mapping[str, Noted], news: News) -> Iterator[NotedChange]:
    """Yield that the masters are others than before; of a first look nothing is told."""
    state = fitting_text(", ".join(news.masters), EVENT_TEXT_BYTES_MAX - len("they are  now"))
    row = noted.get(_MASTERS)
    if row is None or row.state != state:
        text = f"they are {state} now" if row is not None and row.state else ""
        seen = row.state if row is not None else ""
        yield NotedChange(_MASTERS, seen, state, words.MASTERS, "masters", text)


def _settled(noted: Mapping[str, Noted], now_ms: int) -> Iterator[NotedChange]:
    """Yield what was held back of things that have come to rest, and forget those that are well."""
    for key, row in noted.items():
        if now_ms - row.window_ms < EVENT_WINDOW_MS:
            continue
        kind, subject = _about(key)
        if row.held:
            state = f"is {row.state} now" if row.state else "is as it should be now"
            text = "it came and went" if key.startswith(OFTEN) else f"it came and went, {state}"
            yield NotedChange(key, row.state, row.state, kind, subject, text)
        elif not row.state:
            yield NotedChange(key, "", "", kind, subject)


def _about(key: str) -> tuple[str, str]:
    """Return (kind, subject) of what a key says."""
    whose, _, rest = key.partition("/")
    first, _, second = rest.partition("/")
    if whose == OFTEN:
        return (first if first in words.KINDS else words.CLUSTER), second or first
    if whose == FINDING_CLASS:
        return words.FINDING, second or first
    kinds = {_SERVER: words.SERVER, _DISK: words.DISK, _MASTERS: words.MASTERS}
    return kinds.get(whose, words.REPAIR), first or whose


def _mutes_over(view: View, news: News, now_ms: int) -> Iterator[EndMute]:
    for code, mute in all_mutes(view).items():
        why = "its time is over" if mute.until_ms <= now_ms else ""
        why = why or mute_ends(mute, [one for one in news.findings if one.code == code])
        if why:
            yield EndMute(code, mute.made_index, why)
