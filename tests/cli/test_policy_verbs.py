"""`gfsctl policy`, `setrep`, and `admin placement explain` and `simulate` on a real cluster."""

from __future__ import annotations

import os
from typing import Any

import pytest
from gfsctl_program import CHUNK_BYTES, Gfsctl, eventually

from gfs_ha.client.operations import Operations


def chunk(gfsctl: Gfsctl, path: str) -> dict[str, Any]:
    """Return the first chunk of a file as it is placed now."""
    placed = gfsctl.ok("admin", "placement", "show", "-o", "json", path).json
    found: dict[str, Any] = placed["items"][0]["chunk"]
    return found


def test_new_files_are_kept_as_their_directory_says(gfsctl: Gfsctl, home: str) -> None:
    gfsctl.ok("mkdir", f"{home}/two")
    words = ("policy", "set", f"{home}/two", "--replicas", "2", "--rule", "spread")
    gfsctl.ok(*words, "--chunk-size", "2MiB")
    [told] = gfsctl.ok("policy", "get", "-o", "json", f"{home}/two").json["items"]
    assert (told["goal"], told["rule"], told["chunk_bytes"]) == (2, "spread", 2 << 20)
    assert told["goal_from"] == f"{home}/two"

    def put() -> dict[str, Any]:  # Who loses a server on the way goes on in another chunk.
        gfsctl.ok("put", "-", f"{home}/two/f", stdin=os.urandom(CHUNK_BYTES + 1))
        gfsctl.wait_whole(f"{home}/two/f")
        placed = chunk(gfsctl, f"{home}/two/f")
        assert placed["goal"] == 2 and placed["length"] == CHUNK_BYTES + 1 and placed["rule"]
        return placed

    placed = eventually(put)
    assert len({one["rack"] for one in placed["replicas"]}) == 2
    gfsctl.ok("mv", f"{home}/two/f", f"{home}/f")
    [told] = gfsctl.ok("policy", "get", "-o", "json", f"{home}/f").json["items"]
    assert (told["goal"], told["rule"]) == (2, "spread"), "a file takes along what it got"
    gfsctl.ok("policy", "set", f"{home}/two", "--replicas", "usual")
    assert "the cluster's settings" in gfsctl.ok("policy", "get", f"{home}/two").out.decode()
    gfsctl.ok("policy", "unset", f"{home}/two")
    [told] = gfsctl.ok("policy", "get", "-o", "json", f"{home}/two").json["items"]
    assert told["rule"] == "seed" and not told["rule_from"]


def test_two_copies_in_one_rack_are_warned_of(gfsctl: Gfsctl, home: str) -> None:
    assert "both in one rack" in gfsctl.ok("policy", "set", home, "--replicas", "2").err
    assert not gfsctl.ok("policy", "set", home, "--rule", "spread").err


def test_what_is_written_counts_as_stored_when_its_directory_says(
    gfsctl: Gfsctl, home: str
) -> None:
    said = gfsctl.ok("policy", "set", "-n", home, "--durability", "memory").out.decode()
    assert "durability memory" in said
    gfsctl.ok("policy", "set", home, "--durability", "memory")
    gfsctl.ok("put", "-", f"{home}/f", stdin=os.urandom(CHUNK_BYTES))
    gfsctl.ok("put", "--durability", "disk", "-", f"{home}/g", stdin=os.urandom(CHUNK_BYTES))
    gfsctl.ok("append", f"{home}/log", "a record")
    found = [chunk(gfsctl, f"{home}/{name}")["durability"] for name in ("f", "g", "log")]
    assert found == ["memory", "disk", "memory"]
    [told] = gfsctl.ok("policy", "get", "-o", "json", f"{home}/log").json["items"]
    assert (told["durability"], told["durability_from"]) == ("memory", home)


def test_a_dry_run_says_what_would_hold_and_changes_nothing(gfsctl: Gfsctl, home: str) -> None:
    words = ("policy", "set", home, "--replicas", "4", "--chunk-size", "1MiB")
    said = gfsctl.ok(*words, "-n").out.decode()
    assert "replicas 4" in said and "chunk size 1.0 MiB" in said
    [told] = gfsctl.ok("policy", "get", "-o", "json", home).json["items"]
    assert not told["own_goal"] and not told["own_chunk_bytes"]


@pytest.mark.parametrize(
    ("words", "status", "part"),
    [
        (("policy", "set", "/"), 2, "--replicas"),
        (("policy", "set", "/", "--replicas", "99"), 2, "99"),
        (("policy", "set", "/", "--replicas", "\u00b2"), 2, "--replicas"),
        (("policy", "set", "/", "--chunk-size", "big"), 2, "--chunk-size"),
        (("policy", "set", "/", "--chunk-size", "100MiB"), 2, "chunk size"),
        (("policy", "set", "/nowhere", "--replicas", "2"), 3, "/nowhere"),
        (("policy", "get", "/nowhere"), 3, "/nowhere"),
        (("setrep", "2", "/nowhere"), 3, "/nowhere"),
        (("setrep", "2", "/"), 4, "-R"),
        (("setrep", "9", "/"), 2, "9"),
        (("admin", "placement", "explain", "0x5"), 3, "0x5"),
        (("admin", "placement", "explain", "chunk"), 2, "chunk"),
        (("admin", "placement", "simulate", "--lose", "cs99"), 3, "cs99"),
        (("admin", "placement", "simulate", "--lose-rack", "r99"), 3, "r99"),
        (("admin", "placement", "simulate", "--add", "r9"), 2, "rack=NAME"),
        (("admin", "placement", "simulate", "--add", "rack=r9,count=0"), 2, "count"),
        (("admin", "placement", "simulate", "--add", "rack=r9,count=\u00b2"), 2, "count"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    gfsctl: Gfsctl, words: tuple[str, ...], status: int, part: str
) -> None:
    assert part in gfsctl.refused(status, *words)


def test_other_copies_are_wanted_and_waited_for(gfsctl: Gfsctl, home: str) -> None:
    gfsctl.ok("put", "-", f"{home}/f", stdin=os.urandom(CHUNK_BYTES + 5))
    gfsctl.ok("setrep", "-w", "4", f"{home}/f")
    placed = chunk(gfsctl, f"{home}/f")
    assert placed["copies"] == placed["goal"] == 4 == len(placed["replicas"])
    said = gfsctl.ok("setrep", "-R", "-n", "2", home).out.decode()
    assert "would let 1 file want 2 copies" in said and "2.0 MiB to drop" in said
    found = gfsctl.ok("setrep", "-R", "-w", "2", home, "-o", "json").json
    assert [item["goal"] for item in found["items"]] == [2]
    gfsctl.ok("put", "-", f"{home}/more", stdin=b"more")
    said = gfsctl.ok("setrep", "-R", "2", home).out.decode()
    assert said == "2 files want 2 copies now, as 1 of them did before\n"
    assert gfsctl.ok("setrep", "-R", "-q", "2", home).out == b""
    placed = chunk(gfsctl, f"{home}/f")
    assert placed["copies"] == placed["goal"] == 2 == len(placed["replicas"])


def test_more_copies_than_servers_are_taken_with_a_warning_that_says_how_many_there_can_be(
    gfsctl: Gfsctl, home: str
) -> None:
    gfsctl.ok("put", "-", f"{home}/f f", stdin=b"bytes")
    lack = "6 copies are wanted, but only 4 chunkservers are in service, in 2 racks"
    for words in (["-n"], [], ["-R"]):
        ended = gfsctl.ok("setrep", *words, "6", f"{home}/f f")
        assert f"warning: {lack}: chunks get 4 copies at most until a server is added" in ended.err
        assert f"; gfsctl setrep 4 '{home}/f f' asks for no more than that" in ended.err
    ended = gfsctl.ok("setrep", "6", f"{home}/f f", "-o", "json")
    [item] = ended.json["items"]
    assert (item["goal"], item["copies_possible"]) == (6, 4) and lack in ended.err
    said = gfsctl.ok("policy", "set", home, "--replicas", "6")
    assert lack in said.err and f"gfsctl policy set {home} --replicas 4 asks for" in said.err
    assert lack in gfsctl.ok("policy", "set", home, "-n", "--replicas", "6").err
    for words in (["policy", "unset", home], ["setrep", "4", f"{home}/f f"]):
        assert "warning" not in gfsctl.ok(*words).err
    assert gfsctl.ok("setrep", "-q", "6", f"{home}/f f").err == ""
    put = gfsctl.ok("put", "--replicas", "6", "-", f"{home}/g", stdin=b"more")
    assert lack in put.err and "; --replicas 4 asks for no more than that" in put.err
    assert int(gfsctl.ok("stat", f"{home}/g", "-o", "json").json["items"][0]["goal"]) == 6
    assert lack not in gfsctl.ok("put", "--replicas", "4", "-", f"{home}/g", stdin=b"more").err
    gfsctl.ok("rm", f"{home}/f f", f"{home}/g")


def test_bytes_that_are_shared_stay_for_who_wants_most_and_that_is_said(
    gfsctl: Gfsctl, home: str
) -> None:
    gfsctl.ok("put", "-", f"{home}/f", stdin=os.urandom(1000))
    gfsctl.ok("cp", f"{home}/f", f"{home}/g")
    ended = gfsctl.ok("setrep", "-w", "1", f"{home}/f")
    assert "shared with files that want more copies, and kept in those: 1 chunk" in ended.err
    assert chunk(gfsctl, f"{home}/f")["goal"] == 3


def test_a_wait_that_cannot_end_names_the_reason(
    gfsctl: Gfsctl, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gfsctl.ok("put", "-", f"{home}/f", stdin=os.urandom(1000))
    # Only the patience with copies is short: on a busy machine a request may take its time.
    monkeypatch.setattr(Operations, "timeout_s", 1.0)
    said = gfsctl.refused(10, "setrep", "-q", "-w", "6", f"{home}/f")
    assert "1 file" in said and "repair status" in said
    gfsctl.ok("setrep", "3", f"{home}/f")


def test_an_explanation_and_a_simulation_have_every_form(gfsctl: Gfsctl, home: str) -> None:
    gfsctl.ok("put", "-", f"{home}/f", stdin=os.urandom(1000))
    gfsctl.wait_whole(f"{home}/f")
    gfsctl.wait_heard()
    chunk_id = chunk(gfsctl, f"{home}/f")["chunk_id"]
    for mode in ("table", "wide", "json", "jsonl", "name"):
        told = gfsctl.ok("admin", "placement", "explain", chunk_id, "-o", mode).out.decode()
        seen = gfsctl.ok(
            *("admin", "placement", "simulate", "--lose", "cs1", "--chunks", "5", "-o", mode)
        ).out.decode()
        for text in (told, seen):
            assert text.lstrip().startswith("{") == (mode in ("json", "jsonl"))
    [told] = gfsctl.ok("admin", "placement", "explain", chunk_id, "-o", "json").json["items"]
    names = {row["name"] for part in ("holders", "open_to", "rejected") for row in told[part]}
    assert names == {"cs1", "cs2", "cs3", "cs4"} and len(told["if_lost"]) == 3
    [new] = gfsctl.ok("admin", "placement", "explain", home, "-o", "json").json["items"]
    assert new["goal"] == 3 == len(new["chosen"]) and len(new["rejected"]) == 1
    assert "a new file at" in gfsctl.ok("admin", "placement", "explain", home).out.decode()
    size = 3 * CHUNK_BYTES
    gfsctl.ok("put", "-", f"{home}/more", stdin=os.urandom(size))
    gfsctl.wait_whole(f"{home}/more")
    there = gfsctl.ok("admin", "placement", "explain", f"{home}/more", "-o", "json").json
    assert there["kind"] == "FilePlacement" and (there["size"], there["more"]) == (size, False)
    assert [len(one["holders"]) for one in there["items"]] == [3] * there["chunk_count"]
    assert len(there["next"]["chosen"]) == 3
    told = gfsctl.ok("admin", "placement", "explain", f"{home}/more").lines
    assert told[0] == f"{home}/more  3.0 MiB  {there['chunk_count']} chunks"
    assert sum(line.startswith("chunk 0x") for line in told) == 2
    assert any(line.startswith(f"others: gfsctl admin placement show {home}/m") for line in told)
    assert any(line.startswith(f"a further chunk of {home}/more") for line in told)
    names = gfsctl.ok("admin", "placement", "explain", f"{home}/more", "-o", "name").lines
    assert len(set(names)) == len(names) >= 3
    report = gfsctl.ok("admin", "placement", "simulate", "--lose-rack", "r1", "-o", "json").json
    assert report["kind"] == "PlacementSimulation" and report["chunk_count"] >= 1
    fates = {row["name"]: row["fate"] for row in report["items"]}
    assert fates["cs1"] == fates["cs3"] == "lost" and fates["cs2"] == "stays"
