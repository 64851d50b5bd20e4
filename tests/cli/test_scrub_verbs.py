"""`gfsctl admin scrub`: every screen, rounds that are started, and words that are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gfsctl_program import Gfsctl, eventually, wait_until

from gfs_ha.cli.admin.scrub_found import damage_of
from gfs_ha.cli.admin.scrub_wait import check_found, over, progress_text
from gfs_ha.cli.admin.verify_chunks import Seen
from gfs_ha.errors import CorruptData
from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.protocol.damage import VerifiedChunk, VerifiedReplica
from gfs_ha.protocol.scrub import ScrubFacts, ScrubFinding, ScrubRow, ScrubWanted


@pytest.mark.parametrize("mode", ["table", "wide", "json", "jsonl", "name"])
@pytest.mark.parametrize("verb", ["status", "budget", "found"])
def test_every_screen_of_the_scrub_has_every_form(gfsctl: Gfsctl, verb: str, mode: str) -> None:
    shown = gfsctl.ok("admin", "scrub", verb, "-o", mode).out.decode()
    if shown or mode != "jsonl":  # Nothing may have been found.
        assert shown.lstrip().startswith("{") == (mode in ("json", "jsonl"))


def test_a_started_round_is_read_to_its_end_on_the_servers_that_were_named(
    gfsctl: Gfsctl,
) -> None:
    def disks() -> dict[str, dict[str, object]]:
        found = gfsctl.ok("admin", "scrub", "status", "-o", "json").json
        assert found["kind"] == "ScrubList" and found["budget"]["period_s"] > 0
        return {row["name"]: disk for row in found["items"] for disk in row["disks"]}

    def told() -> bool:
        # The first round begins by itself when a server is new: it is not to be counted.
        found = disks()
        return len(found) == 4 and all(disk["number"] for disk in found.values())

    wait_until(told, "every server to have told of its first round")
    before = disks()
    said = gfsctl.ok("admin", "scrub", "start", "cs2", "cs3", "--rate", "1GiB", "-o", "json").json
    assert [row["name"] for row in said["items"]] == ["cs2", "cs3"] and said["number"]

    def done() -> bool:
        now = disks()
        return all(
            now[name]["begun"] == int(said["number"], 16) and now[name]["state"] == "idle"
            for name in ("cs2", "cs3")
        )

    wait_until(done, "the end of the rounds")
    after = disks()
    assert after["cs2"]["number"] == int(str(before["cs2"]["number"])) + 1
    assert not after["cs1"]["asked"]
    shown = gfsctl.ok("admin", "scrub", "status", "cs2").out.decode()
    assert "cs2" in shown and "cs1" not in shown and "never" not in shown


def test_a_round_that_is_waited_for_is_over_when_the_command_comes_back(gfsctl: Gfsctl) -> None:
    said = gfsctl.ok("admin", "scrub", "start", "--rate", "1GiB", "--wait", "-o", "json").json
    report = gfsctl.library.operations.scrub()
    assert all(over(row, int(said["number"], 16)) for row in report.items)


def row(state: str, begun: int, **more: Any) -> ScrubRow:
    facts = ScrubFacts(
        *(DiskId(1), ScrubWanted(1, 1), state, "", 1, 0, True, 30, 120, 1, 4, 0, 0, 10, 9000, 0),
        begun=begun,
        **more,
    )
    return ScrubRow(ServerId(1), "cs1", "live", True, (facts,))


def test_a_round_is_over_when_its_server_has_begun_it_and_rests() -> None:
    assert not over(row("idle", 3), 4), "it has not begun it"
    assert not over(row("reading", 4), 4)
    assert over(row("idle", 4), 4) and over(row("reading", 5), 4)
    assert not over(ScrubRow(ServerId(1), "cs1", "dead", False, ()), 4)


def test_damage_that_was_found_is_named_with_its_servers() -> None:
    check_found([row("idle", 4)])
    with pytest.raises(CorruptData) as caught:
        check_found([row("idle", 4, last_found=2)])
    assert "2 damaged replicas found (2 on cs1)" in caught.value.message
    assert "25 % of 120 B" in progress_text([row("reading", 4)], 4)


def test_what_was_found_is_shown_the_newest_first() -> None:
    finds = (ScrubFinding(5, ChunkId(7), "block 1"), ScrubFinding(9, ChunkId(8), "it is gone"))
    items = damage_of([row("idle", 4, finds=finds[:1]), row("idle", 4, finds=finds)])
    assert [(item.found_ms, item.why) for item in items[:2]] == [(9, "it is gone"), (5, "block 1")]


def test_a_dry_run_starts_nothing(gfsctl: Gfsctl) -> None:
    said = gfsctl.ok("admin", "scrub", "start", "-n").out.decode()
    assert "would begin on cs1, cs2, cs3, cs4" in said
    assert gfsctl.ok("admin", "scrub", "start", "cs1", "-n", "-o", "json").json["dry_run"] is True


def test_the_budget_is_changed_one_number_at_a_time_and_paused(gfsctl: Gfsctl) -> None:
    words = ("admin", "scrub", "budget")
    [before] = gfsctl.ok(*words, "-o", "json").json["items"]
    try:
        [changed] = gfsctl.ok(*words, "--period", "14", "-o", "json").json["items"]
        assert changed["period_s"] == 14 * 24 * 3600
        assert changed["bytes_per_s"] == before["bytes_per_s"]
        [would] = gfsctl.ok("admin", "scrub", "pause", "-n", "-o", "json").json["items"]
        assert would == {**changed, "paused": True}
        assert b"nothing was changed" in gfsctl.ok(*words, "--period", "3", "-n").out
        assert gfsctl.ok(*words, "-o", "json").json["items"] == [changed]
        [paused] = gfsctl.ok("admin", "scrub", "pause", "-o", "json").json["items"]
        assert paused["paused"] and paused["period_s"] == changed["period_s"]
        assert "resume" in gfsctl.refused(4, "admin", "scrub", "start", "--wait")
        assert "resume" in gfsctl.ok("admin", "scrub", "start", "-n").err
        assert "PAUSED" in gfsctl.ok("admin", "scrub", "status").out.decode()

        def told() -> bool:
            rows = gfsctl.ok("admin", "scrub", "status", "-o", "json").json["items"]
            return all(disk["state"] == "paused" for row in rows for disk in row["disks"])

        wait_until(told, "every server to stand still")
    finally:
        gfsctl.ok("admin", "scrub", "resume")
        gfsctl.ok(*words, "--period", str(before["period_s"] / 24 / 3600))


def test_words_that_make_no_sense_are_refused(gfsctl: Gfsctl) -> None:
    assert "cs9" in gfsctl.refused(3, "admin", "scrub", "start", "cs9")
    assert "cs9" in gfsctl.refused(3, "admin", "scrub", "status", "cs9")
    assert "fast" in gfsctl.refused(2, "admin", "scrub", "start", "--rate", "fast")
    assert "pause" in gfsctl.refused(2, "admin", "scrub", "start", "--rate", "0")
    assert "365" in gfsctl.refused(2, "admin", "scrub", "budget", "--period", "400")
    assert (
        json.loads(gfsctl("admin", "scrub", "budget", "--rate", "x", "-o", "json").err)["error"][
            "code"
        ]
        == "UsageError"
    )


def test_a_file_whose_copies_are_whole_is_verified(gfsctl: Gfsctl, home: str) -> None:
    gfsctl.ok("put", "-", f"{home}/f", stdin=b"f" * 2000)
    gfsctl.wait_whole(f"{home}/f")
    [item] = gfsctl.library.operations.placement(f"{home}/f").items
    for mode in ("table", "wide", "json", "jsonl", "name"):
        words = ("admin", "chunks", "verify", f"{home}/f", "-o", mode)
        # On a busy machine a server may not answer in time.
        shown = eventually(lambda words=words: gfsctl.ok(*words)).out.decode()  # type: ignore[misc]
        assert f"{item.chunk.chunk_id:#x}" in shown
        if mode == "table":
            assert all(one.name in shown for one in item.chunk.replicas)
            assert "corrupt" not in shown
        if mode == "json":
            [chunk] = json.loads(shown)["items"]
            assert [one["verdict"] for one in chunk["replicas"]] == ["ok"] * 3


def test_what_cannot_be_verified_is_refused(gfsctl: Gfsctl, home: str) -> None:
    gfsctl.refused(3, "admin", "chunks", "verify", "0x123")
    gfsctl.refused(3, "admin", "chunks", "verify", f"{home}/none")
    gfsctl.refused(2, "admin", "chunks", "verify", "none")


@pytest.mark.parametrize(
    ("verdict", "status"), [("ok", 0), ("corrupt", 9), ("unreachable", 5), ("busy", 5)]
)
def test_verify_ends_with_what_the_worst_copy_says(verdict: str, status: int) -> None:
    class Scripted:
        operations = None

        def verify_chunk(self, chunk_id: ChunkId) -> VerifiedChunk:
            rows = [("ok", ""), (verdict, "because")]
            replicas = tuple(
                VerifiedReplica(ServerId(at), f"cs{at}", "r1", *row) for at, row in enumerate(rows)
            )
            return VerifiedChunk(chunk_id, 1, 2, replicas)

    script: Any = Scripted()
    script.operations = script
    seen = Seen()
    assert len(list(seen.watch(script, [ChunkId(1)]))) == 1
    error = seen.verdict()
    assert (0 if error is None else error.exit_status) == status
    if error is not None:
        assert "cs1" in error.message and "because" in error.message
