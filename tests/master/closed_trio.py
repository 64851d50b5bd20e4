"""Three masters that want certificates, and chunkservers by script that tell their ticket keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from msgspec import structs
from peers import ScriptedServer
from tls_house import TlsHouse
from trio import CLUSTER, NAMES, Trio

from gfs_ha.config import ENCRYPT, TLS, Config, SettingsConfig
from gfs_ha.net.tcp import TcpNetwork
from gfs_ha.net.ticket_keys import TicketKeys
from gfs_ha.net.tickets import key_id_of, open_ticket
from gfs_ha.net.tls import Credentials
from gfs_ha.pki.names import Role
from gfs_ha.protocol.control import Heartbeat, OrderAnswer
from gfs_ha.protocol.tickets import TicketFacts


class ClosedTrio(Trio):
    """Whoever links to it shows a certificate for the role and name that he gives."""

    def __init__(self, directory: Path, settings: SettingsConfig | None = None) -> None:
        super().__init__(directory, settings)
        self._house = TlsHouse(directory / "tls", CLUSTER)
        self._places: dict[tuple[str, str], Path] = {}
        for name in NAMES:
            self._place(Role.MASTER, name)

    def _place(self, role: Role, name: str) -> Path:
        key = (role, name)
        if key not in self._places:
            self._places[key] = self._house.enrol(role, name)
        return self._places[key]

    def config(self, name: str) -> Config:
        where = self._place(Role.MASTER, name)
        return replace(super().config(name), security=TLS, tls_directory=where, data=ENCRYPT)

    def network(self, role: str, name: str) -> TcpNetwork:
        held = Credentials(self._place(Role(role), name), CLUSTER, self.runtime)
        return TcpNetwork(self.runtime, credentials=held)


class KeyedServer(ScriptedServer):
    """A chunkserver of another host that tells its key with every heartbeat."""

    host = "10.0.0.1"

    def __init__(self, trio: Trio, name: str, rack: str, start_id: int = 1) -> None:
        super().__init__(trio, name, rack, start_id)
        self.keys = TicketKeys(trio.runtime)
        self.tells = True  # Else masters never hear its keys.

    def _beat(self, answers: list[OrderAnswer]) -> Heartbeat:
        told = self.keys.newest() if self.tells else None
        return structs.replace(super()._beat(answers), ticket_key=told)

    def opened(self, ticket: bytes) -> TicketFacts:
        """Return what it reads in a ticket; fails when it is none for it."""
        seal = self.keys.find(key_id_of(ticket))
        assert seal is not None, "a key that is not its own"
        facts = open_ticket(ticket, seal)
        assert facts is not None and facts.server_id == self.server_id
        return facts
