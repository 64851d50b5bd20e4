"""What one run of a whole simulated cluster did, in numbers."""

from __future__ import annotations

import msgspec


class ClusterReport(msgspec.Struct):
    """What one run did."""

    seed: int
    violation: str | None
    simulated_s: float
    operations: int
    acked: int  # Changes of files and records.
    failed: int
    unknown: int
    undecided: int  # None: all that is read is judged.
    bytes_put: int
    records: int
    faults: int
    copies: int
    bytes_copied: int
    bytes_least: int  # That had to be copied.
    bytes_away: int  # On dead servers, for as long as nobody could know that they come back.
    rest_s: float  # From the last fault to rest.
    terms: int
    disk_faults: dict[str, int]  # Of machines with several disks: what they were.
    jobs: dict[str, int]  # That an operator began, and those that ended with all done.
    events: int
    digest: str
