"""Jobs as operators handle them: listed, looked at, paused, ended, waited for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from gfs_ha.client.account import own_account
from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.errors import UsageError
from gfs_ha.protocol.jobs import (
    FINAL,
    ChangeJob,
    GetJob,
    GetJobLog,
    JobEvent,
    JobLog,
    JobReport,
    JobRow,
    ListJobs,
    job_number,
)
from gfs_ha.runtime import Runtime

PAGE = 100
LOOK_S = 0.5


class Jobs:
    """The jobs of a cluster. Thread-safe. Raises: NoLeader…"""

    def __init__(self, calls: ClusterCalls) -> None:
        self._calls = calls

    def all(self, kinds: Collection[str] = (), running: bool = False) -> Iterator[JobRow]:
        """Yield the jobs, the newest first, page by page; `running`: that have not ended."""
        below = 0
        while True:
            asked = ListJobs(below, PAGE, tuple(kinds), running)
            page = self._calls.ask(asked, JobReport)
            yield from page.items
            if not page.more or not page.items:
                return
            below = number_of(page.items[-1].id)

    def get(self, number: int) -> JobRow:
        """Return a job with its blockers. Raises: NotFound."""
        return self._calls.ask(GetJob(number), JobReport).items[0]

    def log(self, number: int, after: int = 0) -> list[JobEvent]:
        """Return what happened to a job after event `after`, oldest first. Raises: NotFound."""
        found: list[JobEvent] = []
        while True:
            page = self._calls.ask(GetJobLog(number, after), JobLog)
            found += page.items
            if not page.items:
                return found
            after = page.items[-1].number

    def change(self, number: int, action: str, asked_by: str) -> JobRow:
        """Let a job pause, go on, or end for good; return it. Raises: NotFound, WrongState."""
        return self._calls.ask(ChangeJob(number, action, asked_by), JobReport).items[0]

    def wait(
        self,
        number: int,
        runtime: Runtime,
        on_look: Callable[[JobRow], object] = lambda row: None,
    ) -> JobRow:
        """Return a job once it has ended, looking at it again and again; it goes on in any case.

        Raises: NotFound; NoLeader when there is none for longer than the timeout.
        """
        while True:
            row = self.get(number)
            on_look(row)
            if row.phase in FINAL:
                return row
            runtime.sleep(LOOK_S)


def own_name(machine: str) -> str:
    """Return who asks, as the log of a job names him."""
    return f"{own_account()[0]}@{machine}"


def number_of(text: str) -> int:
    """Return the number of a job, as `r-19` or `19`. Raises: UsageError."""
    number = job_number(text)
    if number is None and text.isascii() and text.isdigit() and 0 < int(text) < 10**18:
        number = int(text)
    if number is None:
        raise UsageError(f"{text!r} is no job; jobs are named like r-19: gfsctl admin jobs ls")
    return number
