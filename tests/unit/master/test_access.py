"""Who may ask a master for what: every request has its row, and a hello is its certificate's."""

from __future__ import annotations

import typing
from collections.abc import Iterator

import pytest

from gfs_ha.errors import Denied
from gfs_ha.ids import ServerId, StartId
from gfs_ha.master.handlers.access import ALLOWED, admit, check_hello
from gfs_ha.master.handlers.dispatch import LED
from gfs_ha.master.handlers.reading import READS
from gfs_ha.pki.names import PeerName, Role
from gfs_ha.protocol import append, control, live, metadata, reports, server_modes, tickets
from gfs_ha.protocol.calls import Request
from gfs_ha.protocol.codec import Hello


def requests(kind: object = Request) -> Iterator[type]:
    for one in typing.get_args(kind):
        if typing.get_args(one):
            yield from requests(one)
        else:
            yield one


def test_every_request_has_its_row_and_no_row_is_of_anything_else() -> None:
    assert set(requests()) == set(ALLOWED)
    assert set(ALLOWED) >= {*LED, *READS}


def test_a_chunkserver_does_only_what_chunkservers_do() -> None:
    assert {kind for kind, roles in ALLOWED.items() if Role.CHUNKSERVER in roles} == {
        reports.GetMasterFacts,
        control.RegisterServer,
        control.Heartbeat,
        *(metadata.OpenSession, metadata.CloseSession, metadata.AllocateChunk),
        *(metadata.FinishChunk, metadata.ReleaseChunks),
        next(kind for kind in ALLOWED if kind.__name__ == "MoveReferences"),
        *(tickets.GetTickets, tickets.TellTicketKey),
    }


def test_a_master_only_asks_who_its_peers_are() -> None:
    rows = {kind for kind, roles in ALLOWED.items() if Role.MASTER in roles}
    assert rows == {reports.GetMasterFacts}


def test_a_client_does_no_admin_and_an_admin_is_no_server() -> None:
    for kind in (server_modes.DrainServer, append.RevokeLease, live.GetLive, reports.GetHealth):
        assert ALLOWED[kind] == {Role.ADMIN}
    for kind in (control.Heartbeat, control.RegisterServer):
        assert ALLOWED[kind] == {Role.CHUNKSERVER}


@pytest.mark.parametrize(
    ("role", "name", "said"),
    [
        ("master", "cs1", "calls itself a master"),
        ("client", "cs1", "calls itself a client"),
        ("chunkserver", "cs2", "calls itself 'cs2'"),
        ("chunkserver", "cs1@host:4", "calls itself 'cs1@host:4'"),
    ],
)
def test_a_chunkserver_that_says_it_is_another_is_refused(role: str, name: str, said: str) -> None:
    with pytest.raises(Denied, match=said):
        check_hello(PeerName("prod", Role.CHUNKSERVER, "cs1"), Hello("prod", 1, role, name))


def test_a_chunkserver_registers_under_the_name_of_its_certificate() -> None:
    nowhere: typing.Any = None  # No row has to be looked up for it.

    def register(name: str) -> control.RegisterServer:
        place = ("cs2.example", 7000, "r1", "h2", StartId(1), 1, ())
        return control.RegisterServer(name, ServerId(0), *place)

    cs1 = PeerName("prod", Role.CHUNKSERVER, "cs1")
    admit(nowhere, cs1, register("cs1"))
    for name in ("cs2", "CS1", "cs1 ", "cs1@h2", "cs", "cs12"):
        with pytest.raises(Denied, match="chunkserver cs1 cannot register as"):
            admit(nowhere, cs1, register(name))
    with pytest.raises(Denied, match="may not ask for RegisterServer") as refused:
        admit(nowhere, PeerName("prod", Role.ADMIN, "cs1"), register("cs1"))
    assert refused.value.details == {"sent": 0}


def test_a_person_has_many_processes_under_one_certificate() -> None:
    ann = PeerName("prod", Role.CLIENT, "ann")
    check_hello(ann, Hello("prod", 1, "client", "ann"))
    check_hello(ann, Hello("prod", 1, "client", "ann@host:17"))
    for name in ("anna", "bob@ann", "@ann", ""):
        with pytest.raises(Denied, match="its certificate is that of client ann"):
            check_hello(ann, Hello("prod", 1, "client", name))


def test_without_certificates_a_hello_is_believed() -> None:
    check_hello(None, Hello("prod", 1, "chunkserver", "whoever"))
