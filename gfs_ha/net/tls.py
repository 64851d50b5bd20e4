"""The credentials of a process: who it is, whom it trusts, and whether a peer is who it must be.

The only door to `ssl`. Revocation is looked up here and not by OpenSSL: that refuses everybody when
a list has run out, or when one of two trusted authorities has none. Here a list that has run out
still revokes what it names, and a warning says that it may miss news.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gfs_ha.errors import ConfigError, Denied, WrongCluster
from gfs_ha.pki import files
from gfs_ha.pki.names import PeerName, Role
from gfs_ha.pki.peers import PeerCertificate, Revocations
from gfs_ha.runtime import Runtime

if TYPE_CHECKING:
    from gfs_ha.pki.certificates import Authorities

logger = logging.getLogger(__name__)

LOOK_S = 2.0  # Between two looks at the files.
_NAMES = (files.TRUSTED, files.REVOKED, files.CERTIFICATE, files.KEY)

# (name, time of change in ns, length, inode) of each file that is there; a chmod is a change, too.
_Signature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Loaded:
    own: PeerCertificate
    trusted: dict[bytes, datetime]  # Key ids of authorities, the current one first; their ends.
    revocations: Revocations
    server: ssl.SSLContext
    client: ssl.SSLContext


class Credentials:
    """The files of a TLS directory, loaded and kept up to date. Thread-safe.

    Whoever asks for something looks at the files, at most once in 2 s: good new ones are taken over
    and `generation` grows; of bad ones it is said once, and the ones before stay. Raises:
    ConfigError when the files are missing, do not fit together or are not of this cluster.
    """

    def __init__(self, directory: Path, cluster: str, runtime: Runtime) -> None:
        self._directory = directory
        self._cluster = cluster
        self._runtime = runtime
        self._lock = runtime.lock()
        self._generation = 1
        self._signature = self._doubted = self._sign()
        self._loaded = self._load()
        self._look_again_s = runtime.monotonic_s() + LOOK_S
        self._check_clock(self._loaded)

    @property
    def own(self) -> PeerName:
        """Return who this process is."""
        return self._loaded.own.name

    @property
    def certificate(self) -> PeerCertificate:
        """Return what our own certificate says, as of the newest files."""
        return self._newest().own

    @property
    def until_ms(self) -> int:
        """Return until when our own certificate is good, in milliseconds of wall time."""
        return int(self.certificate.expires.timestamp() * 1000)

    @property
    def revocations(self) -> Revocations:
        """Return what is revoked, as of the newest files."""
        return self._newest().revocations

    @property
    def trusted(self) -> dict[bytes, datetime]:
        """Return the key ids of the authorities that are trusted and their ends, the newest first.

        As of the newest files.
        """
        return dict(self._newest().trusted)

    @property
    def generation(self) -> int:
        """Return a number that grew when good new files were found."""
        self._newest()
        return self._generation

    def server_context(self) -> ssl.SSLContext:
        """Return the newest context for accepted sockets; use one per connection."""
        return self._newest().server

    def client_context(self) -> ssl.SSLContext:
        """Return the newest context for dialled sockets; they must give `server_hostname`."""
        return self._newest().client

    def identify(
        self, sock: ssl.SSLSocket | ssl.SSLObject, roles: frozenset[Role]
    ) -> PeerCertificate:
        """Return who a peer is, after the handshake.

        Raises: Denied when its certificate is none of ours, revoked or for another role;
        WrongCluster when it is of another cluster.
        """
        from gfs_ha.pki.certificates import describe_der

        data = sock.getpeercert(binary_form=True)
        if data is None:
            raise Denied("the peer showed no certificate")
        peer = describe_der(data)
        if peer.name.cluster != self._cluster:
            raise WrongCluster(
                f"the certificate of {peer.name} is for cluster {peer.name.cluster!r},"
                f" this is {self._cluster!r}"
            )
        loaded = self._newest()
        if loaded.revocations.has(peer):
            raise Denied(f"the certificate of {peer.name} (serial {peer.serial:x}) is revoked")
        if peer.authority not in loaded.trusted:
            raise Denied(f"the certificate of {peer.name} is of an authority not trusted any more")
        if peer.name.role not in roles:
            wanted = " or ".join(sorted(roles))
            raise Denied(
                f"the certificate is that of {peer.name}; here it must be that of a {wanted}"
            )
        return peer

    def still_good(self, peer: PeerCertificate) -> bool:
        """Return False once a peer that was identified is revoked, expired or distrusted."""
        loaded = self._newest()
        return (
            not loaded.revocations.has(peer)
            and peer.authority in loaded.trusted
            and peer.expires > self._now()
        )

    def _newest(self) -> _Loaded:
        # Read without the lock: a float and a reference, and nobody waits for another's look.
        if self._runtime.monotonic_s() >= self._look_again_s:
            with self._lock:
                if self._runtime.monotonic_s() >= self._look_again_s:
                    self._look_again_s = self._runtime.monotonic_s() + LOOK_S
                    self._look()
        return self._loaded

    def _look(self) -> None:
        signature = self._sign()
        if signature == self._signature:
            return
        try:
            loaded = self._load()
            if loaded.own.name != self._loaded.own.name:
                raise ConfigError(
                    f"the certificate is that of {loaded.own.name}, not of {self._loaded.own.name}"
                )
            if loaded.own.expires <= self._now():
                raise ConfigError(f"the certificate has run out on {loaded.own.expires:%Y-%m-%d}")
            if self._loaded.revocations.expires and not loaded.revocations.expires:
                raise ConfigError(f"{files.REVOKED} is gone, or of nobody who is trusted")
            lost = self._loaded.revocations.listed - loaded.revocations.listed
            if lost & loaded.trusted.keys():
                raise ConfigError(f"{files.REVOKED} lacks the list of an authority that is trusted")
        except ConfigError as error:
            # One file is written after the other: what is wrong at two looks stays so.
            if signature == self._doubted:
                self._signature = signature
                logger.error(
                    "new credentials not taken, the ones before stay directory=%s reason=%s",
                    self._directory,
                    error.message,
                )
            self._doubted = signature
            return
        if self._sign() != signature:
            return  # They are being written: the next look.
        self._signature = signature
        self._loaded = loaded
        self._generation += 1
        logger.info(
            "new credentials taken directory=%s serial=%x expires=%s trusted=%d revoked=%d",
            self._directory,
            loaded.own.serial,
            loaded.own.expires.isoformat(),
            len(loaded.trusted),
            len(loaded.revocations.revoked),
        )
        self._check_list(loaded)

    def _load(self) -> _Loaded:
        from gfs_ha.pki import certificates as pem

        at = self._directory
        authorities = pem.load_authorities(files.read(at / files.TRUSTED), at / files.TRUSTED)
        where = at / files.CERTIFICATE
        certificate = pem.load_certificate(files.read(where), where)
        key = pem.load_key(files.read_secret(at / files.KEY), at / files.KEY)
        try:
            own = pem.check_own(certificate, key, authorities)
        except ConfigError as error:
            raise ConfigError(f"{at / files.CERTIFICATE}: {error.message}") from error
        if own.name.cluster != self._cluster:
            raise ConfigError(
                f"{at / files.CERTIFICATE}: is for cluster {own.name.cluster!r},"
                f" the configuration says {self._cluster!r}"
            )
        revocations = Revocations()
        if (at / files.REVOKED).exists():
            where = at / files.REVOKED
            revocations = pem.load_revocations(files.read(where), authorities, where)
        return _Loaded(
            own=own,
            trusted={pem.key_id(one): one.not_valid_after_utc for one in authorities.certificates},
            revocations=revocations,
            server=self._context(ssl.PROTOCOL_TLS_SERVER, authorities),
            client=self._context(ssl.PROTOCOL_TLS_CLIENT, authorities),
        )

    def _context(self, protocol: ssl._SSLMethod, authorities: Authorities) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.maximum_version = ssl.TLSVersion.TLSv1_3
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.hostname_checks_common_name = False  # A name is not where somebody is dialled.
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        if protocol is ssl.PROTOCOL_TLS_CLIENT:
            context.check_hostname = True
        else:
            # A ticket would let a peer come back without showing its certificate again.
            context.num_tickets = 0
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(cadata=authorities.pem)
            context.load_cert_chain(
                self._directory / files.CERTIFICATE,
                self._directory / files.KEY,
                password=_no_password,
            )
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"{self._directory}: cannot be used for TLS: {error}") from error
        return context

    def _sign(self) -> _Signature:
        found: list[tuple[str, int, int, int]] = []
        for name in _NAMES:
            try:
                facts = (self._directory / name).stat()
            except OSError:
                continue
            found.append((name, facts.st_ctime_ns, facts.st_size, facts.st_ino))
        return tuple(found)

    def _check_clock(self, loaded: _Loaded) -> None:
        if loaded.own.expires <= self._now():
            raise ConfigError(
                f"{self._directory / files.CERTIFICATE}: has run out on"
                f" {loaded.own.expires:%Y-%m-%d}; issue a new one with gfsctl admin tls issue"
            )
        self._check_list(loaded)

    def _check_list(self, loaded: _Loaded) -> None:
        ends = loaded.revocations.expires
        if ends is not None and ends <= self._now():
            logger.warning(
                "the list of revoked certificates has run out, newer ones may be missing"
                " directory=%s expired=%s",
                self._directory,
                ends.isoformat(),
            )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._runtime.wall_ns() / 1e9, UTC)


def _no_password() -> str:
    """Answer OpenSSL instead of a person at a terminal: keys here have no password."""
    return ""
