"""How a benchmark beside other systems runs: a cluster of ours, rounds, a report, a status."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stage import Failed, Interrupted, Stage

GOAL_MISSED = 8


def rounds_parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser of what all of these benchmarks take."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--json", type=Path)
    return parser


def compare(
    purpose: str,
    racks: tuple[str, ...],
    options: argparse.Namespace,
    measure: Callable[[Stage, argparse.Namespace], Mapping[str, Any]],
    report: Callable[[Any], bool],
) -> int:
    """Measure beside a cluster with as many chunkservers as there are racks named.

    Returns the exit status: that of success only if `report` says that all goals were met.
    """
    try:
        with Stage(purpose) as stage:
            distinct = tuple(dict.fromkeys(racks))
            stage.cluster.up(masters=3, chunkservers=len(racks), racks=distinct)
            found = measure(stage, options)
    except Interrupted as interrupted:
        return interrupted.exit_status
    except Failed as error:
        print(f"BENCHMARK FAILED: {error}", file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if report(found) else GOAL_MISSED
