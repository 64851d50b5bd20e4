"""What files that are appended to should be: a tree of plain nodes, and a table of records each."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

Piece = tuple[int, int, int]  # Chunk, offset in it, length.


@dataclass(eq=False)
class Record:
    appender: int
    sequence: int
    window_start: int
    length: int


@dataclass(eq=False)
class OpenChunk:
    chunk_id: int
    records: list[Record] = field(default_factory=list)


@dataclass(eq=False)
class Known:
    """What is known of an appender: {sequence: (file offset, length)}."""

    forgotten_below: int
    window_start: int = 0
    results: dict[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(eq=False)
class File:
    inode_id: int
    content: list[Piece] = field(default_factory=list)
    tail: OpenChunk | None = None
    held_until: int = 0
    # By appender, the longest unused one first.
    table: OrderedDict[int, Known] = field(default_factory=OrderedDict)
    horizon: int = 0
    sealed: list[tuple[int, int]] = field(default_factory=list)  # All that was ever appended.

    @property
    def size(self) -> int:
        return sum(length for _, _, length in self.content)

    def seal(
        self, count: int, appenders_max: int, living: set[int]
    ) -> tuple[int, list[tuple[Record, int]]]:
        """End the tail after `count` records; return its length, and the told (record, offset)."""
        assert self.tail is not None
        chunk_id, kept = self.tail.chunk_id, self.tail.records[:count]
        self.tail = None
        newest: dict[int, int] = {}
        for record in kept:
            newest[record.appender] = max(newest.get(record.appender, 0), record.window_start)
        begin, offset, told = self.size, 0, []
        for record in kept:
            if record.sequence >= newest[record.appender]:
                told.append((record, offset))
            self.sealed.append((record.appender, record.sequence))
            offset += record.length
        if offset:
            self.content.append((chunk_id, 0, offset))
        told.sort(key=lambda one: (one[0].appender, one[0].sequence))
        if offset:
            for appender in [one for one in self.table if one not in living]:
                del self.table[appender]
        horizon = self.horizon
        for record, at in told:
            if record.appender not in living:
                continue
            known = self.table.pop(record.appender, None)
            if known is None:
                known = Known(0 if record.appender > horizon else record.sequence)
            start = known.window_start = max(known.window_start, newest[record.appender])
            known.results[record.sequence] = (begin + at, record.length)
            known.results = {one: at for one, at in known.results.items() if one >= start}
            self.table[record.appender] = known
        while len(self.table) > appenders_max:
            self.horizon = max(self.horizon, self.table.popitem(last=False)[0])
        return offset, told


@dataclass(eq=False)
class Directory:
    inode_id: int
    children: dict[str, Node] = field(default_factory=dict)
    held_until: int = 0


Node = File | Directory


def tails_below(node: Node) -> list[File]:
    if isinstance(node, File):
        return [node] if node.tail else []
    return [one for child in node.children.values() for one in tails_below(child)]


class Tree:
    """Names and nodes; each change returns the error that it should meet, or nothing."""

    def __init__(self) -> None:
        self.root = Directory(1)

    def way(self, path: str) -> tuple[str, list[Directory], str]:
        """Return (error, the directories from the root to the parent, the last name)."""
        *above, name = path[1:].split("/")
        trail = [self.root]
        for step in above:
            node = trail[-1].children.get(step)
            if node is None:
                return "NotFound", trail, name
            if isinstance(node, File):
                return "NotADirectory", trail, name
            trail.append(node)
        return "", trail, name

    def find(self, path: str) -> Node | None:
        error, trail, name = self.way(path)
        return None if error else trail[-1].children.get(name)

    def paths(self) -> dict[str, Node]:
        found: dict[str, Node] = {}
        todo: list[tuple[str, Directory]] = [("", self.root)]
        while todo:
            above, directory = todo.pop()
            for name, node in directory.children.items():
                found[f"{above}/{name}"] = node
                if isinstance(node, Directory):
                    todo.append((f"{above}/{name}", node))
        return found

    def files(self) -> dict[str, File]:
        return {path: node for path, node in self.paths().items() if isinstance(node, File)}

    def open_tail(self, path: str, now_ms: int) -> str:
        error, trail, name = self.way(path)
        node = trail[-1].children.get(name)
        assert not error and isinstance(node, File)
        if node.tail:
            return "StaleCommand"
        return "Held" if any(now_ms < one.held_until for one in [*trail, node]) else ""

    def publish(self, path: str) -> str:
        error, trail, name = self.way(path)
        node = trail[-1].children.get(name)
        if error or node is None:
            return error
        if isinstance(node, Directory):
            return "IsADirectory"
        return self._take(node)

    def copy(self, path: str) -> str:
        error, trail, name = self.way(path)
        node = trail[-1].children.get(name)
        if error or node is None:
            return error or "NotFound"
        if isinstance(node, Directory):
            return "IsADirectory"
        return self._take(node)

    def remove(self, path: str, recursive: bool) -> str:
        error, trail, name = self.way(path)
        node = trail[-1].children.get(name)
        if error or node is None:
            return error or "NotFound"
        if isinstance(node, Directory) and node.children and not recursive:
            return "DirectoryNotEmpty"
        error = self._take(node)
        if not error:
            del trail[-1].children[name]
        return error

    def rename(self, source: str, target: str, now_ms: int) -> str:
        error, old_trail, old_name = self.way(source)
        moved = old_trail[-1].children.get(old_name)
        if error or moved is None:
            return error or "NotFound"
        error, trail, name = self.way(target)
        if error:
            return error
        if moved in trail:
            return "InvalidArgument"
        there = trail[-1].children.get(name)
        if there is moved:
            return ""
        if there is not None:
            error = self._replace(moved, there)
            if error:
                return error
        if tails_below(moved) and any(now_ms < one.held_until for one in trail):
            return "Held"
        del old_trail[-1].children[old_name]
        trail[-1].children[name] = moved
        return ""

    def _replace(self, moved: Node, there: Node) -> str:
        if isinstance(there, Directory):
            if isinstance(moved, File):
                return "IsADirectory"
            return "DirectoryNotEmpty" if there.children else ""
        if isinstance(moved, Directory):
            return "NotADirectory"
        return "Held" if there.tail else ""

    def _take(self, node: Node) -> str:
        if tails_below(node):
            return "Held"
        node.held_until = 0
        return ""
