"""The authority of one cluster, in a directory: it issues, revokes, and hands over to a new one.

    ca.pem   what nodes shall trust             crl.pem  what is revoked
    now.key  who signs: key and certificate     old.key  who did before, while a rotation lasts
    issued/SERIAL.pem  every certificate that was issued

One process at a time has it (`opened`). The two files for nodes follow from the two keys: what a
crash left undone is done when it is opened next.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gfs_ha.errors import (
    AlreadyExists,
    Busy,
    ConfigError,
    LimitExceeded,
    NotFound,
    PreconditionFailed,
    UsageError,
)
from gfs_ha.pki import files
from gfs_ha.pki.certificates import describe, load_certificate, load_key, load_lists, to_pem
from gfs_ha.pki.names import PeerName, Role, make_name
from gfs_ha.pki.peers import PeerCertificate
from gfs_ha.pki.requests import key_pem
from gfs_ha.pki.signing import (
    CERTIFICATE_DAYS_MAX,
    Signer,
    cluster_of,
    make_signer,
    sign_certificate,
    sign_list,
)

ISSUED_MAX = 10_000  # Kept certificates; those that ran out long ago leave first.
_KEPT_AFTER_END = timedelta(days=90)
REVOKED_MAX = 15_000  # On all lists together: some 800 KiB, and nodes read no file above 1 MiB.
# What was revoked so long ago has run out, whenever it was issued.
_LISTED = timedelta(days=CERTIFICATE_DAYS_MAX + 1)
_SERIAL_DIGITS_MIN = 8  # Of one that is not given whole; tls status shows twelve.
_NOW = "now.key"
_OLD = "old.key"
_ISSUED = "issued"
_LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that the authority issued."""

    certificate: PeerCertificate
    revoked: datetime | None
    outdated: bool  # Signed by an authority before; it ends with the rotation.
    trusted: bool  # Signed by one that is trusted still: with others' nothing can be done.

    def in_use(self, issued: Iterable[Issued], now: datetime) -> bool:
        """Return whether its holder may depend on it: good, and none newer was issued to it."""
        return (
            self.trusted
            and self.revoked is None
            and self.certificate.expires > now
            and not self.replaced(issued, now)
        )

    def replaced(self, issued: Iterable[Issued], now: datetime) -> bool:
        """Return whether its holder has a newer one, which is good still where this one is.

        One that is good is what its holder has left once the newer ones have run out.
        """
        over = self.certificate.expires <= now
        newer = (other for other in issued if self._followed_by(other))
        return any(over or other.certificate.expires > now for other in newer)

    def _followed_by(self, other: Issued) -> bool:
        same = other.certificate.name == self.certificate.name and other.revoked is None
        return same and other._age() > self._age()

    def _age(self) -> tuple[bool, datetime, datetime]:
        """Return what orders the certificates of one holder: the one issued last is in use."""
        return not self.outdated, self.certificate.begins, self.certificate.expires


class Authority:
    """The authority in a directory. Open it with `opened`, make it with `create`."""

    def __init__(self, directory: Path, current: Signer, previous: Signer | None) -> None:
        self.directory = directory
        self.current = current
        self.previous = previous

    @property
    def cluster(self) -> str:
        """Return the id of the cluster that it is for."""
        return cluster_of(self.current.certificate)

    @property
    def trusted_pem(self) -> bytes:
        """Return what nodes shall trust: this authority, in a rotation also the one before."""
        return b"".join(to_pem(one.certificate) for one in self._signers())

    @property
    def lists_pem(self) -> bytes:
        """Return the lists of what is revoked. Raises: ConfigError."""
        return files.read(self.directory / files.REVOKED)

    def issue(
        self,
        key: ec.EllipticCurvePublicKey,
        name: PeerName,
        hosts: Iterable[str],
        now: datetime,
        days: int,
    ) -> bytes:
        """Return a new certificate (PEM), and note it durably.

        Raises: UsageError for days, hosts or another cluster; LimitExceeded, ConfigError.
        """
        if not 1 <= days <= CERTIFICATE_DAYS_MAX:
            raise UsageError(f"{days} days; a certificate is for 1 to {CERTIFICATE_DAYS_MAX}")
        if name.cluster != self.cluster:
            raise UsageError(
                f"{name.uri} is of another cluster; this authority is that of {self.cluster}"
            )
        make_name(name.cluster, name.role, name.name)
        self._forget_old(now)
        certificate = sign_certificate(self.current, key, name, hosts, now, days)
        pem = to_pem(certificate)
        files.write_public(self._issued_path(certificate.serial_number), pem)
        return pem

    def issued(self) -> list[Issued]:
        """Return all certificates that are kept, by name and then by end. Raises: ConfigError."""
        revoked = self._revoked()
        trusted = {signer.id for signer in self._signers()}
        found: list[Issued] = []
        for path in sorted((self.directory / _ISSUED).glob("*.pem")):
            one = describe(load_certificate(files.read(path), path))
            found.append(
                Issued(
                    certificate=one,
                    revoked=revoked.get(one.authority, {}).get(one.serial),
                    outdated=one.authority != self.current.id,
                    trusted=one.authority in trusted,
                )
            )
        found.sort(key=lambda one: (str(one.certificate.name), one.certificate.expires))
        return found

    def find(self, wanted: str, role: Role | None, now: datetime) -> list[Issued]:
        """Return the certificates that a name or a serial (hex) means and that can be revoked.

        The first digits of a serial do, eight at least, where they are those of one certificate.
        Raises: NotFound; UsageError when the name is that of several roles and none is given, or
        the digits are those of several certificates.
        """
        serial, issued = parse_serial(wanted), self.issued()
        matching = [
            one
            for one in issued
            if wanted == one.certificate.name.name or serial == one.certificate.serial
        ]
        if not matching and serial is not None:
            matching = _beginning(issued, wanted)
        known = _roles(matching)
        if role is not None:
            matching = [one for one in matching if one.certificate.name.role is role]
        good = [
            one
            for one in matching
            if one.trusted and one.revoked is None and one.certificate.expires > now
        ]
        if not good:
            why = "all of it are revoked or have run out" if matching else "never issued here"
            if not matching and known:
                why = f"it was issued as {' and '.join(known)}, not {role}"
            elif not matching and serial is not None and len(wanted) < _SERIAL_DIGITS_MIN:
                why += f" (of a serial give the first {_SERIAL_DIGITS_MIN} digits)"
            raise NotFound(f"no certificate of {wanted!r} to revoke: {why}; see tls status")
        roles = _roles(good)
        if len(roles) > 1:
            ways = " or ".join(f"--role {one}" for one in roles)
            raise UsageError(f"{wanted!r} is the name of {' and '.join(roles)}; give {ways}")
        return good

    def revoke(self, certificates: Iterable[PeerCertificate], now: datetime) -> None:
        """Put certificates onto the list of the authority that signed them, durably.

        They leave it once they must have run out. Raises: LimitExceeded, ConfigError.
        """
        revoked = self._revoked()
        for one in certificates:
            revoked.setdefault(one.authority, {}).setdefault(one.serial, now)
        self._write_lists(revoked, now)

    def renew_lists(self, now: datetime) -> None:
        """Sign the lists anew: they are good for 30 days from now."""
        self._write_lists(self._revoked(), now)

    def rotate(self, now: datetime) -> None:
        """Make a new authority beside this one; both are trusted until `finish`.

        Raises: PreconditionFailed while a rotation lasts.
        """
        if self.previous is not None:
            raise PreconditionFailed(
                f"{self.directory}: a rotation is under way; end it with tls rotate --finish"
            )
        revoked = self._revoked()
        fresh = make_signer(self.cluster, now)
        # The old one is safe under its new name before the new one takes its place.
        _write_signer(self.directory, _OLD, self.current)
        _write_signer(self.directory, _NOW, fresh)
        self.current, self.previous = fresh, self.current
        self._write_lists(revoked, now)
        files.write_public(self.directory / files.TRUSTED, self.trusted_pem)

    def finish(self, now: datetime) -> None:
        """Trust the old authority no more, and destroy its key. Raises: PreconditionFailed."""
        if self.previous is None:
            raise PreconditionFailed(f"{self.directory}: no rotation is under way")
        files.remove(self.directory / _OLD)
        self.previous = None
        files.write_public(self.directory / files.TRUSTED, self.trusted_pem)
        self.renew_lists(now)

    def outdated(self, now: datetime) -> list[Issued]:
        """Return the certificates in use that end with the rotation."""
        issued = self.issued()
        return [one for one in issued if one.outdated and one.in_use(issued, now)]

    def _signers(self) -> list[Signer]:
        return [self.current] if self.previous is None else [self.current, self.previous]

    def _revoked(self) -> dict[bytes, dict[int, datetime]]:
        path = self.directory / files.REVOKED
        lists = load_lists(files.read(path), path)
        found: dict[bytes, dict[int, datetime]] = {}
        for signer in self._signers():
            for one in lists:
                if one.issuer == signer.certificate.subject:
                    found[signer.id] = {
                        entry.serial_number: entry.revocation_date_utc for entry in one
                    }
        return found

    def _write_lists(self, revoked: dict[bytes, dict[int, datetime]], now: datetime) -> None:
        number = int(now.timestamp() * 1000)
        listed = [
            {
                serial: when
                for serial, when in revoked.get(signer.id, {}).items()
                if when + _LISTED > now
            }
            for signer in self._signers()
        ]
        count = sum(map(len, listed))
        if count > REVOKED_MAX:
            raise LimitExceeded(
                f"{self.directory}: {count} certificates would be listed as revoked; the limit is"
                f" {REVOKED_MAX}: tls rotate begins with an empty list"
            )
        lists = [
            sign_list(signer, one, now, number)
            for signer, one in zip(self._signers(), listed, strict=True)
        ]
        data = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in lists)
        files.write_public(self.directory / files.REVOKED, data)

    def _issued_path(self, serial: int) -> Path:
        return self.directory / _ISSUED / f"{serial:040x}.pem"

    def _forget_old(self, now: datetime) -> None:
        """Keep the number of kept certificates below its limit. Raises: LimitExceeded."""
        paths = list((self.directory / _ISSUED).glob("*.pem"))
        if len(paths) < ISSUED_MAX:
            return
        gone = 0
        for path in paths:
            if load_certificate(files.read(path), path).not_valid_after_utc + _KEPT_AFTER_END < now:
                files.remove(path)
                gone += 1
        if not gone:
            raise LimitExceeded(
                f"{self.directory}: {len(paths)} certificates are in use; the limit is {ISSUED_MAX}"
            )


def create(directory: Path, cluster: str, now: datetime) -> Authority:
    """Make the authority of a cluster in a directory.

    Raises: AlreadyExists; UsageError; Busy while another one makes it.
    """
    make_name(cluster, Role.ADMIN, "admin")
    _refuse_another(directory)
    files.make_directory(directory)
    files.make_directory(directory / _ISSUED)
    with _locked(directory):
        _refuse_another(directory)  # Who had the lock before may have made it.
        authority = Authority(directory, make_signer(cluster, now), None)
        authority._write_lists({}, now)
        files.write_public(directory / files.TRUSTED, authority.trusted_pem)
        _write_signer(directory, _NOW, authority.current)
    return authority


def _refuse_another(directory: Path) -> None:
    if is_authority(directory):
        raise AlreadyExists(f"{directory} holds an authority already; tls rotate renews it")
    if (directory / files.TRUSTED).exists():
        raise AlreadyExists(
            f"{directory} holds {files.TRUSTED} and no authority's key: it is the directory of a"
            " node, or what is left of an authority; give --ca another one"
        )


@contextmanager
def opened(directory: Path) -> Iterator[Authority]:
    """Give the authority of a directory to one process at a time.

    Raises: NotFound when there is none; ConfigError for its files; Busy while another changes it.
    """
    if not is_authority(directory):
        raise NotFound(f"{directory} holds no authority; make one with gfsctl admin tls init")
    with _locked(directory):
        current = _read_signer(directory, _NOW)
        previous = _read_signer(directory, _OLD) if (directory / _OLD).exists() else None
        if previous is not None and previous.id == current.id:
            previous = None  # A rotation was cut short before the new one was in place.
        authority = Authority(directory, current, previous)
        trusted = directory / files.TRUSTED
        if not trusted.exists() or files.read(trusted) != authority.trusted_pem:
            files.write_public(trusted, authority.trusted_pem)
        yield authority


def is_authority(directory: Path) -> bool:
    """Return True when the directory holds an authority."""
    return (directory / _NOW).exists()


def parse_serial(text: str) -> int | None:
    """Return the serial that hex digits (with or without 0x) mean, None when they are none."""
    try:
        return int(text, 16)
    except ValueError:
        return None


def _roles(issued: Iterable[Issued]) -> list[str]:
    return sorted({str(one.certificate.name.role) for one in issued})


def _beginning(issued: Iterable[Issued], digits: str) -> list[Issued]:
    """Return the certificate whose serial begins so, if there is one. Raises: UsageError."""
    begun = digits.lower().removeprefix("0x")
    if len(begun) < _SERIAL_DIGITS_MIN:
        return []
    found = [one for one in issued if f"{one.certificate.serial:x}".startswith(begun)]
    if len(found) > 1:
        raise UsageError(f"the serials of {len(found)} certificates begin with {begun}; give more")
    return found


def _write_signer(directory: Path, name: str, signer: Signer) -> None:
    # In one file: key and certificate are never of two different authorities.
    files.write_secret(directory / name, key_pem(signer.key) + to_pem(signer.certificate))


def _read_signer(directory: Path, name: str) -> Signer:
    path = directory / name
    data = files.read_secret(path)
    return Signer(load_certificate(data, path), load_key(data, path))


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    try:
        number = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be locked: {error.strerror}") from error
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Busy(f"{directory}: another command changes this authority; try again") from error
        yield
    finally:
        os.close(number)
