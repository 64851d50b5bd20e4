"""How old answers were, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gfs_ha.protocol.calls import AsOf


def age_facts(consistency: str, as_of: AsOf | None) -> dict[str, Any]:
    """Return what JSON says beside the leader; None for an age says that it is not known."""
    if as_of is None:
        return {"consistency": consistency, "age_ms": 0, "degraded": False}
    return {
        "index": as_of.index,
        "consistency": consistency,
        "master": as_of.master,
        "age_ms": None if as_of.age_ms < 0 else as_of.age_ms,
        "degraded": as_of.degraded,
    }


def degraded_text(as_of: AsOf) -> str:
    """Return the warning about answers that were given without a leader."""
    if as_of.age_ms < 0:
        return "degraded: no leader, nobody knows how old the answer is"
    return f"degraded: no leader, answer is {as_of.age_ms / 1000:.1f} s old"
