"""The release of this package; every process tells its own."""

from __future__ import annotations

VERSION = "0.1.0"
