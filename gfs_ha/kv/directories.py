"""Directories whose names survive a power cut: made, and synced where they are named."""

from __future__ import annotations

import os
from pathlib import Path


def make_durable(path: Path) -> None:
    """Make a directory and what is missing above it; the names are durable. Raises: OSError."""
    missing = [path]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    if not path.is_dir():  # On a full disk also what is there already cannot be made.
        path.mkdir(parents=True, exist_ok=True)
    for one in reversed(missing):
        # Also of one that was there: a killed process may not have come as far as this.
        sync_directory(one.parent)


def sync_directory(path: Path) -> None:
    """Make durable which names a directory holds. Raises: OSError."""
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)
