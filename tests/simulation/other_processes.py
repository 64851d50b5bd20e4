"""The same script in processes that hash strings differently: what each of them prints."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable

TIMEOUT_S = 120


def printed(script: str, hash_seeds: Iterable[str]) -> set[str]:
    """Return the different outputs; one alone when the script is deterministic."""
    return {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=TIMEOUT_S,
        ).stdout
        for hash_seed in hash_seeds
    }
