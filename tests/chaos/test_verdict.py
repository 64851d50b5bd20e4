"""The judge of real runs finds what it is there for, in records as clients write them."""

from __future__ import annotations

from pathlib import Path

from chaos import record, schedule, verdict
from chaos.lan import Fault, merged

from gfs_ha.sim.masters.history import ABSENT, CREATE, DELETE, OK, PUT, RENAME, STAT, Operation


class Script:
    """Writes the record of one client, operation by operation, a second each."""

    def __init__(self, directory: Path, name: str, now_s: float = 1.0) -> None:
        self._recorder = record.Recorder(directory / f"{name}.record")
        self._now_s = now_s

    def dated(
        self,
        name: str,
        answer: str | int,
        *,
        index: int,
        age_ms: int,
        bound_ms: int,
        seen_index: int = 0,
    ) -> None:
        facts = (index, age_ms, bound_ms, seen_index, 0)
        number = self.began(STAT, name)
        self._recorder.end("return", number, self._now_s + 0.5, answer, *facts)

    def did(self, kind: str, name: str, answer: str | int, tag: int = 0, target: str = "") -> None:
        number = self.began(kind, name, tag, target)
        self._recorder.end("return", number, self._now_s + 0.5, answer)

    def began(self, kind: str, name: str, tag: int = 0, target: str = "") -> int:
        self._now_s += 1.0
        operation = Operation("x", kind, name, target, tag, called_s=self._now_s)
        return self._recorder.call(operation)

    def end(self, event: str, number: int, *facts: str) -> None:
        self._recorder.end(event, number, self._now_s + 0.5, *facts)


def judged(directory: Path) -> list[str]:
    violations, _, undecided = verdict.check_history(record.read(directory.glob("*.record")))
    assert not undecided
    return violations


def test_a_history_that_can_be_is_accepted(tmp_path: Path) -> None:
    script = Script(tmp_path, "a")
    script.did(PUT, "g.0", OK, tag=7)
    script.did(RENAME, "g.0", OK, target="g.1")
    script.did(STAT, "g.0", ABSENT)
    script.did(STAT, "g.1", 7)
    script.did(DELETE, "g.1", OK)
    assert judged(tmp_path) == []


def test_an_acknowledged_change_that_is_gone_is_found(tmp_path: Path) -> None:
    script = Script(tmp_path, "a")
    script.did(CREATE, "g.0", OK, tag=7)
    script.did(STAT, "g.0", ABSENT)
    assert judged(tmp_path)


def test_a_change_that_happens_twice_is_found(tmp_path: Path) -> None:
    script = Script(tmp_path, "a")
    script.did(PUT, "g.0", OK, tag=7)
    script.did(PUT, "g.0", OK, tag=8)
    script.did(STAT, "g.0", 7)
    assert judged(tmp_path)


def test_a_refused_change_that_happened_is_found(tmp_path: Path) -> None:
    script = Script(tmp_path, "a")
    script.end("nothing", script.began(CREATE, "g.0", tag=7), "NoSpace")
    script.did(STAT, "g.0", 7)
    assert judged(tmp_path)


def test_an_unknown_change_may_have_happened_or_not(tmp_path: Path) -> None:
    script = Script(tmp_path, "a")
    script.end("unknown", script.began(CREATE, "g.0", tag=7))
    script.did(STAT, "g.0", 7)
    script.end("unknown", script.began(CREATE, "g.1", tag=8))
    script.did(STAT, "g.1", ABSENT)
    assert judged(tmp_path) == []


def test_what_a_killed_client_did_is_unknown(tmp_path: Path) -> None:
    script = Script(tmp_path, "a")
    script.began(CREATE, "g.0", tag=7)
    with (tmp_path / "a.record").open("a") as file:
        file.write('["call", 2, "cre')
    reader = Script(tmp_path, "b")
    reader.did(STAT, "g.0", ABSENT)
    reader.did(STAT, "g.0", 7)
    seen = record.read(tmp_path.glob("*.record"))
    assert seen.counts["unknown"] == 1 and seen.history.unknown_count == 1
    assert judged(tmp_path) == []


def test_an_answer_from_the_past_was_true_since_its_age_began(tmp_path: Path) -> None:
    script = Script(tmp_path, "a")
    script.did(CREATE, "g.0", OK, tag=7)
    script.did(DELETE, "g.0", OK)
    reader = Script(tmp_path, "b", now_s=10.0)
    # Asked at 11; until 3.5 at the latest the file was there.
    reader.dated("g.0", 7, index=5, age_ms=9000, bound_ms=10_000)
    assert judged(tmp_path) == []
    assert record.read(tmp_path.glob("*.record")).ages_ms == [9000]
    reader.dated("g.0", 7, index=5, age_ms=7000, bound_ms=10_000)
    assert judged(tmp_path), "at 5 it was gone"


def test_an_answer_that_is_too_old_or_goes_back_is_found(tmp_path: Path) -> None:
    reader = Script(tmp_path, "b")
    reader.dated("g.0", ABSENT, index=5, age_ms=500, bound_ms=500)
    reader.dated("g.0", ABSENT, index=5, age_ms=501, bound_ms=500)
    reader.dated("g.0", ABSENT, index=5, age_ms=-1, bound_ms=500)
    reader.dated("g.0", ABSENT, index=5, age_ms=0, bound_ms=500, seen_index=6)
    undue = record.read(tmp_path.glob("*.record")).undue
    assert len(undue) == 3 and "back in time from 6 to 5" in undue[2]


def test_an_odd_answer_is_kept_and_its_outcome_is_unknown(tmp_path: Path) -> None:
    script = Script(tmp_path, "a")
    script.end("odd", script.began(CREATE, "g.0", tag=7), "InternalError: it broke")
    seen = record.read(tmp_path.glob("*.record"))
    assert len(seen.odd) == 1 and "it broke" in seen.odd[0]


def test_a_gap_is_the_longest_silence_that_a_kill_met() -> None:
    acknowledged_s = [0.0, 0.1, 0.2, 1.4, 1.5, 9.0, 9.1]
    found = verdict.gaps_ms(acknowledged_s, [0.15])
    assert [round(gap) for gap in found] == [7500]  # It began within the window.
    assert [round(gap) for gap in verdict.gaps_ms(acknowledged_s[:5], [0.15])] == [1200]
    assert verdict.gaps_ms([], [0.15]) == []


def test_silence_counts_while_a_quorum_has_no_fault() -> None:
    acknowledged_s = [0.0, 1.0, 9.0, 10.0]
    one = verdict.Trouble("m1", 1.0, 5.0)
    assert verdict.longest_silence_ms(acknowledged_s, [one]) == 8000
    other = verdict.Trouble("m2", 2.0, 3.0)  # In trouble until 6: silent 1-2 and 6-9.
    assert verdict.longest_silence_ms(acknowledged_s, [one, other]) == 3000
    everyone = verdict.Trouble("m3", 0.5, 4.0, everyone=True)  # Until 7.
    assert verdict.longest_silence_ms(acknowledged_s, [everyone]) == 2000


def test_a_seed_always_gives_the_same_faults() -> None:
    assert schedule.plan(5, 60.0) == schedule.plan(5, 60.0) != schedule.plan(6, 60.0)
    kinds = {one.kind for seed in range(30) for one in schedule.plan(seed, 60.0)}
    assert kinds == set(schedule.KINDS)
    assert {one.kind for one in schedule.plan(1, 60.0, ["kill"])} == {"kill"}


def test_faults_end_with_the_run() -> None:
    for seed in range(30):
        for one in schedule.plan(seed, 20.0):
            assert one.at_s + one.lasts_s <= 20.0


def test_several_faults_of_one_direction_add_up() -> None:
    both = merged([Fault(delay_ms=5.0, bytes_per_s=9e3), Fault(loss=0.1, bytes_per_s=3e3)])
    assert both == Fault(loss=0.1, delay_ms=5.0, bytes_per_s=3e3)
    assert merged([Fault(), Fault(cut=True)]).cut
