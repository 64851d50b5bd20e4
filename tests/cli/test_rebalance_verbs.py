"""`gfsctl admin rebalance` and `admin jobs`: every screen, a job from start to end, bad words."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from gfsctl_program import Gfsctl, wait_until

from gfs_ha.cli.admin.jobs_wait import wait_for_job
from gfs_ha.cli.options import Options, Points
from gfs_ha.cli.session import Session
from gfs_ha.errors import NoLeader, WrongState
from gfs_ha.protocol.jobs import CANCEL, FINAL, RESUME, JobOptions, JobStarted
from gfs_ha.protocol.rebalance import RebalancePlan


@pytest.fixture
def waiting(gfsctl: Gfsctl) -> Iterator[JobStarted]:
    """A rebalance that begins nothing for hours, and does not end by itself."""
    later = datetime.now() + timedelta(hours=6)
    window = f"{later:%H:%M}-{later + timedelta(hours=1):%H:%M}"
    operations = gfsctl.library.operations
    gfsctl.wait_heard()
    plan = operations.rebalance.plan(JobOptions())
    begun = operations.rebalance.start(plan, JobOptions(window=window), "ann@ops1")
    yield begun
    if operations.jobs.get(begun.number).phase not in FINAL:
        operations.jobs.change(begun.number, CANCEL, "the test")


@pytest.mark.parametrize("mode", ["table", "wide", "json", "jsonl", "name"])
@pytest.mark.parametrize("verb", ["rebalance plan", "rebalance status", "rebalance history"])
def test_every_screen_of_a_rebalance_has_every_form(gfsctl: Gfsctl, verb: str, mode: str) -> None:
    shown = gfsctl.ok("admin", *verb.split(), "-o", mode).out.decode()
    if shown or mode not in ("jsonl", "name"):
        assert shown.lstrip().startswith("{") == (mode in ("json", "jsonl"))


def test_where_all_is_balanced_it_says_so_and_starts_nothing(gfsctl: Gfsctl) -> None:
    gfsctl.wait_heard()
    for words in (("rebalance",), ("rebalance", "start"), ("rebalance", "start", "-n")):
        assert "balanced: 4 disks" in gfsctl.ok("admin", *words).out.decode()
    plan = gfsctl.ok("admin", "rebalance", "start", "-y", "-o", "json").json
    assert plan["kind"] == RebalancePlan.__name__ and plan["balanced"]
    assert [row["name"] for row in plan["items"]] == ["cs1", "cs2", "cs3", "cs4"]


def test_a_job_is_seen_paused_and_ended_and_that_is_final(
    gfsctl: Gfsctl, waiting: JobStarted
) -> None:
    def said() -> str:
        return gfsctl.ok("admin", "jobs", "ls").out.decode()

    wait_until(lambda: "outside its window" in said(), "why the job waits")
    row = gfsctl.ok("admin", "jobs", "show", waiting.id, "-o", "json").json["items"][0]
    assert "outside its window" in row["waits"] and row["eta_ms"] == -1, "nobody knows its end"
    shown = gfsctl.ok("admin", "jobs", "show", waiting.id).out.decode()
    assert "rebalance" in shown and "ann@ops1" in shown and "the leader's clock" in shown
    assert waiting.id in gfsctl.ok("admin", "rebalance", "status").out.decode()
    second = gfsctl("admin", "rebalance", "start", "-y")
    assert second.status == 4 and f"{waiting.id} has not ended" in second.err
    with pytest.raises(WrongState, match=waiting.id):
        plan = gfsctl.library.operations.rebalance.plan(JobOptions())
        gfsctl.library.operations.rebalance.start(plan, JobOptions(), "")

    wrong = gfsctl.refused(3, "admin", "jobs", "cancel", f"d-{waiting.number}")
    assert f"job {waiting.number} is {waiting.id}, a rebalance" in wrong
    assert b"would pause" in gfsctl.ok("admin", "rebalance", "pause", "-n").out
    assert b"would cancel" in gfsctl.ok("admin", "jobs", "cancel", waiting.id, "-n").out
    would = gfsctl.ok("admin", "jobs", "cancel", waiting.id, "-n", "-o", "json").json
    assert would["dry_run"] and would["items"][0]["phase"] == "running"
    assert b"running already" in gfsctl.ok("admin", "rebalance", "resume", "-n").out
    assert b"pauses" in gfsctl.ok("admin", "rebalance", "pause").out
    paused = gfsctl.ok("admin", "jobs", "pause", waiting.id, "-o", "json").json  # Said twice.
    assert paused["items"][0]["phase"] == "paused"
    assert b"goes on" in gfsctl.ok("admin", "jobs", "resume", str(waiting.number)).out
    assert b"cancelled" in gfsctl.ok("admin", "jobs", "cancel", waiting.id).out
    again = gfsctl("admin", "jobs", "resume", waiting.id)
    assert again.status == 4 and "is cancelled: its end is final" in again.err
    assert "its end is final" in gfsctl.refused(4, "admin", "jobs", "pause", waiting.id, "-n")
    shown = gfsctl.ok("admin", "jobs", "show", waiting.id, "-o", "json").json
    assert shown["items"][0]["end"].startswith("was cancelled: asked for by ")
    none = gfsctl("admin", "rebalance", "pause")
    assert none.status == 3 and f"{waiting.id}, is cancelled" in none.err
    waited = gfsctl("admin", "jobs", "wait", waiting.id)
    assert waited.status == 11 and "was cancelled after 0 moves" in waited.err
    log = gfsctl.ok("admin", "jobs", "logs", waiting.id, "-o", "json").json
    texts = [event["text"] for event in log["items"]]
    assert texts[0].startswith("begins") and texts[-1].startswith("was cancelled: asked for by ")
    assert len(texts) == 4
    assert waiting.id in gfsctl.ok("admin", "rebalance", "history", "-o", "name").out.decode()


def test_what_was_answered_holds_for_the_next_question_at_once(gfsctl: Gfsctl) -> None:
    jobs, rebalance = gfsctl.library.operations.jobs, gfsctl.library.operations.rebalance
    later = datetime.now() + timedelta(hours=6)
    options = JobOptions(window=f"{later:%H:%M}-{later + timedelta(hours=1):%H:%M}")
    for _ in range(10):
        plan = rebalance.plan(options)
        assert not plan.running  # The one before was cancelled.
        begun = rebalance.start(plan, options, "the test")
        assert rebalance.plan(options).running == begun.id
        assert jobs.change(begun.number, CANCEL, "the test").phase == "cancelled"
        with pytest.raises(WrongState, match="its end is final"):
            jobs.change(begun.number, RESUME, "the test")


def test_ctrl_c_ends_the_waiting_and_not_the_job(gfsctl: Gfsctl, waiting: JobStarted) -> None:
    child = gfsctl.begin("admin", "jobs", "wait", waiting.id)
    assert child.stderr is not None
    first = child.stderr.readline().decode()
    assert f"{waiting.id} waits: " in first
    child.send_signal(signal.SIGINT)
    ended = gfsctl.end(child)
    assert ended.status == 130
    attach = f"{waiting.id} goes on; to attach again: gfsctl admin jobs wait {waiting.id}"
    last = ended.err.splitlines()[-1]  # Why it waits may have changed meanwhile.
    assert last == f"gfsctl: stopped by SIGINT; {attach}", "on one line"
    assert gfsctl.library.operations.jobs.get(waiting.number).phase == "running"


def test_masters_that_are_silent_end_the_waiting_and_not_the_job(
    gfsctl: Gfsctl, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = tmp_path / "nobody.toml"
    text = gfsctl.config.read_text()
    numbers = iter(range(1, 10))  # Nobody listens at these ports.
    nobody.write_text(re.sub(r"(?m)^port = \d+", lambda _: f"port = {next(numbers)}", text))
    with Session(Options(config=str(nobody), timeout_s=0.3)) as session, pytest.raises(NoLeader):
        wait_for_job(session, "r-7")
    assert "r-7 goes on; to attach again: gfsctl admin jobs wait r-7" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("jobs", "show", "r-999999"), 3, "no job r-999999"),
        (("jobs", "logs", "r-999999"), 3, "no job r-999999"),
        (("jobs", "wait", "r-999999"), 3, "no job r-999999"),
        (("jobs", "cancel", "r-999999"), 3, "no job r-999999"),
        (("jobs", "show", "tomorrow"), 2, "jobs are named like r-19"),
        (("rebalance", "plan", "--window", "at night"), 2, "22:00-06:00"),
        (("rebalance", "plan", "--window", "22:00-22:00"), 2, "begins as it ends"),
        (("rebalance", "plan", "--threshold", "0"), 2, "--threshold"),
        (("rebalance", "plan", "--threshold", "nan"), 2, "--threshold"),
        (("rebalance", "plan", "--threshold", "5%%"), 2, "--threshold"),
        (("rebalance", "start", "--bwlimit", "0"), 2, "moves nothing"),
        (("rebalance", "start", "--bwlimit", "fast"), 2, "--bwlimit"),
        (("rebalance", "start", "--max-moves", "0"), 2, "--max-moves"),
        (("rebalance", "--threshold", "3", "status"), 2, "behind the command"),
        (("rebalance", "begin"), 2, "no command 'begin'"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(
    gfsctl: Gfsctl, words: tuple[str, ...], status: int, said: str
) -> None:
    ended = gfsctl("admin", *words)
    assert ended.status == status and said in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("text", ["5", "5%", "5 %", "5.0"])
def test_percent_may_be_written_with_their_sign(text: str) -> None:
    assert Points(min=0.1, max=100).convert(text, None, None) == 5.0
