"""Counts and tells the calls that a master answers: for whom, which kind, below which directory."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from gfs_ha.ids import TraceId
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.request_lines import CallLines
from gfs_ha.protocol.calls import CallBody
from gfs_ha.protocol.codec import Hello
from gfs_ha.protocol.extents import ReplaceContent
from gfs_ha.protocol.metadata import Publish, Rename
from gfs_ha.protocol.usage import UNNAMED, clean_label, path_prefix


class CallMeter:
    """What one call is counted as, once it is answered; each request took as long as the call."""

    def __init__(self, desk: Desk, client: str, asked: CallBody, trace_id: TraceId) -> None:
        self._calls = desk.calls
        self._usage = desk.usage
        self._client = client
        self._asked = asked
        self._lengths: dict[int, int] = {}
        requests = desk.requests
        self._lines = None if requests is None else CallLines(requests, client, trace_id, asked)

    def concerns(self, position: int, length: int) -> None:
        """Note of how many bytes of files one request is; it may say less than the request did."""
        self._lengths[position] = length

    def answered(self, position: int, reply: bytes, failed: bool) -> None:
        """Hear the encoded reply to one request; one that failed concerns no bytes."""
        if failed:
            self._lengths[position] = 0
        if self._lines is not None:
            self._lines.answered(position, reply, failed)

    def note(self, length: int, took_s: float) -> None:
        """Count the call, and tell of it. Thread-safe; once."""
        if self._lines is not None:
            self._lines.note(took_s)
        self._calls.note(length, took_s)
        kinds: dict[type, int] = {}
        named = []
        for position, one in enumerate(self._asked):
            kind = type(one.request)
            kinds[kind] = kinds.get(kind, 0) + 1
            for path, size in _named(one.request):
                named.append((path_prefix(path), self._lengths.get(position, size)))
        for kind, count in kinds.items():
            self._usage.note(self._client, _tag(kind), 0, took_s, count)
        if named:
            self._usage.note_paths(named, took_s)


def client_of(identity: object) -> str:
    """Return what a peer is called that said hello."""
    return _shown(identity.role, identity.name) if isinstance(identity, Hello) else UNNAMED


@lru_cache(maxsize=1024)
def _shown(role: str, name: str) -> str:
    label = clean_label(name)
    return label if role == "client" else clean_label(f"{role} {label}")


@lru_cache(maxsize=256)
def _tag(kind: type[Any]) -> str:
    return str(kind.__struct_config__.tag)


def _named(request: Any) -> list[tuple[str, int]]:
    """Return the paths that a request names, each with the bytes that are published there."""
    kind = type(request)
    if kind is Publish:
        return [(one.path, one.size) for one in request.files]
    if kind is Rename:
        return [(request.source, 0)]
    path = getattr(request, "path", None)
    if not isinstance(path, str):
        return []
    return [(path, request.size if kind is ReplaceContent else 0)]
