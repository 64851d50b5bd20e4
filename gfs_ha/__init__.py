"""A distributed file system in the line of GFS, whose master is no single point of failure."""

from __future__ import annotations

__version__ = "0.1.0"
