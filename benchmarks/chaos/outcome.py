"""What came of masters that were changed or away: figures, and what was to be shown and was not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chaos.absences import Absences
from chaos.masters import Masters
from chaos.operator import Operator


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one run. `answered_since` is how often a client that began before any change was answered
    after all the first masters were gone; None while that cannot be said.
    """

    operator: Operator
    absences: Absences
    masters: Masters
    answered_since: int | None

    def missed(self) -> list[str]:
        """Return what the plan demands and the run has not shown."""
        wrong = []
        begun = self.absences.begun_count
        if begun and not self.absences.came_back["by a snapshot"]:
            wrong.append(f"of {begun} absences none ended by a snapshot")
        if self.answered_since == 0:
            wrong.append("a client hears of no master since the first ones are gone")
        return wrong

    def figures(self) -> list[tuple[str, str]]:
        """Return the rows about masters that came, went, or were away."""
        logs = self.masters.read_logs().values()
        since = "some are left, or went just now"
        if self.answered_since is not None:
            since = f"all gone; {self.answered_since} answers since to a client of before"
        return [
            ("changes of masters", counted(self.operator.done)),
            ("commands refused", counted(self.operator.told)),
            ("snapshots installed", f"{sum(one.log.installed_count for one in logs)} in all"),
            ("absences ended", counted(self.absences.came_back)),
            ("met in mid-snapshot", counted(self.absences.met)),
            ("first masters", since),
        ]


def counted(what: Mapping[str, int]) -> str:
    """Return names with their counts."""
    return ", ".join(f"{name} {count}" for name, count in sorted(what.items())) or "none"
