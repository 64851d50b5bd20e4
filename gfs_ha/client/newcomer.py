"""Whether what answers at an address is the new master that is to be let in."""

from __future__ import annotations

from gfs_ha.config import MasterAddress
from gfs_ha.errors import InvalidArgument, PreconditionFailed
from gfs_ha.protocol.reports import MasterFacts


def check_newcomer(master: MasterAddress, said: MasterFacts) -> None:
    """Compare what is to be added with what it says of itself.

    Raises: InvalidArgument (it is another one, or elsewhere), PreconditionFailed (not empty).
    """
    where = f"{master.host}:{master.port}"
    if said.name != master.name:
        raise InvalidArgument(f"at {where} runs {said.name}, and not {master.name}")
    if said.role == "removed":
        raise PreconditionFailed(
            f"{master.name} was removed from the masters, and a name is never used again: start a"
            " new one under a new name, on an empty directory"
        )
    if said.role != "outsider" or said.commit_index > 1:
        raise PreconditionFailed(
            f"{master.name} at {where} is no new master (it is a {said.role}, with entries up to"
            f" {said.last_index}): start one on an empty directory and without --bootstrap"
        )
    own = next((one for one in said.members if one.name == master.name), None)
    if own is not None and (own.port, own.raft_port) != (master.port, master.raft_port):
        raise InvalidArgument(
            f"{master.name} itself says that it is at {own.host}:{own.port}:{own.raft_port}, and"
            f" not at {where}:{master.raft_port}: make its file and this address the same"
        )
