"""The files of a TLS directory: what they are called, who may read them, how they are replaced."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from gfs_ha import limits
from gfs_ha.errors import AlreadyExists, ConfigError

TRUSTED = "ca.pem"  # The certificates of all authorities that are trusted, one or two.
REVOKED = "crl.pem"  # Their lists of revoked certificates; may be missing.
CERTIFICATE = "cert.pem"
KEY = "key.pem"
REQUEST = "request.pem"

FILE_BYTES_MAX = 1 * limits.MIB
_SECRET_MODE = 0o600
_PUBLIC_MODE = 0o644


def read(path: Path) -> bytes:
    """Return the bytes of a file. Raises: ConfigError when it is missing or far too large."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError(
            f"{path}: larger than {FILE_BYTES_MAX} bytes; this is no PEM file of ours"
        )
    return data


def read_secret(path: Path) -> bytes:
    """Return the bytes of a key that only its owner may read. Raises: ConfigError."""
    data = read(path)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise ConfigError(
            f"{path}: others than its owner may read or change this key (mode {mode:04o});"
            f" chmod 600 {path}, and think about whether it is still secret"
        )
    return data


def write_public(path: Path, data: bytes) -> None:
    """Replace a file durably in one step. Raises: ConfigError."""
    _replace(path, data, _PUBLIC_MODE)


def write_secret(path: Path, data: bytes) -> None:
    """Replace a file durably in one step; never was it readable by others. Raises: ConfigError."""
    _replace(path, data, _SECRET_MODE)


def make_directory(path: Path) -> None:
    """Make a directory for keys (0700) unless it is there. Raises: ConfigError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be made: {error.strerror}") from error


def refuse_existing(path: Path, what: str) -> None:
    """Raises: AlreadyExists when something is there."""
    if path.exists():
        raise AlreadyExists(f"{path} is there already: {what}")


def remove(path: Path) -> None:
    """Remove a file durably; a missing one is fine. Raises: ConfigError."""
    try:
        path.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be removed: {error.strerror}") from error


def _replace(path: Path, data: bytes, mode: int) -> None:
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)  # Whatever the umask took away.
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
        _sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)  # It may be a key.
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
