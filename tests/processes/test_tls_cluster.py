"""A cluster of processes that show certificates: who may what, shut out and renewed as it runs."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from killing import RUNTIME, wait_until
from stage import START_S

import gfs_ha
from gfs_ha.cli.shell import run
from gfs_ha.config import Config, load
from gfs_ha.errors import ConfigError, Denied, GfsError, NoLeader, Unreachable
from gfs_ha.limits import KIB, MIB, PROTOCOL_VERSION
from gfs_ha.local import launcher
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.local.home import Home
from gfs_ha.local.processes import Process
from gfs_ha.net.leader import LeaderLink
from gfs_ha.net.tcp import TcpNetwork
from gfs_ha.net.tls import LOOK_S, Credentials
from gfs_ha.pki import authority as authorities
from gfs_ha.pki import files
from gfs_ha.pki.certificates import describe, load_certificate
from gfs_ha.pki.enrolment import enrol, give_trust
from gfs_ha.pki.names import PeerName, Role
from gfs_ha.pki.peers import PeerCertificate
from gfs_ha.protocol.calls import Asked, Request
from gfs_ha.protocol.codec import Failure, Hello
from gfs_ha.protocol.control import Heartbeat
from gfs_ha.protocol.metadata import ListDirectory
from gfs_ha.protocol.reports import GetServers, ServerReport

pytestmark = pytest.mark.processes

HOST = "127.0.0.1"
TLS = 'security = "tls"\n'
CALL_S = 5.0
ALL_REFUSED = "gfsctl: m1 refused (so did m2, m3, cs"
PATIENCE_S = 60.0  # Only a broken test waits so long.
CONTENT = bytes(range(256)) * KIB


class Closed:
    """A local cluster in mode `tls`, its authority, and the people that it knows."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = directory / "ca"
        self.cluster = LocalCluster(directory / "cluster", timeout_s=START_S, launch=self._launch)
        self.places: dict[PeerName, Path] = {}

    @property
    def id(self) -> str:
        return load(self.cluster.config_path).cluster.id

    def _launch(self, home: Home, role: str, options: Sequence[str] = ()) -> Process:
        """Give a daemon its certificate before its first start, and the first operator his."""
        if not self.ca.exists():
            authorities.create(self.ca, self.id, datetime.now(UTC))
            self.secure(self.cluster.config_path, Role.ADMIN, "root")
        if not (home.directory / "tls").exists():
            self.secure(home.config_path, Role(role), home.name)
        return launcher.launch(home, role, options)

    def secure(self, config: Path, role: Role, name: str) -> None:
        """Say `tls` in a configuration, and issue what belongs into the directory beside it."""
        config.write_text(TLS + config.read_text())
        self.issue(PeerName(self.id, role, name), config.parent / "tls")

    def issue(self, name: PeerName, place: Path, days: int = 365) -> None:
        with authorities.opened(self.ca) as authority:
            enrol(authority, name, [HOST], place, datetime.now(UTC), days)
        self.places[name] = place

    def person(self, role: Role, name: str) -> Config:
        """Return the configuration of a person with a certificate of that role."""
        path = self.directory / name / "gfs.toml"
        path.parent.mkdir()
        path.write_text(self.cluster.config_path.read_text().removeprefix(TLS))
        self.secure(path, role, name)
        return load(path)

    def certificate(self, name: PeerName) -> PeerCertificate:
        where = self.places[name] / files.CERTIFICATE
        return describe(load_certificate(where.read_bytes(), where))

    def revoke(self, *certificates: PeerCertificate) -> None:
        """Revoke certificates, and give everybody the list."""
        with authorities.opened(self.ca) as authority:
            authority.revoke(certificates, datetime.now(UTC))
            for place in self.places.values():
                give_trust(authority, place)

    def trust(self) -> None:
        """Give everybody what is to be trusted now."""
        with authorities.opened(self.ca) as authority:
            for place in self.places.values():
                give_trust(authority, place)

    def members(self) -> list[PeerName]:
        return [name for name in self.places if name.role in (Role.MASTER, Role.CHUNKSERVER)]


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    made = Closed(tmp_path_factory.mktemp("closed"))
    try:
        made.cluster.up(masters=3, chunkservers=2, chunk_bytes=MIB)
        yield made
    finally:
        made.cluster.down(wipe=True)


def attempt(action: Callable[[], object]) -> GfsError | None:
    """Return why something is refused, None when it is not."""
    try:
        action()
    except GfsError as error:
        return error
    return None


def test_a_client_works_with_files_and_does_no_admin(closed: Closed, tmp_path: Path) -> None:
    local = tmp_path / "x"
    local.write_bytes(CONTENT)
    with gfs_ha.connect(closed.person(Role.CLIENT, "ann")) as ann:
        ann.put(local, "/x")
        with ann.open("/x") as file:
            assert file.read() == CONTENT
        with pytest.raises(Denied, match=r"client ann may not ask for GetHealth.* role admin"):
            ann.operations.health()
        with pytest.raises(Denied, match="may not ask for DrainServer"):
            ann.operations.server_modes.drain("cs1", False, (0, 0), "ann")
    with gfs_ha.connect(closed.cluster.config_path) as root:
        assert len(root.operations.servers().items) == 2
        root.operations.health()
        assert root.stat("/x").kind == "file"


def test_who_shows_no_certificate_gets_no_word_out_of_a_master(closed: Closed) -> None:
    config = load(closed.cluster.config_path)
    hello = Hello(config.cluster.id, PROTOCOL_VERSION, "client", "eve")
    link = LeaderLink(config.cluster.masters, TcpNetwork(RUNTIME), hello, RUNTIME)
    try:
        for answer in link.facts().values():
            assert isinstance(answer, Unreachable)
    finally:
        link.close()
    for master in config.cluster.masters:
        for port in (master.port, master.raft_port):
            with socket.create_connection((HOST, port), PATIENCE_S) as peer:
                peer.sendall(b"\x00" * 64)
                try:
                    heard = peer.recv(4096)
                except ConnectionResetError:
                    heard = b""
                # At most an alert of TLS: 0x15 is its type of record.
                assert heard[:1] in (b"", b"\x15")


def test_members_link_by_tls_and_only_with_certificates_of_masters(closed: Closed) -> None:
    config = load(closed.cluster.config_path)
    port = config.cluster.masters[0].raft_port
    # A member that says nothing is told nothing; who is none hears why before he is hung up on.
    for home, told in (("m2", b""), ("cs1", b"here it must be that of a master")):
        held = Credentials(closed.cluster.directory / home / "tls", closed.id, RUNTIME)
        with (
            socket.create_connection((HOST, port), PATIENCE_S) as peer,
            held.client_context().wrap_socket(peer, server_hostname=HOST) as secured,
        ):
            seen = held.identify(secured, frozenset({Role.MASTER}))
            assert seen.name.name == config.cluster.masters[0].name
            heard = bytearray()
            while part := secured.recv(4096):
                heard += part
            assert told in heard and bool(told) == bool(heard), home


def reply_of(link: LeaderLink, request: Request) -> Any:
    """Return what the leader replies, once one is found."""

    replies: list[Any] = []

    def reached() -> bool:
        replies.extend(link.call((Asked(request),), CALL_S))
        return True

    wait_until(reached, "a reply of the leader")
    return replies[0]


def test_a_chunkserver_speaks_for_itself_and_does_only_what_chunkservers_do(
    closed: Closed,
) -> None:
    config = load(closed.cluster.config_path)
    cs1 = Credentials(closed.cluster.directory / "cs1/tls", closed.id, RUNTIME)
    with gfs_ha.connect(config) as root:
        ids = {one.name: one.server_id for one in root.operations.servers().items}
    hello = Hello(closed.id, PROTOCOL_VERSION, "chunkserver", "cs1")
    network = TcpNetwork(RUNTIME, credentials=cs1)
    link = LeaderLink(config.cluster.masters, network, hello, RUNTIME)

    def refusal(request: Request) -> str:
        reply = reply_of(link, request)
        assert isinstance(reply, Failure), reply
        return f"{reply.error}: {reply.message}"

    try:
        beat = Heartbeat(ids["cs2"], 1, 1, (0, 0), 0.0, 0, 0, ())  # type: ignore[arg-type]
        told = refusal(beat)
        assert told == "Denied: chunkserver cs1 cannot speak for chunkserver cs2"
        assert "may not ask for ListDirectory" in refusal(ListDirectory("/"))
        assert "may not ask for GetServers" in refusal(GetServers())
    finally:
        link.close()
    # Nor does it become another, or a client, by saying so.
    for role, name in (("chunkserver", "cs2"), ("client", "cs1"), ("admin", "cs1")):
        liar = Hello(closed.id, PROTOCOL_VERSION, role, name)
        link = LeaderLink(config.cluster.masters, network, liar, RUNTIME)
        try:
            with pytest.raises(Denied, match="its certificate is that of chunkserver cs1"):
                reply_of(link, GetServers())
        finally:
            link.close()


def test_who_is_revoked_is_shut_out_within_seconds_and_without_a_restart(closed: Closed) -> None:
    config = closed.person(Role.CLIENT, "bob")
    with gfs_ha.connect(config, timeout_s=CALL_S) as bob:
        bob.mkdir("/bob")
        closed.revoke(closed.certificate(PeerName(closed.id, Role.CLIENT, "bob")))
        wait_until(lambda: attempt(lambda: bob.stat("/bob")) is not None, "bob is shut out")
    with gfs_ha.connect(config, timeout_s=CALL_S) as bob:

        def shut_out() -> bool:
            # A busy master may not have looked by now, or not answer in time.
            error = attempt(lambda: bob.stat("/bob"))
            return isinstance(error, Denied | NoLeader | Unreachable) and "revoked" in str(error)

        wait_until(shut_out, "bob is told why")
    with gfs_ha.connect(closed.cluster.config_path) as root:
        assert root.stat("/bob").kind == "directory"


def test_new_certificates_for_all_are_taken_over_while_they_run(closed: Closed) -> None:
    before = [closed.certificate(name) for name in closed.members()]
    pids = {one.name: one.pid for one in closed.cluster.status()}
    for name in closed.members():
        closed.issue(name, closed.places[name])
    # Who still held an old one would be dropped, and not come back.
    closed.revoke(*before)
    began_s = RUNTIME.monotonic_s()
    with gfs_ha.connect(closed.cluster.config_path) as root:

        def all_live() -> bool:
            servers = root.operations.servers()
            assert isinstance(servers, ServerReport)
            return [one.state for one in servers.items] == ["live", "live"]

        # Longer than it takes to drop who is not trusted any more, and to miss a server.
        wait_until(lambda: RUNTIME.monotonic_s() > began_s + 10.0, "all have looked")
        wait_until(all_live, "both chunkservers are live")
        root.mkdir("/renewed")
        assert {one.name: one.pid for one in closed.cluster.status()} == pids
    for name in closed.members():
        held = Credentials(closed.places[name], closed.id, RUNTIME)
        assert held.certificate.serial not in {one.serial for one in before}
        assert not held.revocations.has(held.certificate)


def test_an_authority_is_replaced_under_a_cluster_that_runs(closed: Closed) -> None:
    late = closed.person(Role.CLIENT, "late")
    pids = {one.name: one.pid for one in closed.cluster.status()}
    with gfs_ha.connect(closed.cluster.config_path) as root:
        with authorities.opened(closed.ca) as authority:
            authority.rotate(datetime.now(UTC))
        closed.trust()
        RUNTIME.sleep(2 * LOOK_S)  # All have looked, before they meet a new certificate.
        root.mkdir("/rotating")
        for name in [*closed.members(), PeerName(closed.id, Role.ADMIN, "root")]:
            closed.issue(name, closed.places[name])
        RUNTIME.sleep(2 * LOOK_S)  # All show their new ones, before the old ones are worth nothing.
        with gfs_ha.connect(late, timeout_s=CALL_S) as client:
            wait_until(lambda: attempt(lambda: client.stat("/rotating")) is None, "both are good")
            with authorities.opened(closed.ca) as authority:
                left = {one.certificate.name.name for one in authority.outdated(datetime.now(UTC))}
                assert left == {"ann", "late"}  # And nobody who is revoked.
                authority.finish(datetime.now(UTC))
            closed.trust()
            wait_until(
                lambda: attempt(lambda: client.stat("/rotating")) is not None,
                "who got no new one is out",
            )
        root.mkdir("/rotated")
    with pytest.raises(ConfigError, match="was not issued by an authority that is trusted here"):
        gfs_ha.connect(late)
    with gfs_ha.connect(closed.cluster.config_path) as root:
        wait_until(
            lambda: [one.state for one in root.operations.servers().items] == ["live", "live"],
            "both chunkservers are live",
        )
    assert {one.name: one.pid for one in closed.cluster.status()} == pids


def test_an_end_that_is_near_is_found_while_it_can_be_mended(closed: Closed) -> None:
    ends = {"m1", "m2", "m3", "cs1"}
    short = [name for name in closed.members() if name.name in ends]
    with gfs_ha.connect(closed.cluster.config_path) as root:

        def found() -> set[str]:
            items = root.operations.health().items
            return {one.subject for one in items if one.code == "CERT_EXPIRES"}

        assert not found()
        for name in short:
            closed.issue(name, closed.places[name], days=20)
        # Masters are asked once a minute.
        wait_until(lambda: found() == ends, "all four are found", 100.0)
        for name in short:
            closed.issue(name, closed.places[name])
        soon = {root.leader, "cs1"}  # The others are asked again a minute later.
        wait_until(lambda: not found() & soon, "new ones are heard of")


def test_a_daemon_does_not_start_with_what_is_not_its_own(closed: Closed) -> None:
    cluster = closed.cluster
    cluster.kill("cs2")
    home = cluster.member("cs2").home.directory
    (home / "tls").rename(home / "own")
    closed.issue(PeerName(closed.id, Role.CHUNKSERVER, "cs9"), home / "tls")
    with pytest.raises(
        ConfigError, match="certificate of chunkserver cs9, this is chunkserver cs2"
    ):
        cluster.start("cs2")
    for path in (home / "tls").iterdir():
        path.unlink()
    (home / "tls").rmdir()
    del closed.places[PeerName(closed.id, Role.CHUNKSERVER, "cs9")]
    (home / "own").rename(home / "tls")
    cluster.start("cs2")


def test_a_client_is_told_that_logs_are_not_for_it(
    closed: Closed, capsys: pytest.CaptureFixture[str]
) -> None:
    config = closed.person(Role.CLIENT, "cleo").path
    for words in (("trace", "00000000000000ff"), ("logs",)):
        told = ""

        def all_refuse(words: tuple[str, ...] = words) -> bool:
            nonlocal told
            status = run(["--config", str(config), "admin", *words])
            told = capsys.readouterr().err
            # A busy one may not answer in time, and is not among them then.
            mute = "did not answer" in told
            return status == 6 and told.startswith(ALL_REFUSED) and not mute

        try:
            wait_until(all_refuse, f"all refuse {words[0]}", PATIENCE_S)
        finally:
            print(told)
        assert "client cleo may not ask for ReadLog" in told
        assert told.count("\n") == 1


def test_who_does_not_fit_a_closed_cluster_hears_why(closed: Closed) -> None:
    path = closed.directory / "plain.toml"
    path.write_text(closed.cluster.config_path.read_text().removeprefix(TLS))
    wait_until_told(path, r"none answers: .*at a port with TLS")
    stranger = closed.person(Role.CLIENT, "eve")
    assert stranger.tls_directory is not None
    authorities.create(closed.directory / "other", closed.id, datetime.now(UTC))
    with authorities.opened(closed.directory / "other") as other:
        name = PeerName(closed.id, Role.CLIENT, "eve")
        enrol(other, name, [], stranger.tls_directory, datetime.now(UTC))
    wait_until_told(stranger, r"none answers: .* is not to be trusted: .*certificate")


def wait_until_told(config: Config | Path, why: str) -> None:
    """Wait until somebody is told why he gets nowhere; it may take a while to ask all masters."""
    with gfs_ha.connect(config, timeout_s=1.0) as cluster:

        def told() -> bool:
            error = attempt(lambda: cluster.stat("/"))
            return isinstance(error, NoLeader) and re.search(why, error.message) is not None

        wait_until(told, why)
