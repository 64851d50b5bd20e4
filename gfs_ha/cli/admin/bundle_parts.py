"""What goes into a support archive: each part by itself, and what cannot be got by its name."""

from __future__ import annotations

import platform
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gfs_ha import __version__
from gfs_ha.cli.admin.bundle_redaction import Redaction
from gfs_ha.cli.admin.log_lines import line_of
from gfs_ha.cli.document import json_bytes, plain, report_document
from gfs_ha.cli.options import JSON
from gfs_ha.cli.session import Session
from gfs_ha.client.logs import AT_ONCE, NodeLines
from gfs_ha.errors import DeadlineExceeded, GfsError, NoLeader, Unreachable
from gfs_ha.limits import MIB, PROTOCOL_VERSION, SCHEMA_VERSION
from gfs_ha.protocol.events import GetEvents
from gfs_ha.protocol.logs import DEBUG, ReadLog
from gfs_ha.protocol.reports import MasterFacts

PART_BYTES_MAX = 8 * MIB  # Of one document.
NODE_LOG_BYTES_MAX = 4 * MIB
BUNDLE_BYTES_MAX = 64 * MIB  # Of all files together, before they are compressed.
EVENTS_MAX = 2_000
JOBS_MAX = 500
LINES_MAX = 20_000  # Of each process; more than it keeps.


@dataclass(slots=True)
class Bundle:
    """The files of an archive by name, and what is missing in it and why."""

    files: dict[str, bytes] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    redaction: Redaction = field(default_factory=Redaction)
    size: int = 0

    def add(self, name: str, content: bytes, limit: int = PART_BYTES_MAX) -> None:
        """Take a file if there is room for it."""
        if len(content) > limit or self.size + len(content) > BUNDLE_BYTES_MAX - MIB:
            self.missing[name] = f"{len(content)} bytes are more than the archive takes"
            return
        self.files[name] = content
        self.size += len(content)

    def manifest(self, cluster_id: str, wall_ms: int) -> bytes:
        """Return what is in it, what is not and why, and how much was taken out."""
        return json_bytes(
            {
                "api": "gfs/v1",
                "kind": "Bundle",
                "cluster": cluster_id,
                "made_ms": wall_ms,
                "version": __version__,
                "protocol": PROTOCOL_VERSION,
                "schema": SCHEMA_VERSION,
                "python": platform.python_version(),
                "system": platform.platform(),
                "files": {name: len(content) for name, content in sorted(self.files.items())},
                "missing": dict(sorted(self.missing.items())),
                "removed": self.redaction.count,
            },
            JSON,
        )


def gather(session: Session, tell: Callable[[str], object]) -> Bundle:
    """Return all that can be got; `tell` hears what is asked for next. Raises: ConfigError."""
    bundle = Bundle()
    tell("configuration")
    _add_configuration(session, bundle)
    tell("masters")
    said = session.operations.master_facts()
    _add_masters(bundle, said)
    leads = any(isinstance(one, MasterFacts) and one.role == "leader" for one in said.values())
    why = "" if leads else "no master leads"
    for name, ask in _documents(session).items():
        if not why:
            tell(name)
            why = _add_document(bundle, name, ask)
        else:
            bundle.missing[f"{name}.json"] = why
    tell("logs")
    _add_logs(session, bundle)
    return bundle


def _add_configuration(session: Session, bundle: Bundle) -> None:
    """Add the file by which the cluster was found, as JSON, without what is secret in it."""
    config = session.config
    try:
        known = tomllib.loads(config.path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        bundle.missing["config.json"] = f"{config.path} cannot be read: {error}"
        return
    bundle.add("config.json", json_bytes(bundle.redaction.value(known), JSON))


def _add_masters(bundle: Bundle, said: dict[str, MasterFacts | GfsError]) -> None:
    told: dict[str, Any] = {}
    for name, facts in said.items():
        if isinstance(facts, GfsError):
            bundle.missing[f"master {name}"] = facts.message
            told[name] = {"error": facts.code, "message": facts.message}
        else:
            told[name] = plain(facts)
    bundle.add("masters.json", json_bytes(bundle.redaction.value(told), JSON))


def _documents(session: Session) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what the leader is asked for, by name."""
    operations = session.operations

    def report(ask: Callable[[], Any]) -> Callable[[], dict[str, Any]]:
        return lambda: report_document(ask(), session.meta)

    def events() -> dict[str, Any]:
        items, last = operations.events.newest(GetEvents(), EVENTS_MAX)
        return {"kind": "EventList", "last": last, "items": [plain(item) for item in items]}

    def jobs() -> dict[str, Any]:
        rows = []
        for row in operations.jobs.all():
            rows.append(plain(row))
            if len(rows) >= JOBS_MAX:
                break
        return {"kind": "JobList", "items": rows}

    return {
        "status": report(operations.status),
        "health": report(operations.health),
        "raft": report(operations.masters),
        "chunkservers": report(operations.servers),
        "disks": report(operations.disks.all),
        "settings": report(lambda: session.cluster.policies.get("/")),
        "repair": report(operations.repair),
        "garbage": report(operations.garbage),
        "scrub": report(operations.scrub),
        "jobs": jobs,
        "events": events,
    }


def _add_document(bundle: Bundle, name: str, ask: Callable[[], dict[str, Any]]) -> str:
    """Add one document; return why further ones need not be asked for, or an empty string."""
    try:
        found = ask()
    except GfsError as error:
        bundle.missing[f"{name}.json"] = f"{error.code}: {error.message}"
        away = isinstance(error, NoLeader | Unreachable | DeadlineExceeded)
        return error.message if away else ""
    bundle.add(f"{name}.json", json_bytes(bundle.redaction.value(found), JSON))
    return ""


def _add_logs(session: Session, bundle: Bundle) -> None:
    """Add the newest lines of every process that answers; of too many the newest."""
    sources, no_servers = session.cluster.logs.sources()
    if no_servers is not None:
        bundle.missing["logs of chunkservers"] = f"{no_servers.code}: {no_servers.message}"
    room = BUNDLE_BYTES_MAX - bundle.size - 2 * MIB
    share = min(NODE_LOG_BYTES_MAX, room // max(1, len(sources)))
    wanted = ReadLog(newest=LINES_MAX, level=DEBUG)
    for start in range(0, len(sources), AT_ONCE):
        for one in session.cluster.logs.read(sources[start : start + AT_ONCE], wanted):
            name = f"logs/{one.source.name}.log"
            if one.error is not None:
                bundle.missing[name] = f"{one.error.code}: {one.error.message}"
            else:
                bundle.add(name, _log_text(one, share, bundle.redaction), share)


def _log_text(node: NodeLines, room: int, redaction: Redaction) -> bytes:
    lines: list[bytes] = []
    for line in reversed(node.lines):
        # Each by itself: what is cut off in one takes nothing of the next.
        text = redaction.text(line_of(node.source.name, line)) + "\n"
        data = text.encode("utf-8", "backslashreplace")
        room -= len(data)
        if room < 0:
            break
        lines.append(data)
    return b"".join(reversed(lines))
