"""How a chunkserver makes itself known to the masters: who it is, with which disks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gfs_ha.errors import Denied, GfsError, ProtocolError, WrongDirectory
from gfs_ha.ids import ServerId, StartId
from gfs_ha.net.ticket_keys import TicketKeys
from gfs_ha.net.tls import Credentials
from gfs_ha.protocol.calls import Asked, CallBody, CallReply, Request
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.control import DiskFacts, RegisterServer, ServerRegistered
from gfs_ha.protocol.tickets import TicketKey


class Leader(Protocol):
    """The link to whoever leads; `close` ends the calls that wait."""

    def call(self, body: CallBody, timeout_s: float) -> CallReply: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Who this server is, fixed for one run. `server_id` 0 asks the masters for one."""

    name: str
    server_id: ServerId
    host: str
    port: int
    rack: str
    machine: str
    start_id: StartId
    boot_id: int
    listening: str = ""  # Where its data port is, in numbers: what `host` is on this machine.
    credentials: Credentials | None = None
    ticket_keys: TicketKeys | None = None  # Of a closed cluster.

    def ticket_key(self) -> TicketKey | None:
        """Return the key that masters are told."""
        return None if self.ticket_keys is None else self.ticket_keys.newest()


def register(
    leader: Leader, facts: ServerFacts, disks: tuple[DiskFacts, ...], timeout_s: float
) -> ServerRegistered:
    """Make this start of the server known to the leader, and return what it answers.

    Raises: WrongDirectory when the cluster knows this name, id or disk otherwise; Unavailable…
    """
    request = RegisterServer(
        name=facts.name,
        server_id=facts.server_id,
        host=facts.host,
        port=facts.port,
        rack=facts.rack,
        machine=facts.machine,
        start_id=facts.start_id,
        boot_id=facts.boot_id,
        disks=disks,
        ticket_key=facts.ticket_key(),
    )
    reply = ask(leader, request, timeout_s)
    if not isinstance(reply, ServerRegistered):
        raise ProtocolError(f"the leader answered {type(reply).__name__} to RegisterServer")
    return reply


def ask(leader: Leader, request: Request, timeout_s: float) -> object:
    """Return the reply to one request. Raises: what the leader refused it with, Unavailable…"""
    reply = leader.call((Asked(request),), timeout_s)[0]
    if isinstance(reply, Failure):
        raise reply.raised()
    return reply


def is_final(error: GfsError, registered_once: bool) -> bool:
    """Return whether trying again is in vain: then the server must end and say why.

    Masters that refuse us after they took us are being changed; a person sees it in the log.
    """
    return isinstance(error, WrongDirectory) or (isinstance(error, Denied) and not registered_once)
