"""What clients saw: each operation with its call, its answer, or that its outcome is not known."""

from __future__ import annotations

from dataclasses import dataclass, field

from gfs_ha.protocol.calls import AsOf

# Kinds of operations on names. A tag tells one put from another: it is stored as the file's mtime.
PUT, CREATE, DELETE, RENAME, STAT = "put", "create", "delete", "rename", "stat"
READS = frozenset({STAT})

# Answers other than a tag.
OK = "ok"
ABSENT = "NotFound"
PRESENT = "AlreadyExists"


@dataclass(slots=True)
class Operation:
    """One request of a client. Without `returned_s` its outcome is unknown: it may take effect at
    any later time, or never.
    """

    client: str
    kind: str
    name: str
    target: str = ""  # Of a rename.
    tag: int = 0  # Of a put.
    replace: bool = True  # Of a rename.
    called_s: float = 0.0
    returned_s: float | None = None
    answer: str | int = ""
    as_of: AsOf | None = None  # Of a read that any master may answer.

    @property
    def group(self) -> str:
        """Return which names it belongs to: operations on different ones are independent."""
        return self.name.split(".")[0]

    def __str__(self) -> str:
        what = f"{self.kind} {self.name}"
        if self.kind == RENAME:
            what += f" -> {self.target}" + ("" if self.replace else " if absent")
        elif self.kind in (PUT, CREATE):
            what += f" = {self.tag}"
        end = "?" if self.returned_s is None else f"{self.returned_s - 1000:.4f} {self.answer}"
        as_of = self.as_of
        if as_of is not None:
            degraded = " degraded" if as_of.degraded else ""
            what += f" at {as_of.index} of {as_of.master}, {as_of.age_ms} ms old{degraded}"
        return f"{self.client} [{self.called_s - 1000:.4f}, {end}] {what}"


@dataclass(slots=True)
class History:
    """All operations of a run that have, or may have had, an effect or an answer.

    Answers from the past are only counted: each is judged by itself, by the moment that it names.
    """

    operations: list[Operation] = field(default_factory=list)
    unknown_count: int = 0
    dated_count: int = 0  # Answers that any master could give.
    past_count: int = 0  # Of them those from the past.

    def add(self, operation: Operation) -> None:
        if operation.as_of is not None:
            self.dated_count += 1
            if operation.as_of.age_ms:
                self.past_count += 1
                return
        self.operations.append(operation)
        if operation.returned_s is None:
            self.unknown_count += 1

    def groups(self) -> dict[str, list[Operation]]:
        """Return the operations by the names that they are about."""
        found: dict[str, list[Operation]] = {}
        for operation in self.operations:
            found.setdefault(operation.group, []).append(operation)
        return found
