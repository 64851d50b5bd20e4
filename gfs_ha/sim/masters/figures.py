"""What all runs so far came to: kept in a file, so that a campaign can stop and go on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import msgspec

from gfs_ha.errors import ConfigError

_VIOLATIONS_KEPT = 100


class Report(Protocol):
    """What one run did, of whatever is simulated."""

    seed: int
    violation: str | None
    simulated_s: float
    operations: int
    acked: int
    unknown: int
    undecided: int
    terms: int
    events: int
    digest: str


class FoundViolation(msgspec.Struct, frozen=True):
    """A seed that broke a promise, and which."""

    seed: int
    text: str


class Figures(msgspec.Struct):
    """Sums over all seeds that were run. `next_seed` is where the next run goes on."""

    seeds: int = 0
    next_seed: int = 1
    simulated_s: float = 0.0
    elapsed_s: float = 0.0
    operations: int = 0
    acked: int = 0
    unknown: int = 0
    undecided: int = 0
    terms: int = 0
    violations: int = 0
    found: list[FoundViolation] = []

    def add(self, report: Report) -> None:
        """Count a run."""
        self.seeds += 1
        self.next_seed = max(self.next_seed, report.seed + 1)
        for name in ("simulated_s", "operations", "acked", "unknown", "undecided", "terms"):
            setattr(self, name, getattr(self, name) + getattr(report, name))
        if report.violation is not None:
            self.violations += 1
            if len(self.found) < _VIOLATIONS_KEPT:
                self.found = [*self.found, FoundViolation(report.seed, report.violation)]


def load(path: Path) -> Figures:
    """Return what the file holds; nothing yet if there is none. Raises: ConfigError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Figures)
    except FileNotFoundError:
        return Figures()
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path} holds no figures of simulations: {error}") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


def store(path: Path, figures: Figures) -> None:
    """Replace the file. Raises: ConfigError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(path.name + ".new")
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
        os.replace(fresh, path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
