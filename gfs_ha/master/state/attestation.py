"""The masters compare their states: what a check is, and what the majority attests."""

from __future__ import annotations

from gfs_ha.errors import InvalidArgument, StaleCommand
from gfs_ha.master.state.bounds import U64_MAX, check_count, check_range, check_text
from gfs_ha.master.state.commands import AttestState, VerifyState
from gfs_ha.master.state.digest import HASH_BYTES
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.records import StateCheck
from gfs_ha.master.state.tables import ONLY, STATE_CHECKS
from gfs_ha.protocol.metadata import Done

MEMBERS_MAX = 16
_NAME_BYTES_MAX = 255


@step(VerifyState)
def verify_state(draft: Draft, command: VerifyState) -> Done:
    """Change no row: the machine writes down the hash of what this command leaves."""
    return Done()


@step(AttestState)
def attest_state(draft: Draft, command: AttestState) -> Done:
    """Write down how the check ended. Refuses: StaleCommand, InvalidArgument, LimitExceeded."""
    _check(draft, command)
    before = draft.rows.get(STATE_CHECKS, ONLY)
    if before is not None and before.index >= command.index:
        raise StaleCommand(f"the check at log index {before.index} is attested already")
    known = before.diverged if before is not None else ()
    diverged = {*known, *command.differing} - {*command.agreed}
    row = StateCheck(
        index=command.index,
        value=command.value,
        agreed=command.agreed,
        differing=command.differing,
        missing=command.missing,
        diverged=tuple(sorted(diverged)),
        cluster_ms=draft.counters.cluster_ms,
        wall_ns=draft.stamp.wall_ns,
    )
    draft.rows.put(STATE_CHECKS, ONLY, row)
    return Done()


def _check(draft: Draft, command: AttestState) -> None:
    check_range("index", command.index, 1, min(U64_MAX, draft.stamp.index - 1))
    if len(command.value) not in (0, HASH_BYTES):
        raise InvalidArgument(f"a state hash has {HASH_BYTES} bytes, not {len(command.value)}")
    for members in (command.agreed, command.differing, command.missing):
        check_count("masters", members, MEMBERS_MAX)
        for member in members:
            check_text("master", member, _NAME_BYTES_MAX)
