"""`gfsctl admin sim`: masters, or whole clusters, in one process, in virtual time, from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
from rich.console import Group
from rich.table import Table
from rich.text import Text

from gfs_ha.cli import output
from gfs_ha.cli.options import NumberRange
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text, duration_text
from gfs_ha.cli.verb import Family, Row, Verb
from gfs_ha.errors import NotFound, Unhealthy
from gfs_ha.sim.cluster.report import ClusterReport
from gfs_ha.sim.masters import figures
from gfs_ha.sim.masters.campaign import run_seeds
from gfs_ha.sim.masters.figures import Figures, Report
from gfs_ha.sim.masters.run import RunReport
from gfs_ha.sim.simulations import SIMULATIONS

_HERE = "gfs_ha.cli.admin.sim"
_FIGURES = Path("~/.gfs-ha")

_what = click.option(
    "--what",
    type=click.Choice(list(SIMULATIONS)),
    default="masters",
    help="The masters with their clients, or also chunkservers, data and repair (masters).",
)

sim = Family(
    "sim",
    help="Simulate masters, or whole clusters, in virtual time; needs no cluster.",
    examples="""
    gfsctl admin sim run --seeds 500             # go on where the last run ended
    gfsctl admin sim run --what cluster --minutes 60  # with chunkservers, for an hour
    gfsctl admin sim replay 4711 --trace         # what happened in one of them
    gfsctl admin sim plans                       # what can be played, and switched off
    """,
    rows={
        "run": Row(_HERE, "run", "Run many seeds, counted over all runs (exit 8)"),
        "replay": Row(_HERE, "replay", "Run one seed again (exit 8)"),
        "plans": Row(_HERE, "plans", "List directed plans, and rules to switch off"),
    },
)


@click.command(
    cls=Verb,
    examples="""
    gfsctl admin sim run --seeds 500                     # go on where the last run ended
    gfsctl admin sim run --start 1 --seeds 20            # these seeds
    gfsctl admin sim run --minutes 60 --figures sums.json  # keep the sums elsewhere
    gfsctl admin sim run --without stored-answers        # find out that this rule matters
    gfsctl admin sim run --what cluster --seeds 50       # with chunkservers, files and repair
    """,
)
@_what
@click.option("--seeds", type=click.IntRange(1), help="How many (100, or until --minutes is over).")
@click.option("--start", type=click.IntRange(0), help="The first (where the last run ended).")
@click.option("--minutes", type=NumberRange(0, min_open=True), help="The longest time.")
@click.option("--figures", "path", metavar="FILE", help=f"Where the sums are kept ({_FIGURES}).")
@click.option(
    "--without",
    metavar="RULE",
    help="Switch a rule off (see `plans`); end at the first violation.",
)
@pass_session
def run(
    session: Session,
    what: str,
    seeds: int | None,
    start: int | None,
    minutes: float | None,
    path: str | None,
    without: str | None,
) -> None:
    """Simulate a cluster with faults, seed by seed. Exit status 8 after a violation.

    The same seed does the same in every run. With --without it is 8 when nothing was found.
    """
    if without is not None:
        _search(session, what, without, range(start or 1, (start or 1) + (seeds or 1000)))
        return
    simulation = SIMULATIONS[what]
    file = Path(path) if path else _FIGURES.expanduser() / simulation.figures
    if path and not file.parent.is_dir():
        raise NotFound(f"--figures {path}: there is no directory {file.parent}; make it first")
    first = figures.load(file).next_seed if start is None else start
    count = seeds or (100 if minutes is None else 1 << 40)

    def told(report: Report) -> None:
        if report.violation is not None:
            output.say(f"seed {report.seed}: {report.violation}")
        session.note(f"seed {report.seed}: {report.simulated_s:.1f} s, {report.digest}")

    own = run_seeds(simulation.run, range(first, first + count), file, minutes, told)
    session.show(SimulationReport((own, figures.load(file))))
    if own.violations:
        raise Unhealthy(f"{count_text(own.violations, 'seed')} broke a promise of the {what}")


@click.command(
    cls=Verb,
    examples="""
    gfsctl admin sim replay 4711            # does it still break?
    gfsctl admin sim replay 4711 --trace    # every event that can be seen from outside
    gfsctl admin sim replay --plan rival    # a seed among chosen faults; `plans` lists them
    gfsctl admin sim replay 2 --without stickiness --trace  # what the rule prevents
    """,
)
@click.argument("seed", type=click.IntRange(0), default=1)
@_what
@click.option("--plan", metavar="NAME", help="Among the faults of a directed plan (see `plans`).")
@click.option("--without", metavar="RULE", help="Switch a rule off, among its own faults.")
@click.option("--trace", is_flag=True, help="Write what happens, with its time.")
@pass_session
def replay(
    session: Session, seed: int, what: str, plan: str | None, without: str | None, trace: bool
) -> None:
    """Run one seed again, the same way in every process. Exit status 8 if it breaks a promise.

    Without a SEED it is seed 1.
    """
    show = (lambda line: output.write_lines([line])) if trace else None
    simulation = SIMULATIONS[what]
    if without is not None:
        simulation.check_rule(without)
    report = simulation.replay(seed, plan, without, show)
    assert isinstance(report, RunReport | ClusterReport)
    session.show(ReplayReport((report,)))
    if report.violation is not None:
        raise Unhealthy(f"seed {seed}: {report.violation}")


@click.command(
    cls=Verb,
    examples="""
    gfsctl admin sim plans               # names for replay --plan and run --without
    """,
)
@_what
@pass_session
def plans(session: Session, what: str) -> None:
    """List what `replay --plan` plays and which rules `--without` switches off."""
    simulation = SIMULATIONS[what]
    played, rules = simulation.plans, simulation.rules.items()
    single = (PlanRow(name, "", "only this fault") for name in simulation.faults)
    ruled = (PlanRow(name, one.rule, one.text, name in played) for name, one in rules)
    session.show(PlanList((*ruled, *single)))


class PlanRow(msgspec.Struct, frozen=True):
    """A directed plan; with a rule, one that can be switched off."""

    name: str
    rule: str
    text: str
    plan: bool = True  # Else the rule shows among the usual faults: there is nothing to direct.


class PlanList(msgspec.Struct, frozen=True):
    """All of them."""

    items: tuple[PlanRow, ...]


class SimulationReport(msgspec.Struct, frozen=True):
    """What a campaign came to, and all of them together."""

    items: tuple[Figures, ...]


class ReplayReport(msgspec.Struct, frozen=True):
    """What one seed did."""

    items: tuple[RunReport | ClusterReport, ...]


def _search(session: Session, what: str, rule: str, seeds: range) -> None:
    simulation = SIMULATIONS[what]
    simulation.check_rule(rule)
    report = simulation.find(rule, seeds)
    if report is None:
        raise Unhealthy(f"{len(seeds)} seeds without {rule} broke no promise")
    assert isinstance(report, RunReport | ClusterReport)
    session.show(ReplayReport((report,)))


@names.register
def _(report: SimulationReport) -> Iterator[str]:
    for found in report.items[0].found:
        yield str(found.seed)


@names.register
def _(report: ReplayReport) -> Iterator[str]:
    yield str(report.items[0].seed)


@names.register
def _(report: PlanList) -> Iterator[str]:
    for row in report.items:
        yield row.name


@render.register
def _(report: PlanList, wide: bool) -> Table:
    table = Table("Plan", "Without", "Rule", "What", box=None)
    for row in report.items:
        switch = row.name if row.rule else "-"
        table.add_row(row.name if row.plan else "-", switch, row.rule or "-", row.text)
    return table


@render.register
def _(report: SimulationReport, wide: bool) -> Group:
    own, total = report.items
    table = Table("", "Now", "In all", box=None)
    for title, name in (
        ("Seeds", "seeds"),
        ("Simulated seconds", "simulated_s"),
        ("Operations", "operations"),
        ("Acknowledged changes", "acked"),
        ("Unknown outcomes", "unknown"),
        ("Terms that led", "terms"),
        ("Histories not judged", "undecided"),
        ("Violations", "violations"),
    ):
        table.add_row(title, *(f"{getattr(sums, name):,.0f}" for sums in (own, total)))
    table.add_row("Took", *(duration_text(sums.elapsed_s * 1000) for sums in (own, total)))
    return Group(table)


@render.register
def _(report: ReplayReport, wide: bool) -> Group:
    one = report.items[0]
    facts = (
        f"seed {one.seed}: {one.simulated_s:.1f} s simulated, {one.operations} operations,"
        f" {one.acked} acknowledged changes, {one.terms} terms, {one.events} events"
    )
    lines = [facts, f"trace {one.digest}"]
    if isinstance(one, ClusterReport) and one.disk_faults:
        counts = (*one.disk_faults.items(), *one.jobs.items())
        lines.append("disks and jobs: " + ", ".join(f"{count} {name}" for name, count in counts))
    verdict = Text(one.violation, "bold red") if one.violation else Text("no violation", "green")
    return Group(*(Text(line) for line in lines), verdict)
