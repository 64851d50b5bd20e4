"""The names that could be meant: on this machine, and of the cluster if it answers at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import TypeVar

from gfs_ha.cli.addressed import Addressed
from gfs_ha.cli.complete import words
from gfs_ha.cli.complete.shells import CANDIDATES_MAX, Candidate
from gfs_ha.cli.names import SCHEME
from gfs_ha.cli.options import Options
from gfs_ha.errors import DeadlineExceeded, NoLeader
from gfs_ha.ids import ChunkId, format_id
from gfs_ha.protocol.calls import Asked, Reply, Request
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.metadata import DIRECTORY, ListDirectory, Listing

TIMEOUT_S = 0.8  # Who waits for a word longer types it; GFS_COMPLETION_TIMEOUT says otherwise.
_TIMEOUT_MAX_S = 60.0
_ENTRIES_MAX = 100_000  # Of a local directory that are looked at.
_CHUNK_DIGITS_MAX = 4

T = TypeVar("T")


def look_up(kind: str, options: Options, text: str) -> Sequence[Candidate]:
    """Return the names of a kind that begin with a text. Raises: GfsError, OSError."""
    if kind == words.LOCAL:
        return list(local_names(text))
    if kind == words.RELATIVE:
        return [] if text.startswith(("/", SCHEME)) else list(local_names(text))
    if kind == words.CONTEXT:
        from gfs_ha.contexts import read_contexts

        known = read_contexts(os.environ).files
        return [Candidate(name, str(path)) for name, path in known.items() if name.startswith(text)]
    if kind == words.CODE:
        return [Candidate(code) for code in _codes() if code.startswith(text)]
    if kind == words.FINDING:
        from gfs_ha.protocol.findings import FINDING_CODES

        return [Candidate(code) for code in sorted(FINDING_CODES) if code.startswith(text)]
    if kind == words.RULE:
        from gfs_ha.master.rules import RULE_TEXTS

        return [Candidate(name, why) for name, why in RULE_TEXTS.items() if name.startswith(text)]
    return _Masters(options).names(kind, text)[:CANDIDATES_MAX] if _fits(kind, text) else []


def _fits(kind: str, text: str) -> bool:
    """Return whether a name of a kind can begin so: else nobody has to be asked."""
    if kind == words.REMOTE:
        return text.startswith("/") or SCHEME.startswith(text[: len(SCHEME)])
    if kind == words.CHUNK:
        return text[:2] in ("", "0", "0x")
    if kind == words.JOB:
        return re.fullmatch(r"([a-z](-\d*)?)?", text, re.ASCII) is not None
    return not text.startswith("/")


def local_names(text: str) -> Iterator[Candidate]:
    """Yield the files and directories of this machine that begin with a text."""
    above, name = os.path.split(text)
    kept = text[: len(text) - len(name)]
    found: list[str] = []
    with os.scandir(os.path.expanduser(above) or ".") as entries:
        for count, entry in enumerate(entries):
            if count >= _ENTRIES_MAX:
                break
            if entry.name.startswith(name) and (name or not entry.name.startswith(".")):
                found.append(entry.name + ("/" if entry.is_dir() else ""))
    yield from (Candidate(kept + one) for one in sorted(found))


def below(text: str) -> str:
    """Return a name that comes right before all that begin with a text, in the order of bytes."""
    if not text:
        return ""
    before = ord(text[-1]) - 1
    if before in range(0xD800, 0xE000):
        before = 0xD7FF
    return text[:-1] + (f"{chr(before)}\U0010ffff" if before else "")


class _Masters:
    """One short question to any master that answers."""

    def __init__(self, options: Options) -> None:
        self._addressed = Addressed(options, os.environ)

    def names(self, kind: str, text: str) -> list[Candidate]:
        if kind == words.REMOTE:
            return self._paths(text)
        if kind == words.CHUNK:
            return self._chunks(text)
        found = list(self._disks(text) if kind == words.DISK else self._others(kind))
        if kind != words.JOB:  # Those come with the newest first.
            found.sort(key=_by_number)
        return [one for one in found if one.value.startswith(text)]

    def _paths(self, text: str) -> list[Candidate]:
        if not text:
            return [Candidate("/")]
        if not text.startswith("/") and "/" not in text[len(SCHEME) :]:
            return self._clusters(text)
        above, slash, name = text.rpartition("/")
        directory = self._addressed.remote_path(above + slash)
        request = ListDirectory(directory.rstrip("/") or "/", below(name), CANDIDATES_MAX)
        (listing,) = self._ask([request], anywhere=True)
        assert isinstance(listing, Listing), listing
        return [
            Candidate(f"{above}/{one.name}{'/' if one.status.kind == DIRECTORY else ''}")
            for one in listing.entries
            if one.name.startswith(name)
        ]

    def _clusters(self, text: str) -> list[Candidate]:
        from gfs_ha.contexts import read_contexts

        names = [*read_contexts(os.environ).files, self._addressed.config.cluster.name]
        found = dict.fromkeys(f"{SCHEME}{name}/" for name in names)
        return [Candidate(one) for one in found if one.startswith(text)]

    def _chunks(self, text: str) -> list[Candidate]:
        from gfs_ha.protocol.reports import ChunkReport, GetChunks

        # Ids have no order as texts: those with no digit more, with one more, with two...
        starts = [0]
        if digits := text[2:]:
            try:
                starts = [int(digits + "0" * more, 16) for more in range(_CHUNK_DIGITS_MAX)]
            except ValueError:
                return []
        asked: list[Request] = [
            GetChunks(after=ChunkId(max(0, start - 1)), limit=CANDIDATES_MAX // len(starts))
            for start in starts
            if start < 1 << 64
        ]
        found: dict[str, Candidate] = {}
        for reply in self._ask(asked):
            assert isinstance(reply, ChunkReport), reply
            for row in reply.items:
                value = format_id(row.chunk_id)
                if value.startswith(text):
                    found[value] = Candidate(value, f"{row.state}, {row.copies} of {row.goal}")
        return list(found.values())

    def _others(self, kind: str) -> Iterator[Candidate]:
        from gfs_ha.protocol.jobs import JobReport, ListJobs
        from gfs_ha.protocol.reports import GetServers, ServerReport

        if kind in (words.MASTER, words.MEMBER):
            for one in self._addressed.config.cluster.masters:
                yield Candidate(one.name, f"{one.host}:{one.port}")
        if kind == words.JOB:
            (jobs,) = self._ask([ListJobs(limit=CANDIDATES_MAX)])
            assert isinstance(jobs, JobReport), jobs
            for job in jobs.items:
                yield Candidate(job.id, f"{job.kind}, {job.phase}")
        if kind in (words.SERVER, words.MEMBER, words.RACK):
            (servers,) = self._ask([GetServers()])
            assert isinstance(servers, ServerReport), servers
            racks = {row.rack: Candidate(row.rack) for row in servers.items}
            rows = (Candidate(row.name, f"{row.rack}, {row.state}") for row in servers.items)
            yield from racks.values() if kind == words.RACK else rows

    def _disks(self, text: str) -> Iterator[Candidate]:
        """Yield disks in the way that a text begins to name one: by id alone, by directory."""
        from gfs_ha.protocol.disks import DisksListed, ListDisks

        (listed,) = self._ask([ListDisks()])
        assert isinstance(listed, DisksListed), listed
        for row in listed.items:
            shown = format_id(row.disk_id)
            place = f"{row.server}:{row.directory}" if row.directory else ""
            if text.startswith("0x"):
                name, meaning = shown, place or row.server
            elif ":/" in text:
                name, meaning = place, shown
            else:
                name, meaning = f"{row.server}:{shown}", row.directory or row.rack
            yield Candidate(name, f"{meaning}, {row.state}")

    def _ask(self, requests: Sequence[Request], anywhere: bool = False) -> list[Reply]:
        """Return the answers. Raises: what keeps the masters from answering; soon."""
        from gfs_ha.client.cluster import ClusterCalls
        from gfs_ha.client.consistency import consistency_of
        from gfs_ha.net.entry import enter_as_person
        from gfs_ha.net.leader import LeaderLink
        from gfs_ha.runtime import ThreadedRuntime

        config = self._addressed.config
        runtime = ThreadedRuntime()
        entry = enter_as_person(config, f"completion:{os.getpid()}", runtime)
        link = LeaderLink(config.cluster.masters, entry.network, entry.hello, runtime)
        half_s = _timeout_s() / 2
        calls = ClusterCalls(link, runtime, half_s if anywhere else 2 * half_s)
        asked = [Asked(request) for request in requests]
        try:
            replies = calls.read_all(asked)
        except (NoLeader, DeadlineExceeded):
            if not anywhere:
                raise
            # Without a leader names as any master has them are better than none.
            replies = calls.beside(consistency_of("local"), half_s).read_all(asked)
        finally:
            calls.close()
        for reply in replies:
            if isinstance(reply, Failure):
                raise reply.raised()
        return list(replies)


def _timeout_s() -> float:
    try:
        wanted_s = float(os.environ.get("GFS_COMPLETION_TIMEOUT") or TIMEOUT_S)
    except ValueError:
        return TIMEOUT_S
    return min(wanted_s, _TIMEOUT_MAX_S) if wanted_s > 0 else TIMEOUT_S


def _by_number(one: Candidate) -> tuple[str | int, ...]:
    """Return what sorts cs2 before cs10."""
    parts = re.split(r"(\d+)", one.value)
    return tuple(int(part) if at % 2 else part for at, part in enumerate(parts))


def _codes() -> list[str]:
    from gfs_ha.cli.runbooks import runbooks

    return sorted({code for _, code in runbooks()})
