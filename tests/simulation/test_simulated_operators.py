"""Operators change the masters of a simulated cluster, and a lost one begins anew from one copy."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from other_processes import printed

from gfs_ha.master.raft.handshake import Condemned, Handshake
from gfs_ha.master.raft.introductions import Introductions
from gfs_ha.master.raft.members import Addresses, Configuration
from gfs_ha.sim.checkers import Violation
from gfs_ha.sim.masters.members import check_step
from gfs_ha.sim.masters.plans import RunPlan, draw_plan, with_operators
from gfs_ha.sim.masters.run import MasterRun

HERE = Addresses(("h", 1))
THREE = Configuration(dict.fromkeys(("m1", "m2", "m3"), HERE))


def plan(seed: int) -> RunPlan:
    drawn = draw_plan(random.Random(seed))
    return replace(drawn, members_mean_s=0.5, rebirth=True, run_s=8.0)


@pytest.mark.parametrize("seed", [1, 4, 8])
def test_masters_change_and_begin_anew_and_no_promise_breaks(seed: int) -> None:
    lines: list[str] = []
    run = MasterRun(seed, plan=plan(seed), show=lines.append)
    report = run.run()
    assert report.violation is None, report.violation
    assert run.operators.done_count >= 3
    assert any(" recovers at " in line for line in lines)


def last_act(seed: int) -> str | None:
    """Return what a run without other changes of the members found in its recovery."""
    drawn = replace(draw_plan(random.Random(seed)), members_mean_s=0.0, rebirth=True, run_s=2.0)
    return MasterRun(seed, plan=drawn).run().violation


def asks_nobody(patch: pytest.MonkeyPatch) -> None:
    """A member that starts takes part before it has asked anybody."""
    patch.setattr(Introductions, "done", lambda self, now: True)
    patch.setattr(Introductions, "due", lambda self, now: {})


def only_declines(patch: pytest.MonkeyPatch) -> None:
    """A member that is told of a newer incarnation declines the link, and goes on in its own."""
    check = Handshake._check_incarnation

    def declines(self: Handshake, theirs: int, refused: bool) -> None:
        try:
            check(self, theirs, refused)
        except Condemned as condemned:
            raise condemned.error from condemned

    patch.setattr(Handshake, "_check_incarnation", declines)


@pytest.mark.parametrize(
    ("seed", "without"), [(4, asks_nobody), (7, asks_nobody), (2, only_declines)]
)
def test_without_a_rule_an_old_majority_that_comes_back_applies_again(
    seed: int, without: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert last_act(seed) is None
    without(monkeypatch)
    assert "applied otherwise" in str(last_act(seed))


def test_a_seed_without_operators_is_what_it_was_without_them() -> None:
    plans = [draw_plan(random.Random(seed)) for seed in range(40)]
    with_some = [with_operators(one, seed) for seed, one in enumerate(plans)]
    assert any(one.members_mean_s for one in with_some)
    assert any(one.rebirth for one in with_some)
    assert plans == [replace(one, members_mean_s=0.0, rebirth=False) for one in with_some]


def test_only_one_member_moves_at_once() -> None:
    check_step("m1", THREE, Configuration(THREE.voters, {"n1": HERE}))
    check_step("m1", THREE, Configuration(dict.fromkeys(("m1", "m2"), HERE)))
    with pytest.raises(Violation, match="m3, n1"):
        check_step("m1", THREE, Configuration(dict.fromkeys(("m1", "m2", "n1"), HERE)))
    with pytest.raises(Violation, match="nobody"):
        check_step("m1", THREE, THREE)


def test_operators_repeat_themselves_byte_for_byte_in_another_process() -> None:
    script = (
        "import random\n"
        "from dataclasses import replace\n"
        "from gfs_ha.sim.masters.plans import draw_plan\n"
        "from gfs_ha.sim.masters.run import MasterRun\n"
        "plan = replace(draw_plan(random.Random(4)), members_mean_s=0.5, rebirth=True, run_s=6.0)\n"
        "print(MasterRun(4, plan=plan, show=print).run().digest)\n"
    )
    outputs = printed(script, ("0", "random"))
    assert len(outputs) == 1
    assert " recovers at " in outputs.pop()
