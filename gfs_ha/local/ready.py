"""When a local cluster is ready: a leader serves, and has heard every chunkserver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from gfs_ha import config
from gfs_ha.errors import DeadlineExceeded, Denied, GfsError
from gfs_ha.local.home import CHUNKSERVER
from gfs_ha.local.layout import Member
from gfs_ha.net.entry import enter_as_person
from gfs_ha.net.leader import LeaderLink
from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.reports import GetServers, ServerReport
from gfs_ha.runtime import Runtime

_PAUSE_S = 0.05
_CALL_TIMEOUT_S = 2.0
_OTHERS_S = 2.0  # After one ended, how long others have to end or to be live.
_LIVE = "live"


def wait_serving(
    client_config: Path,
    members: Sequence[Member],
    runtime: Runtime,
    timeout_s: float,
    ended: Callable[[], Sequence[Member]],
) -> Sequence[Member]:
    """Wait until a leader serves and every chunkserver is live for it; return no members then.

    Args: `ended` returns the members whose processes are over. Nobody waits for them: they are
    returned as soon as it is known of the others what becomes of them, or a moment later.
    Raises: DeadlineExceeded that says what was missing last.
    """
    loaded = config.load(client_config)
    entry = enter_as_person(loaded, "local", runtime)
    link = LeaderLink(loaded.cluster.masters, entry.network, entry.hello, runtime)
    deadline_s = runtime.monotonic_s() + timeout_s
    try:
        while True:
            gone = ended()
            missing = _missing(link, [one for one in members if one not in gone])
            now_s = runtime.monotonic_s()
            if not missing or (gone and now_s >= deadline_s):
                return gone
            if now_s >= deadline_s:
                raise DeadlineExceeded(f"not ready after {timeout_s:.0f} s: {missing}")
            if gone:
                deadline_s = min(deadline_s, now_s + _OTHERS_S)
            runtime.sleep(_PAUSE_S)
    finally:
        link.close()


def _missing(link: LeaderLink, members: Sequence[Member]) -> str:
    """Return what is still missing, or an empty string."""
    try:
        reply = link.call((Asked(GetServers()),), _CALL_TIMEOUT_S)[0]
    except Denied:
        raise
    except GfsError as error:
        return error.message
    if isinstance(reply, Failure):
        return reply.message
    assert isinstance(reply, ServerReport), reply
    # A server that this leader has not heard yet has no disks, whatever its age says.
    heard = {row.name: row.port for row in reply.items if row.state == _LIVE and row.disks}
    absent = [
        member.name
        for member in members
        if member.role == CHUNKSERVER and heard.get(member.name) != member.port
    ]
    return f"the leader has not heard {', '.join(absent)}" if absent else ""
