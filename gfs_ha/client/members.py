"""Adding, replacing and removing masters, step by step: each step is replicated by itself, so that
who is interrupted begins again and goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator

from gfs_ha.client.cluster import ClusterCalls, expect
from gfs_ha.config import MasterAddress
from gfs_ha.errors import (
    AlreadyExists,
    Busy,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    NotReady,
)
from gfs_ha.protocol.calls import Asked, Request
from gfs_ha.protocol.reports import (
    AddMaster,
    AdmitMaster,
    GetMasters,
    GetStatus,
    LeadershipReport,
    MasterReport,
    MasterRow,
    MembersReport,
    RemoveMaster,
    StatusReport,
    TransferLeadership,
)
from gfs_ha.runtime import Runtime

_LOOK_S = 0.2
_STEP_TRIES = 50  # A leader that is new, or a change that is not committed yet, is waited for.


class MasterMembers:
    """Changes who the masters are. Every method yields what it does, one line a step."""

    def __init__(self, calls: ClusterCalls, runtime: Runtime, timeout_s: float) -> None:
        self._calls = calls
        self._runtime = runtime
        self._timeout_s = timeout_s

    def add(self, master: MasterAddress) -> Iterator[str]:
        """Add a master that runs on an empty directory, and let it vote once it is caught up.

        Raises: AlreadyExists (it votes already), NotReady, DeadlineExceeded (not caught up in time;
        it stays a learner, and the same again goes on).
        """
        if master.port == master.raft_port:
            raise InvalidArgument(
                f"{master.name} needs two different ports, not {master.port} twice"
            )
        row = self._row(master.name)
        if row is not None and row.voter:
            raise AlreadyExists(f"{master.name} is a master already, and votes")
        if row is not None and (row.host, row.port) != (master.host, master.port):
            raise AlreadyExists(
                f"{master.name} is to be at {row.host}:{row.port}; to give another address, first"
                f" `gfsctl admin masters remove {master.name}`"
            )
        if row is None:
            word = AddMaster(master.name, master.host, master.port, master.raft_port)
            self._step(word, done=AlreadyExists)
            yield f"{master.name} receives the log"
        yield from self._catch_up(master.name)
        self._step(AdmitMaster(master.name), done=AlreadyExists)
        yield f"{master.name} votes"

    def replace(self, old: str, master: MasterAddress) -> Iterator[str]:
        """Put a new master into the place of an old one, which may be dead.

        Raises: NotFound, AlreadyExists when the new one votes and nothing was broken off.
        """
        if old == master.name:
            raise InvalidArgument(f"{old} cannot be replaced by itself")
        rows = {row.name: row for row in self._calls.ask(GetMasters(), MasterReport).items}
        voters = [name for name, row in rows.items() if row.voter]
        if old not in rows:
            if master.name not in voters:
                raise NotFound(f"there is no master {old!r}; there are {', '.join(rows)}")
            yield f"{old} is out already, and {master.name} votes"
            return
        if master.name not in voters:
            yield from self.add(master)
        elif len(voters) % 2:
            # Between the two halves of a replacement one more votes than before and after.
            raise AlreadyExists(
                f"{master.name} is a master already; to take {old} out:"
                f" `gfsctl admin masters remove {old}`"
            )
        yield from self.remove(old)

    def remove(self, name: str) -> Iterator[str]:
        """Take a master out for good; if it leads, another one leads first."""
        status = self._calls.ask(GetStatus(), StatusReport)
        if self._row(name) is None:
            raise NotFound(f"there is no master {name!r}")
        if status.leader == name:
            asked = Asked(TransferLeadership("", status.leader, status.term))
            replies = self._calls.settle((asked,), give_up=(NotReady,))
            yield f"{expect(replies[0], LeadershipReport).leader} leads now"
        self._step(RemoveMaster(name), done=NotFound)
        yield f"{name} is out"

    def _row(self, name: str) -> MasterRow | None:
        report = self._calls.ask(GetMasters(), MasterReport)
        return next((row for row in report.items if row.name == name), None)

    def _catch_up(self, name: str) -> Iterator[str]:
        end_s = self._runtime.monotonic_s() + self._timeout_s
        told = ""
        while True:
            row = self._row(name)
            if row is not None and row.reachable and row.ready:
                return
            if row is None or not row.reachable:
                text = f"{name} does not answer yet: is it started, on an empty directory?"
            else:
                text = f"{name} lacks {row.lag_entries:,} entries"
            if text != told:
                told = text
                yield text
            if self._runtime.monotonic_s() >= end_s:
                raise DeadlineExceeded(
                    f"{text} (waited {self._timeout_s:.0f} s); the same command again goes on;"
                    f" or `gfsctl admin masters remove {name}` gives up"
                )
            self._runtime.sleep(_LOOK_S)

    def _step(self, request: Request, done: type[Exception]) -> None:
        """Have one change made. `done` is what a repetition is answered after it was made."""
        for attempt in range(_STEP_TRIES):
            try:
                asked = (Asked(request),)
                replies = self._calls.settle(asked, give_up=(NotReady, Busy))
                expect(replies[0], MembersReport)
                return
            except done:
                return  # By us, when the answer was lost; what was there before was looked at.
            except (Busy, NotReady):
                if attempt == _STEP_TRIES - 1:
                    raise
                self._runtime.sleep(_LOOK_S)
