"""Takes in whom clients and servers say that they could not reach."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from gfs_ha.errors import Unreachable
from gfs_ha.ids import ServerId
from gfs_ha.master.reign import Reign
from gfs_ha.master.unreached import SERVER, SESSION, Witness
from gfs_ha.protocol.codec import Failure

logger = logging.getLogger(__name__)


def take_complaint(
    reign: Reign, missed: Iterable[ServerId], witness: Witness, now_s: float
) -> None:
    """Note whom somebody could not reach; what is believed now is told a person once."""
    observed = reign.observed
    known = [server_id for server_id in missed if server_id in observed.servers]
    if not known or (witness[0] == SESSION and witness[1] not in observed.sessions):
        return  # Anybody can make up a session.
    for server_id in observed.unreached.said(known, witness, len(observed.servers), now_s):
        logger.warning(
            "others cannot reach server=%d state=%s believed_s=%.0f",
            server_id,
            observed.state(server_id, now_s),
            observed.unreached.left_s(server_id, now_s),
        )


def take_failed_link(reign: Reign, target: ServerId, failed: Failure, now_s: float) -> None:
    """Note that a server could not reach one that it was to copy from: it may be either's fault."""
    source = failed.details.get("unreached")
    if failed.error == Unreachable.__name__ and isinstance(source, int):
        take_complaint(reign, (ServerId(source),), (SERVER, target), now_s)
        take_complaint(reign, (target,), (SERVER, source), now_s)
