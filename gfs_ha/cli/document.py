"""Reports as JSON: the very same report, ids as `0x…` strings, sizes in bytes, times in ms."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from gfs_ha.cli.options import JSONL
from gfs_ha.errors import GfsError
from gfs_ha.ids import (
    ChunkId,
    ContentId,
    DiskId,
    Epoch,
    InodeId,
    ServerId,
    SessionId,
    StartId,
    format_id,
)
from gfs_ha.protocol.reports import MasterReport

API = "gfs/v1"

Plain = Callable[[Any], Any]
_IDS = (ChunkId, ContentId, DiskId, InodeId, ServerId, SessionId, StartId)


def document(kind: str, items: list[Any], meta: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the stable JSON form of a report; `more` are facts of the report beside its items."""
    return {"api": API, "kind": kind, "items": items, **more, "meta": meta}


def report_document(report: msgspec.Struct, meta: dict[str, Any]) -> dict[str, Any]:
    """Return a report of the protocol as JSON shows it: `-List` kinds have items, others are one.

    The leader and the index that the report itself names win over what was known before.
    """
    found = plain(report)
    kind = _KINDS.get(type(report).__name__, type(report).__name__)
    meta = meta | {
        key: found[field]
        for key, field in (("leader", "leader"), ("index", "applied_index"))
        if field in found
    }
    if isinstance(report, MasterReport):
        led = (row.facts for row in report.items if row.facts and row.facts.role == "leader")
        meta["index"] = next((facts.applied_index for facts in led), None)
    if kind in _SINGLE:
        return document(kind, [found], meta)
    items = found.pop("items")
    return document(kind, items, meta, **found)


def plain(word: msgspec.Struct) -> dict[str, Any]:
    """Return a Struct as JSON shows it."""
    return {name: convert(getattr(word, field)) for field, name, convert in _fields(type(word))}


def json_bytes(value: object, output: str) -> bytes:
    """Return one value as JSON: indented for people, or on one line for `jsonl`."""
    line = msgspec.json.encode(value)
    return (line if output == JSONL else msgspec.json.format(line, indent=2)) + b"\n"


_KINDS = {
    "MasterReport": "MasterList",
    "ServerReport": "ChunkserverList",
    "ChunkReport": "ChunkList",
    "ChunkDetails": "ChunkDetailList",
    "PlacementReport": "Placement",
    "PolicyReport": "Policy",
    "HealthReport": "Health",
    "StatusReport": "Status",
    "LeadershipReport": "Leadership",
    "RepairReport": "Repair",
    "GarbageReport": "Garbage",
    "RepairBudgetReport": "RepairBudget",
    "OneMaster": "Master",
    "ChunkserverReport": "Chunkserver",
    "DiskReport": "DiskList",
    "DiskGuide": "DiskReplacement",
    "ScrubReport": "ScrubList",
    "ScrubBudgetReport": "ScrubBudget",
    "StateReport": "StateCheck",
    "UsageReport": "UsageList",
    "LiveReport": "Live",
    "JobReport": "JobList",
    "EventReport": "EventList",
    "MuteReport": "MuteList",
    "OneJob": "JobList",
    "JobHistory": "JobList",
}
_SINGLE = {
    "Explanation",
    "Runbook",
    "Status",
    "Live",
    "Leadership",
    "Repair",
    "RepairBudget",
    "ScrubBudget",
    "Garbage",
    "Policy",
    "PlacementExplained",
    "NewPlacementExplained",
    "LossPlan",
    "Chunkserver",
}


@lru_cache(maxsize=256)
def _fields(kind: type[msgspec.Struct]) -> tuple[tuple[str, str, Plain], ...]:
    return tuple(_field(name, hint) for name, hint in get_type_hints(kind).items())


def _field(name: str, hint: Any) -> tuple[str, str, Plain]:
    if name.endswith("_ns"):
        return name, f"{name[:-3]}_ms", lambda value: value if value is None else value // 1_000_000
    if name.endswith("_us"):
        return name, f"{name[:-3]}_ms", lambda value: value if value is None else value / 1000
    if name == "mode" and hint is int:
        return name, name, lambda value: f"{value:04o}"
    if name == "claimed_by":
        return name, name, lambda value: format_id(value) if value else None
    return name, name, _converter(hint)


def _converter(hint: Any) -> Plain:
    if hint in _IDS:
        return format_id
    if hint is Epoch:
        return str
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return plain
    arguments = [one for one in get_args(hint) if one not in (type(None), Ellipsis)]
    origin = get_origin(hint)
    if origin in (Union, types.UnionType) and len(arguments) == 1:
        inner = _converter(arguments[0])
        return lambda value: None if value is None else inner(value)
    if origin in (tuple, list) and len(arguments) == 1:
        inner = _converter(arguments[0])
        return lambda values: [inner(value) for value in values]
    return lambda value: value


def streamed(
    kind: str, items: Iterator[Any], after: Callable[[], dict[str, Any]]
) -> Iterator[bytes]:
    """Return a document in pieces, so that a million items are never held at once.

    It begins with the first item. When an item fails after others, the document still ends whole,
    with `"complete": false`. Args: `after` gives what follows the items, `meta` last.
    """
    begun = False
    head = b'{\n  "api": ' + msgspec.json.encode(API)
    head += b',\n  "kind": ' + msgspec.json.encode(kind) + b',\n  "items": ['
    between = head + b"\n    "
    try:
        for item in items:
            yield between + msgspec.json.encode(item)
            begun, between = True, b",\n    "
    except GfsError:
        if begun:
            yield b'\n  ],\n  "complete": false\n}\n'
        raise
    yield b"\n  ]" if begun else head + b"\n  ]"
    for key, value in after().items():
        yield b",\n  " + msgspec.json.encode(key) + b": " + msgspec.json.encode(value)
    yield b"\n}\n"
