"""`gfsctl admin sim`: what it lists can be played, and what it cannot write to is said at once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from gfsctl_program import GFSCTL

from gfs_ha.cli.admin.sim import SimulationReport
from gfs_ha.cli.document import report_document
from gfs_ha.sim.masters.figures import Figures
from gfs_ha.sim.masters.search import plan_of


def sim(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [GFSCTL, "admin", "sim", *words], capture_output=True, text=True, timeout=120, check=False
    )


def test_every_plan_that_is_listed_can_be_played() -> None:
    rows = json.loads(sim("plans", "-o", "json").stdout)["items"]
    assert {row["name"] for row in rows if not row["plan"]} >= {"pure-apply", "reads-after-commit"}
    for row in rows:
        if row["plan"]:
            plan_of(row["name"], 1)
    shown = [line.split()[:2] for line in sim("plans").stdout.splitlines()]
    assert ["-", "pure-apply"] in shown and ["rival", "-"] in shown


def test_figures_are_told_to_programs_under_a_name_of_their_own() -> None:
    shown = report_document(SimulationReport((Figures(), Figures())), {})
    assert shown["kind"] == "SimulationReport" and len(shown["items"]) == 2


def test_figures_are_not_kept_where_no_directory_is(tmp_path: Path) -> None:
    ended = sim("run", "--seeds", "1", "--figures", str(tmp_path / "none" / "sums.json"))
    assert ended.returncode == 3 and "no directory" in ended.stderr
    assert not any(tmp_path.iterdir())
