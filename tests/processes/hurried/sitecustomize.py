"""Gives every process that finds this on its path tickets and keys that live for seconds."""

from __future__ import annotations

from gfs_ha import limits

limits.TICKET_LIFE_S = 3.0
limits.TICKET_LATE_S = 0.5
limits.TICKET_KEY_LATE_S = 2.0
limits.TICKET_KEY_S = 6.0
