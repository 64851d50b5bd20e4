"""`gfsctl admin events`, `health detail|mute|unmute` and `explain` on a real cluster."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from shlex import split

import pytest
from gfsctl_program import Gfsctl


def test_events_have_every_form_and_every_filter(gfsctl: Gfsctl) -> None:
    for mode in ("table", "wide", "json", "jsonl", "name"):
        shown = gfsctl.ok("admin", "events", "-n", "3", "-o", mode).out.decode()
        assert shown.lstrip().startswith("{") == (mode in ("json", "jsonl"))
    report = gfsctl.ok("admin", "events", "-n", "10000", "-o", "json").json
    assert report["kind"] == "EventList"
    numbers = [item["number"] for item in report["items"]]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= 6
    of_cs1 = "admin events --kind server --subject cs1 -n 10000 -o json"
    joined = gfsctl.ok(*split(of_cs1)).json["items"]
    assert joined[0]["text"].startswith("joins") and {one["subject"] for one in joined} == {"cs1"}
    assert gfsctl.ok(*split("admin events --since 9999w -o name")).lines
    assert "no such event" in gfsctl.ok(*split("admin events --since 0.001s")).out.decode()
    errors = gfsctl.ok(*split("admin events --severity error -o json")).json["items"]
    assert all(one["severity"] == "error" for one in errors)


def test_what_is_no_time_is_refused_with_examples(gfsctl: Gfsctl) -> None:
    assert "say 1h" in gfsctl.refused(2, "admin", "events", "--since", "yesterday")


@pytest.fixture
def muting(gfsctl: Gfsctl) -> Iterator[Gfsctl]:
    """The shared cluster, on which nothing is muted afterwards, as others expect it."""
    yield gfsctl
    for code in ("SCRUB_LATE", "LEADERS_CHANGE"):
        gfsctl("admin", "health", "unmute", code)


def test_following_shows_what_happens_and_a_signal_ends_it_quietly(muting: Gfsctl) -> None:
    gfsctl = muting
    follower = gfsctl.begin("admin", "events", "-f", "-n", "1", "-o", "jsonl")
    assert follower.stdout is not None
    first = json.loads(follower.stdout.readline())["number"]
    gfsctl.ok("admin", "health", "mute", "SCRUB_LATE", "--for", "90s", "--reason", "a test")
    seen = [first]

    def until(text: str) -> None:
        while True:
            event = json.loads(follower.stdout.readline())
            seen.append(event["number"])
            if event["subject"] == "SCRUB_LATE" and text in event["text"]:
                return

    until("a test")
    gfsctl.ok("admin", "health", "unmute", "SCRUB_LATE")
    until("counts again")
    assert seen == list(range(first, first + len(seen)))
    follower.send_signal(signal.SIGINT)
    ended = gfsctl.end(follower)
    assert ended.status == 130 and ended.err == ""


def test_a_mute_is_shown_with_its_reason_and_ended(muting: Gfsctl) -> None:
    gfsctl = muting
    would = gfsctl.ok(*split("admin health mute LEADERS_CHANGE --for 2h -n")).out
    assert b"would mute LEADERS_CHANGE for 2 h" in would and b"not muted now" in would
    gfsctl.ok(*split("admin health mute LEADERS_CHANGE --for 1h --reason planned"))
    muted = gfsctl.ok(*split("admin health mute LEADERS_CHANGE --for 2h -o json")).json
    (kept,) = (one for one in muted["items"] if one["code"] == "LEADERS_CHANGE")
    assert kept["reason"] == "planned", "who only gives it longer has not said otherwise"
    assert muted["kind"] == "MuteList"
    assert 0 < muted["items"][0]["left_ms"] <= 7_200_000
    health = gfsctl("admin", "health", "-o", "json").json
    assert "LEADERS_CHANGE" in [one["code"] for one in health["mutes"]]
    would = gfsctl.ok(*split("admin health unmute LEADERS_CHANGE -n -o json")).json
    assert would["dry_run"] and would["items"][0]["muted"]
    gfsctl.ok(*split("admin health mute SCRUB_LATE"))
    none = gfsctl.refused(3, *split("admin health unmute SERVER_DEAD"))
    assert "SERVER_DEAD is not muted; muted are: " in none and "SCRUB_LATE" in none
    rest = gfsctl.ok(*split("admin health unmute leaders-change")).lines
    assert rest[0] == "LEADERS_CHANGE counts again" and "SCRUB_LATE" in " ".join(rest[1:])
    last = gfsctl.ok(*split("admin health unmute SCRUB_LATE")).lines
    assert last == ["SCRUB_LATE counts again; nothing is muted any more"]
    assert "not muted" in gfsctl.refused(3, *split("admin health unmute LEADERS_CHANGE"))
    assert "not muted" in gfsctl.refused(3, *split("admin health unmute LEADERS_CHANGE -n"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("admin health mute NONSENSE", "explain"),
        ("admin health mute SCRUB_LATE --for soon", "90s"),
        ("admin health mute SCRUB_LATE --for 31d", "30d"),
        ("admin health mute SCRUB_LATE --for 0s", "'0s' is no time at all; say 1s or more"),
        ("admin health detail NONSENSE", "explain"),
        ("admin health -w detail", "-w"),
        ("admin health nonsense", "detail"),
    ],
)
def test_what_cannot_be_muted_or_shown_is_refused(gfsctl: Gfsctl, words: str, said: str) -> None:
    assert said in gfsctl.refused(2, *words.split())


def test_the_detail_of_health_is_no_gate_and_has_every_form(gfsctl: Gfsctl) -> None:
    for mode in ("table", "json", "jsonl", "name"):
        gfsctl.ok("admin", "health", "detail", "-o", mode)
    document = gfsctl.ok("admin", "health", "detail", "-o", "json").json
    assert document["kind"] == "HealthDetail"
    for item in document["items"]:
        assert item["rule"] and item["next"]


def test_codes_are_explained_without_a_cluster(gfsctl: Gfsctl) -> None:
    for what in ("NoLeader", "chunks_under", "8"):
        words = ("--config", "/nowhere/gfs.toml", "explain", what)
        assert "means" in gfsctl.ok(*words).out.decode()
        assert gfsctl.ok(*words, "-o", "json").json["kind"] == "Runbook"
    listed = gfsctl.ok("--config", "/nowhere/gfs.toml", "explain", "-o", "name").lines
    assert {"NoLeader", "CHUNKS_UNDER", "8"} <= set(listed)


def test_paths_chunks_and_servers_are_explained(gfsctl: Gfsctl, home: str) -> None:
    gfsctl.ok("put", "-", f"{home}/f", stdin=os.urandom(3000))
    chunk_id = hex(gfsctl.chunk_ids(f"{home}/f")[0])
    for what, about in (
        (f"{home}/f", "file"),
        (home, "directory"),
        (chunk_id, "chunk"),
        ("cs1", "chunkserver"),
        ("m1", "master"),
    ):
        assert gfsctl.ok("explain", what).out.decode().startswith(about)
        document = gfsctl.ok("explain", what, "-o", "json").json
        assert document["kind"] == "Explanation" and document["items"][0]["about"] == about
        for step in document["items"][0]["next"]:
            assert step["command"].startswith("gfsctl ")


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [
        ("nonsense", 3, "no code, path, job"),
        ("cs11", 3, "do you mean"),
        ("/nowhere", 3, "/nowhere"),
        ("0x5", 3, "0x5"),
        ("r-999999", 3, "no job"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(
    gfsctl: Gfsctl, what: str, status: int, said: str
) -> None:
    assert said in gfsctl.refused(status, "explain", what)
