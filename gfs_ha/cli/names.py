"""Names of remote files: as they are typed, and as a terminal may show them."""

from __future__ import annotations

import re
import shlex

from gfs_ha.config import ClusterConfig
from gfs_ha.errors import UsageError, WrongCluster

SCHEME = "gfs://"

# What could move the cursor, recolour the screen, break a line or turn its direction round, and
# what cannot be written at all (halves of pairs: bytes of a name that is not UTF-8).
_UNSHOWABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(name: str) -> str:
    """Return the name as a terminal may show it: control characters and stray bytes escaped."""
    return _UNSHOWABLE.sub(_escape, name)


def pasted(name: str) -> str:
    """Return a name as it stands in a command that a person pastes into a shell: as one word.

    Whoever makes files chooses their names: `/a; rm -r ~` is one, too.
    """
    return shlex.quote(name)


def _escape(found: re.Match[str]) -> str:
    letter = found.group()
    code = ord(letter)
    if letter in _SHORT:
        return _SHORT[letter]
    if 0xDC80 <= code <= 0xDCFF:  # A byte that Python could not decode.
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def remote_path(text: str, cluster: ClusterConfig) -> str:
    """Return the absolute path that a word of the command line names, without decoding anything.

    A slash at the end is kept: it says that a directory is meant. Raises: UsageError when it is
    no remote path, WrongCluster when it names another cluster.
    """
    path = text
    if text.startswith(SCHEME):
        named, slash, rest = text[len(SCHEME) :].partition("/")
        if named not in (cluster.id, cluster.name):
            raise WrongCluster(
                f"{printable(text)} is in cluster '{printable(named)}', but {cluster.id!r} is "
                "configured; give the other cluster's file with --config"
            )
        path = slash + rest or "/"
    if not path.startswith("/"):
        raise UsageError(
            f"'{printable(text)}' is no remote path; remote paths are absolute, like /a/b"
        )
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"'{printable(text)}' is not UTF-8; names in the cluster are UTF-8"
        ) from None
    slash = "/" if path.endswith("/") else ""
    plain = "/" + "/".join(part for part in path.split("/") if part)
    return plain if plain == "/" else plain + slash


def without_slash(path: str) -> str:
    """Return the path without the slash at its end."""
    return path.rstrip("/") or "/"
