"""What is not as it should be: findings with a code, one line, and the next step for a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gfs_ha.config import SettingsConfig
from gfs_ha.limits import SPACE_FREE_BYTES_MIN, SPACE_FREE_SHARE_MIN
from gfs_ha.master.address_health import address_findings
from gfs_ha.master.certificate_health import TlsSymptoms, certificate_findings
from gfs_ha.master.garbage_health import garbage_findings
from gfs_ha.master.planner_guard import PlannerFault, planner_findings
from gfs_ha.master.quorum import ERROR, WARNING, members_found, short_of_room
from gfs_ha.master.raft.contract import RaftStatus
from gfs_ha.master.scrub_health import scrub_findings
from gfs_ha.master.server_health import GoneDisk, capacity_findings, server_findings
from gfs_ha.master.standing_health import BlockedJob, standing_findings
from gfs_ha.master.state.records import InternalErrors, Settings, StateCheck
from gfs_ha.protocol.garbage import GarbageServerRow
from gfs_ha.protocol.repair import RepairReport, held_by
from gfs_ha.protocol.reports import Finding, HealthReport, ServerRow
from gfs_ha.protocol.scrub import ScrubReport

_NAMED_MAX = 8  # Things that one finding names.
_FILES_NAMED_MAX = 3


@dataclass(frozen=True, slots=True)
class Symptoms:
    """All that the findings are made from. `blocked` are chunks and why they cannot be sealed."""

    raft: RaftStatus
    settings: Settings | None
    file_settings: SettingsConfig  # Of this master's file.
    servers: tuple[ServerRow, ...]
    clocks_ahead_ms: dict[str, int]  # By server name.
    under_count: int
    under_more: bool  # There are more than were counted.
    blocked: dict[str, str]
    damaged: dict[str, str]  # Replicas and what was found, by chunk id.
    internal_errors: InternalErrors | None
    wall_ns: int
    disk_free_bytes: int
    disk_total_bytes: int
    state_bytes: int
    map_bytes: int
    state_check: StateCheck | None = None
    repair: RepairReport | None = None
    scrub: ScrubReport | None = None
    garbage_held: tuple[GarbageServerRow, ...] = ()  # By dead servers.
    garbage_more: bool = False  # Than was counted.
    blocked_jobs: tuple[BlockedJob, ...] = ()
    led_since_ms: tuple[int, ...] = ()  # When the newest terms that led began, by wall time.
    planner_faults: tuple[PlannerFault, ...] = ()
    now_s: float = 0.0  # Of the clock that those are dated with.
    gone_disks: tuple[GoneDisk, ...] = ()  # That failed, or are lost.
    tls: TlsSymptoms | None = None  # None: nobody shows certificates.
    listening: Mapping[str, str] = field(default_factory=dict)  # Where, by server, in numbers.


def space_low(
    free_bytes: int, total_bytes: int, used_bytes: int, map_bytes: int, times: int = 1
) -> bool:
    """Return whether a master's disk or map is short of room (M8), or `times` that early."""
    least = min(int(total_bytes * SPACE_FREE_SHARE_MIN), SPACE_FREE_BYTES_MIN)
    return (
        free_bytes < times * least
        or map_bytes - used_bytes < times * SPACE_FREE_SHARE_MIN * map_bytes
    )


def examine(symptoms: Symptoms) -> HealthReport:
    """Return the findings, errors first. A cluster without an error is healthy."""
    found = [
        *members_found(symptoms.raft, symptoms.led_since_ms, symptoms.wall_ns),
        *_states(symptoms),
        *server_findings(
            symptoms.servers, symptoms.under_count, symptoms.clocks_ahead_ms, symptoms.gone_disks
        ),
        *address_findings(
            (one.addresses.rpc[0] for one in symptoms.raft.members),
            symptoms.servers,
            symptoms.listening,
        ),
        *capacity_findings(symptoms.settings, symptoms.servers),
        *standing_findings(symptoms.servers, symptoms.blocked_jobs),
        *_chunks(symptoms),
        *_repair_held(symptoms),
        *_scrub(symptoms),
        *garbage_findings(symptoms.garbage_held, symptoms.garbage_more),
        *_space(symptoms),
        *_mistakes(symptoms),
        *planner_findings(symptoms.planner_faults, symptoms.now_s),
        *_settings(symptoms),
        *certificate_findings(symptoms.tls, symptoms.wall_ns // 1_000_000),
    ]
    found.sort(key=lambda finding: finding.severity != ERROR)
    healthy = all(finding.severity != ERROR for finding in found)
    return HealthReport(healthy, tuple(found))


def _states(symptoms: Symptoms) -> list[Finding]:
    """What the newest comparison of the masters' states found."""
    check = symptoms.state_check
    if check is None:
        return []
    if check.differing and not check.value:
        return [
            Finding(
                "STATES_DIFFER",
                ERROR,
                f"the states of {', '.join(check.differing)} differ at log index {check.index} and"
                " no majority has the same: which one is right cannot be told",
                "bring the missing masters back and run gfsctl admin masters verify-state; until"
                " then change nothing that you cannot lose, and keep all directories",
                facts=(
                    ("compared at log index", str(check.index)),
                    ("differ", ", ".join(check.differing)),
                    ("did not answer", ", ".join(check.missing) or "none"),
                ),
            )
        ]
    return [
        Finding(
            "MASTER_DIVERGED",
            ERROR,
            f"master {name} does not have the state of the majority and takes itself out",
            f"keep the other masters alive and look at the disk of {name}; it is replaced with an"
            " empty directory, not started again from this one",
            subject=name,
            facts=(("compared at log index", str(check.index)), ("equal", ", ".join(check.agreed))),
        )
        for name in check.diverged
    ]


def _chunks(symptoms: Symptoms) -> list[Finding]:
    found = []
    if symptoms.under_count:
        found.append(_under(symptoms))
    if symptoms.repair is not None and symptoms.repair.lost_count:
        found.append(
            Finding(
                "CHUNKS_LOST",
                ERROR,
                f"{_counted(symptoms.repair.lost_count)} without any good copy",
                "bring back the servers and disks that had them: gfsctl admin repair queue",
            )
        )
    if symptoms.blocked:
        named = _named(symptoms.blocked)
        found.append(
            Finding(
                "CHUNKS_BLOCKED",
                ERROR,
                f"{_counted(len(symptoms.blocked))} cannot be sealed: {named}",
                "bring the named servers back",
            )
        )
    if symptoms.damaged:
        found.append(
            Finding(
                "REPLICAS_DAMAGED",
                ERROR,
                f"{_counted(len(symptoms.damaged))} with trouble on a replica: "
                f"{_named(symptoms.damaged)}",
                "other copies are made by themselves and these dropped then (gfsctl admin repair"
                " status); look at the disks of the named servers",
            )
        )
    return found


def _under(symptoms: Symptoms) -> Finding:
    """Return what is said of chunks below their goal: who sees to them, repair or a person."""
    at_least = "at least " if symptoms.under_more else ""
    said = f"{at_least}{_counted(symptoms.under_count)} with fewer live copies than the goal"
    repair = symptoms.repair
    advice = (
        "they are copied by themselves: gfsctl admin repair status tells how far and what waits"
        " (gfsctl admin chunks ls --under lists them)"
    )
    if repair is None or not repair.unplaced_copies:
        return Finding(
            *("CHUNKS_UNDER", ERROR, f"{said}{_under_way(symptoms)}", advice),
            facts=_repair_facts(symptoms),
        )
    copies = "1 copy" if repair.unplaced_copies == 1 else f"{repair.unplaced_copies} copies"
    beyond = f"no server is left that can take {copies} of {_counted(repair.unplaced_count)}"
    said = f"{said}; {beyond}{_wishes(repair)}"
    ways = ", or ".join(repair.ways)
    if repair.copy_count == repair.unplaced_copies and not repair.copying:
        advice = f"{ways}; nothing else brings them to their goal (gfsctl admin repair queue)"
    else:
        said += _under_way(symptoms)
        advice = f"{ways}; the others are copied by themselves (gfsctl admin repair status)"
    return Finding("CHUNKS_UNDER", ERROR, said, advice, facts=_repair_facts(symptoms))


def _wishes(repair: RepairReport) -> str:
    """Return which files want more copies than servers can hold, the first few by name."""
    files: dict[tuple[int, int], dict[str, None]] = {}
    for row in repair.unplaced:
        if row.path:
            files.setdefault((row.goal, row.possible), {})[row.path] = None
    if not files:
        return ""
    (goal, possible), paths = max(files.items(), key=lambda one: len(one[1]))
    named = list(paths)[:_FILES_NAMED_MAX]
    known = [row.path for row in repair.unplaced if row.path]
    more = len(set(known)) > len(named) or repair.unplaced_count > len(known)
    wants = "wants" if len(named) == 1 and not more else "want"
    others = " and others" if more else ""
    return f": {', '.join(named)}{others} {wants} {goal}, {possible} are possible now"


def _repair_facts(symptoms: Symptoms) -> tuple[tuple[str, str], ...]:
    repair = symptoms.repair
    if repair is None:
        return ()
    budget = repair.budget
    return (
        ("chunks below their goal", f"{symptoms.under_count:,}"),
        ("copies they lack", f"{repair.copy_count:,}"),
        ("of these, without a server to take them", f"{repair.unplaced_copies:,}"),
        ("bytes to copy", f"{repair.lacking_bytes:,}"),
        ("copies under way", f"{len(repair.copying):,}"),
        ("rate", f"{repair.bytes_per_s:,} bytes/s"),
        ("may take in all", f"{budget.cluster_bytes_per_s:,} bytes/s (0: no limit)"),
        ("is held", repair.hold or "no"),
    )


def _repair_held(symptoms: Symptoms) -> list[Finding]:
    why = held_by(symptoms.repair.budget) if symptoms.repair is not None else ""
    if not why:
        return []
    return [
        Finding(
            "REPAIR_HELD",
            WARNING,
            f"{why}: copies that are lost meanwhile stay so",
            "gfsctl admin repair budget --copies 256 --per-server 2, when the reason is over",
        )
    ]


def _scrub(symptoms: Symptoms) -> list[Finding]:
    if symptoms.scrub is None:
        return []
    return scrub_findings(symptoms.scrub, symptoms.wall_ns // 1_000_000)


def _under_way(symptoms: Symptoms) -> str:
    """Return how far repair is, as it is added to a message."""
    repair = symptoms.repair
    if repair is None:
        return ""
    if repair.hold:
        return f"; repair waits: {repair.hold}"
    copies = "1 copy" if len(repair.copying) == 1 else f"{len(repair.copying)} copies"
    under_way = f"; {copies} under way, {repair.made_count} made by this leader, moves of jobs too"
    silent = ", ".join(one.name for one in symptoms.servers if one.state == "suspect")
    if silent:
        return f"{under_way}; copies of {silent} are made anew only once that counts as dead"
    if not repair.copying or repair.eta_ms < 0:
        return under_way
    return f"{under_way}, about {repair.eta_ms // 1000 + 1} s to go"


def _space(symptoms: Symptoms) -> list[Finding]:
    room = (
        symptoms.disk_free_bytes,
        symptoms.disk_total_bytes,
        symptoms.state_bytes,
        symptoms.map_bytes,
    )
    if symptoms.raft.any_voter_low or space_low(*room):
        return [
            Finding(
                "SPACE_LOW",
                ERROR,
                f"short of room on master {', '.join(short_of_room(symptoms.raft))}:"
                " growing commands are refused",
                "make room on the disk of the metadata store, or raise map_bytes",
                facts=_room_facts(symptoms),
            )
        ]
    if space_low(*room, times=2):
        return [
            Finding(
                "SPACE_LOW",
                WARNING,
                f"the metadata store of {symptoms.raft.member_id} will be short of room soon",
                "make room on its disk, or raise map_bytes",
                facts=_room_facts(symptoms),
            )
        ]
    return []


def _room_facts(symptoms: Symptoms) -> tuple[tuple[str, str], ...]:
    disk = f"{symptoms.disk_free_bytes:,} of {symptoms.disk_total_bytes:,} bytes are free"
    state = f"{symptoms.state_bytes:,} of {symptoms.map_bytes:,} bytes are used"
    return (("leader's disk", disk), ("its map", state))


def _mistakes(symptoms: Symptoms) -> list[Finding]:
    errors = symptoms.internal_errors
    if errors is None or errors.old(symptoms.wall_ns):
        return []
    first, last = _ago(symptoms, errors.first_wall_ns), _ago(symptoms, errors.last_wall_ns)
    return [
        Finding(
            "INTERNAL_ERRORS",
            ERROR,
            f"{errors.count} commands failed by a mistake of ours (the first{first}), the last"
            f"{last} at log index {errors.last_index}: {errors.last_command} "
            f"({errors.last_message})",
            "report it with the masters' logs; nothing was written by these commands; this is "
            "shown for an hour after the last one",
        )
    ]


def _ago(symptoms: Symptoms, at_ns: int) -> str:
    if not at_ns:
        return " at a time that was not written down"
    return f" {max(0, symptoms.wall_ns - at_ns) // (60 * 10**9)} min ago"


def _settings(symptoms: Symptoms) -> list[Finding]:
    settings = symptoms.settings
    if settings is None:
        return []
    told = symptoms.file_settings
    differing = [
        f"{name} is {used}, the file says {said}"
        for name, used, said in (
            ("chunk_size", settings.chunk_bytes, told.chunk_bytes),
            ("goal", settings.goal, told.goal),
            ("min_copies", settings.min_copies, told.min_copies),
            ("placement", settings.rule, told.placement),
        )
        if used != said
    ]
    if not differing:
        return []
    return [
        Finding(
            "SETTINGS_DIFFER",
            WARNING,
            "; ".join(differing),
            "the replicated settings count; make the leader's file say the same",
        )
    ]


def _named(things: dict[str, str]) -> str:
    named = [f"{name} ({why})" for name, why in list(things.items())[:_NAMED_MAX]]
    more = len(things) - len(named)
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def _counted(count: int) -> str:
    return "1 chunk" if count == 1 else f"{count} chunks"
