"""What a chunkserver tells those who watch it: disks, what it serves, heartbeats, scrub, repair.

Nothing is counted for it: it looks at what is there when somebody asks.
"""

from __future__ import annotations

from dataclasses import dataclass

from gfs_ha.chunk.copies import Copies
from gfs_ha.chunk.dataport import DataPort
from gfs_ha.chunk.heartbeat import HeartbeatLanes
from gfs_ha.chunk.inventory import StoreInventory
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.metrics.exposition import Samples, counter, gauge, histogram
from gfs_ha.protocol.control import DiskFacts
from gfs_ha.protocol.scrub import ScrubFacts
from gfs_ha.runtime import Runtime

READY_AGE_S = 5.0  # Of the last answer to a heartbeat; the leader parks one for a second at most.

REGISTERED = gauge("gfs_chunkserver_registered", "1 while the leader knows this server, else 0.")
ANSWER_AGE = gauge(
    "gfs_chunkserver_heartbeat_answer_age_seconds",
    "Since a leader last answered a heartbeat; absent before the first answer.",
)
ANSWERED = counter("gfs_chunkserver_heartbeats_total", "Heartbeats that a leader answered.")
UNANSWERED = counter("gfs_chunkserver_heartbeats_failed_total", "Heartbeats without an answer.")
LEASE_LEFT = gauge(
    "gfs_chunkserver_lease_left_seconds", "For how long this server may still order appends."
)
TAILS = gauge("gfs_chunkserver_tails_led", "Ends of files whose appends this server orders.")
DISK_IN_SERVICE = gauge(
    "gfs_chunkserver_disk_in_service",
    "1 for a disk that is in service, 0 for one that is not.",
    "directory",
)
DISK_SIZE = gauge("gfs_chunkserver_disk_size_bytes", "What the server may use.", "directory")
DISK_FREE = gauge("gfs_chunkserver_disk_free_bytes", "Of that, what is free.", "directory")
DISK_CHUNKS = gauge("gfs_chunkserver_disk_chunks", "Replicas on a disk.", "directory")
JOURNAL_SIZE = gauge("gfs_chunkserver_journal_size_bytes", "Size of a disk's journal.", "directory")
JOURNAL_USED = gauge(
    "gfs_chunkserver_journal_used_bytes", "Of that, what cannot be used again yet.", "directory"
)
JOURNAL_WORKS = gauge(
    "gfs_chunkserver_journal_works", "1 while a disk's journal takes appends, else 0.", "directory"
)
OPERATION_TIME = histogram(
    "gfs_chunkserver_operation_duration_seconds",
    "Time of what clients asked for: reads, writes of puts, records of appends.",
    "operation",
)
OPERATION_BYTES = counter(
    "gfs_chunkserver_operation_bytes_total", "Bytes of these operations.", "operation"
)
PUT_BYTES = counter(
    "gfs_chunkserver_put_bytes_total",
    "Bytes of puts whose chain ends here; over all servers each byte of a client counts once.",
)
UNDER_WAY = gauge(
    "gfs_chunkserver_operations_under_way", "Operations that have begun and not ended.", "operation"
)
RECORDS_WAITING = gauge("gfs_chunkserver_records_waiting", "Records that are on no disk yet.")
STREAMS = gauge("gfs_chunkserver_streams", "Open streams of the data port.")
STREAMS_SERVING = gauge("gfs_chunkserver_streams_serving", "Of these, the ones at work.")
TICKETS_REFUSED = counter(
    "gfs_chunkserver_tickets_refused_total",
    "Requests that showed no good ticket, in a closed cluster.",
    "reason",
)
STREAMS_REFUSED = counter(
    "gfs_chunkserver_streams_refused_total",
    "Streams that were ended for what came on them, or did not.",
    "reason",
)
UNSETTLED = gauge(
    "gfs_chunkserver_replicas_unsettled",
    "Replicas that are not sealed and whole; those of open chunks are among them.",
)
UNIDENTIFIED = gauge(
    "gfs_chunkserver_slots_unidentified", "Slot files of which nothing tells the chunk."
)
COPIES = gauge("gfs_chunkserver_repair_copies_running", "Copies that are being made here.")
COPIES_RATE = gauge(
    "gfs_chunkserver_repair_allowed_bytes_per_second",
    "What copies to this server may take; 0 is no limit, -1 nothing.",
)
BACKING_OFF = gauge(
    "gfs_chunkserver_repair_backing_off", "1 while repair gives way to clients that wait, else 0."
)
SLOW = gauge(
    "gfs_chunkserver_operations_slow_ratio",
    "Of what clients asked for in the last 3 s, the share that took more than twice the usual.",
)
SCRUB_READING = gauge("gfs_chunkserver_scrub_reading", "1 while a disk is read.", "directory")
SCRUB_DONE = gauge(
    "gfs_chunkserver_scrub_round_done_bytes", "What the newest round has read.", "directory"
)
SCRUB_SIZE = gauge(
    "gfs_chunkserver_scrub_round_size_bytes", "What there is to read in it.", "directory"
)
SCRUB_ENDED = gauge(
    "gfs_chunkserver_scrub_round_end_timestamp_seconds",
    "When the last whole round ended, in Unix time; 0 for never.",
    "directory",
)
SCRUB_FOUND = counter(
    "gfs_chunkserver_scrub_damaged_total", "Damaged replicas in the life of a disk.", "directory"
)


@dataclass(frozen=True, slots=True)
class _Parts:
    """Where a chunkserver that serves is looked at."""

    store: ChunkStore
    data_port: DataPort
    copies: Copies
    inventory: StoreInventory
    lanes: HeartbeatLanes


class ServerMeasures:
    """What there is to measure between `begin` and `end`. Thread-safe."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._parts: _Parts | None = None
        self._why = "it starts"

    def begin(
        self,
        store: ChunkStore,
        data_port: DataPort,
        copies: Copies,
        inventory: StoreInventory,
        lanes: HeartbeatLanes,
    ) -> None:
        """Look at these from now on: the server serves."""
        self._parts = _Parts(store, data_port, copies, inventory, lanes)
        self._why = ""

    def end(self) -> None:
        """Say from now on that the server stops."""
        self._why = "it stops"

    def unready(self) -> str:
        """Return why this server does not serve now; nothing when it does. Waits for nothing."""
        parts = self._parts
        if self._why or parts is None:
            return self._why
        if all(one.failed for one in parts.store.shelves):
            return "no disk is in service"
        if not parts.lanes.registered:
            return "no leader knows it yet"
        age_s = self._answer_age_s(parts)
        if age_s is None:
            return "no leader has answered it yet"
        if age_s > READY_AGE_S:
            return f"no leader has answered it for {age_s:.0f} s"
        return ""

    def collect(self, samples: Samples) -> None:
        """Add what is measured. It waits for no disk."""
        parts = self._parts
        if parts is None:
            return
        self._add_heartbeats(samples, parts)
        _add_served(samples, parts.data_port)
        _add_repair(samples, parts)
        disks = parts.inventory.disks()
        for disk in disks:
            _add_disk(samples, disk)
        directories = {disk.disk_id: disk.directory for disk in disks}
        for scrub in parts.inventory.scrub():
            _add_scrub(samples, scrub, directories.get(scrub.disk_id, ""))
        samples.set(UNSETTLED, parts.store.unsettled_count)
        samples.set(UNIDENTIFIED, len(parts.store.unidentified))

    def _answer_age_s(self, parts: _Parts) -> float | None:
        answered_s = parts.lanes.outages.answered_s
        return None if answered_s is None else max(0.0, self._runtime.monotonic_s() - answered_s)

    def _add_heartbeats(self, samples: Samples, parts: _Parts) -> None:
        outages, primary = parts.lanes.outages, parts.data_port.primary
        samples.set(REGISTERED, parts.lanes.registered)
        age_s = self._answer_age_s(parts)
        if age_s is not None:
            samples.set(ANSWER_AGE, age_s)
        samples.set(ANSWERED, outages.answered_count)
        samples.set(UNANSWERED, outages.failed_count)
        samples.set(LEASE_LEFT, primary.lease.left_s())
        samples.set(TAILS, primary.tail_count)


def _add_served(samples: Samples, port: DataPort) -> None:
    rates = port.rates
    for name, one in (("read", rates.read), ("write", rates.write), ("append", rates.append)):
        measured = one.measured()
        samples.times(OPERATION_TIME, measured.times, measured.total_s, name)
        samples.set(OPERATION_BYTES, measured.length, name)
    samples.set(PUT_BYTES, rates.put_bytes)
    samples.set(UNDER_WAY, rates.read.under_way, "read")
    samples.set(UNDER_WAY, rates.write.under_way, "write")
    samples.set(RECORDS_WAITING, port.primary.waiting_count())
    samples.set(STREAMS, port.stream_count)
    samples.set(STREAMS_SERVING, port.serving_count)
    for reason, count in port.refused().items():
        samples.set(TICKETS_REFUSED, count, reason)
    for reason, count in port.turned_away.counts().items():
        samples.set(STREAMS_REFUSED, count, reason)


def _add_repair(samples: Samples, parts: _Parts) -> None:
    facts = parts.inventory.repair()
    samples.set(COPIES, len(parts.copies.progress()))
    samples.set(COPIES_RATE, facts.copies_bytes_per_s)
    samples.set(BACKING_OFF, facts.backing_off)
    samples.set(SLOW, facts.slow_count / facts.judged_count if facts.judged_count else 0.0)


def _add_disk(samples: Samples, disk: DiskFacts) -> None:
    where = disk.directory
    samples.set(DISK_IN_SERVICE, not disk.failed, where)
    if disk.failed:
        return
    samples.set(DISK_SIZE, disk.total_bytes, where)
    samples.set(DISK_FREE, disk.free_bytes, where)
    samples.set(DISK_CHUNKS, disk.chunk_count, where)
    samples.set(JOURNAL_SIZE, disk.journal_bytes, where)
    samples.set(JOURNAL_USED, disk.journal_used_bytes, where)
    samples.set(JOURNAL_WORKS, not disk.journal_trouble, where)


def _add_scrub(samples: Samples, scrub: ScrubFacts, where: str) -> None:
    samples.set(SCRUB_READING, scrub.state == "reading", where)
    samples.set(SCRUB_DONE, scrub.bytes_done, where)
    samples.set(SCRUB_SIZE, scrub.bytes_total, where)
    samples.set(SCRUB_ENDED, scrub.ended_ms / 1000, where)
    samples.set(SCRUB_FOUND, scrub.found_ever, where)
