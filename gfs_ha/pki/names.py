"""The name of a peer as its certificate carries it: `gfs://CLUSTER/ROLE/NAME`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from gfs_ha.errors import Denied, UsageError

_SCHEME = "gfs://"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Role(StrEnum):
    """What a process may do; each certificate is for one."""

    MASTER = "master"
    CHUNKSERVER = "chunkserver"
    CLIENT = "client"
    ADMIN = "admin"


# Those that others dial: only their certificates serve.
SERVING = frozenset({Role.MASTER, Role.CHUNKSERVER})
EVERYBODY = frozenset(Role)


@dataclass(frozen=True, slots=True)
class PeerName:
    """One process or person of one cluster."""

    cluster: str
    role: Role
    name: str

    def __str__(self) -> str:
        return f"{self.role} {self.name}"

    @property
    def uri(self) -> str:
        """Return the text that stands in the certificate."""
        return f"{_SCHEME}{self.cluster}/{self.role}/{self.name}"


def make_name(cluster: str, role: Role, name: str) -> PeerName:
    """Return a name that a certificate may carry. Raises: UsageError."""
    for what, text in (("cluster id", cluster), ("name", name)):
        if _NAME.fullmatch(text) is None:
            raise UsageError(
                f"{text!r} is no {what}: 1 to 64 letters, digits, dots, dashes and underscores,"
                " beginning with a letter or digit"
            )
    return PeerName(cluster, role, name)


def parse_uri(uri: str) -> PeerName:
    """Return what a name in a certificate means. Raises: Denied when it is none of ours."""
    parts = uri.removeprefix(_SCHEME).split("/")
    if uri.startswith(_SCHEME) and len(parts) == 3 and parts[1] in EVERYBODY:
        cluster, role, name = parts
        if _NAME.fullmatch(cluster) is not None and _NAME.fullmatch(name) is not None:
            return PeerName(cluster, Role(role), name)
    raise Denied(f"the certificate names {uri[:200]!r}, which is no gfs://CLUSTER/ROLE/NAME")
