"""Who does how much, as the leader answers it: its own part and what the servers tell."""

from __future__ import annotations

from typing import Any

from peers import ScriptedServer
from trio import Client, Trio, wait_until

from gfs_ha.ids import Epoch, ServerId, StartId
from gfs_ha.latency import class_of
from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.control import Heartbeat
from gfs_ha.protocol.metadata import Mkdir, Publish, PublishFile, Stat
from gfs_ha.protocol.usage import (
    GetUsage,
    UsageEntry,
    UsageFacts,
    UsageReport,
    UsageRow,
    UsageSketch,
)


def usage(client: Client, *words: Any) -> UsageReport:
    found = client.ask(GetUsage(*words))
    assert isinstance(found, UsageReport), found
    return found


def rows(report: UsageReport) -> dict[str, UsageRow]:
    return {row.name: row for row in report.items}


def telling(*bytes_of: tuple[str, int]) -> UsageFacts:
    entries = tuple(
        UsageEntry(name, 2, length, times=((class_of(0.01), 2),)) for name, length in bytes_of
    )
    total = UsageEntry("", 2 * len(entries), sum(length for _, length in bytes_of))
    return UsageFacts(
        tuple(UsageSketch("client", window, 9000, total, entries) for window in ("1m", "1h"))
    )


def test_requests_count_for_who_asked_and_below_which_directory(shared: Trio) -> None:
    client = Client(shared)
    client.ask(Mkdir("/home/ann", parents=True))

    def counted() -> tuple[dict[str, UsageRow], ...] | None:
        # Again whole, as another master may lead by now: it counts what it answered itself.
        client.ask(Publish((PublishFile("/home/ann/empty", 0, 0o644, 1),)))
        for _ in range(5):
            client.ask(Stat("/home/ann/empty"))
        client.ask(Stat("/nowhere/at/all"))
        found = [rows(usage(client, by, "1h", "ops", 1000)) for by in ("client", "path", "op")]
        wanted = (("tester", 7), ("/home/ann", 6), ("stat", 6))
        enough = [
            name in kind and kind[name].operations >= least
            for kind, (name, least) in zip(found, wanted, strict=True)
        ]
        return tuple(found) if all(enough) else None

    by_client, by_path, by_kind = wait_until(counted, "one leader to have answered all of it")
    assert by_client["tester"].bytes == 0 and by_path["/nowhere/at"].operations >= 1
    assert by_kind["publish"].operations >= 1 and by_kind["stat"].p99_us is not None
    assert "heartbeat" not in by_kind, "it is parked, so it says nothing of how long things take"


def test_a_heartbeat_beside_them_hides_no_requests(shared: Trio) -> None:
    client = Client(shared)
    nobody = Heartbeat(ServerId(999), StartId(1), 1, Epoch(0, 0), 0.0, 0, 0, ())

    def counted() -> bool:
        client.send(Asked(nobody), client.asked(Mkdir("/hidden/deep/down", parents=True)))
        return "/hidden/deep" in rows(usage(client, "path", "1h", "ops", 1000))

    wait_until(counted, "one leader to have counted it")


def test_what_servers_tell_is_merged_and_all_others_are_one_row(shared: Trio) -> None:
    client = Client(shared)
    first = ScriptedServer(shared, "cs1", "r1")
    second = ScriptedServer(shared, "cs2", "r2")
    first.usage = telling(("ann", 5_000_000), ("bob", 1_000_000))
    second.usage = telling(("ann", 2_000_000), ("eve", 500_000))
    for server in (first, second):
        server.start()

    def told() -> UsageReport | None:
        found = usage(client, "client", "1m", "bytes", 2)
        return found if found.total.bytes == 8_500_000 and found.servers == 2 else None

    report = wait_until(told, "both servers to have told")
    assert [(row.name, row.operations, row.bytes) for row in report.items] == [
        ("ann", 4, 7_000_000),
        ("bob", 2, 1_000_000),
    ]
    shown = (*report.items, report.others)
    assert sum(row.bytes for row in shown) == report.total.bytes
    assert sum(row.operations for row in shown) == report.total.operations
    assert report.others.bytes == 500_000 and report.others_count >= 2
    assert report.servers_live == 2 and report.over_ms >= 9000
    assert (report.operations_unlisted, report.bytes_unlisted) == (0, 0)
    assert usage(client, "path", "1m").total.bytes == 0, "servers know no paths"
    first.usage = second.usage = UsageFacts()
    wait_until(
        lambda: not usage(client, "client", "1m", "bytes", 2).total.bytes,
        "the tellings to be replaced",
    )


def test_words_that_nobody_knows_are_refused(shared: Trio) -> None:
    client = Client(shared)
    for words in (("user",), ("op", "1y"), ("op", "1m", "size"), ("op", "1m", "ops", 0)):
        refused = client.ask(GetUsage(*words))
        assert refused.error == "InvalidArgument", words
    assert client.ask(GetUsage("op", "1m", "ops", 1001)).error == "InvalidArgument"
