"""What a path is: UTF-8 names of 1-255 bytes between slashes, from the root, kept as typed (F1)."""

from __future__ import annotations

from gfs_ha.errors import InvalidPath
from gfs_ha.limits import NAME_BYTES_MAX, PATH_BYTES_MAX


def split_path(path: str) -> tuple[str, ...]:
    """Return the names of an absolute path; none for the root. Raises: InvalidPath.

    Nothing is normalised: a double or trailing slash is refused, and so are `.` and `..`.
    """
    if path == "/":
        return ()
    if not path.startswith("/"):
        raise InvalidPath(f"{_shown(path)} is not absolute; a path begins with /")
    if _byte_length(path) > PATH_BYTES_MAX:
        raise InvalidPath(f"{_shown(path)} is longer than {PATH_BYTES_MAX} bytes")
    names = tuple(path[1:].split("/"))
    for name in names:
        check_name(name)
    return names


def check_name(name: str) -> None:
    """Raises: InvalidPath unless `name` may stand in a directory."""
    if not name:
        raise InvalidPath("a name in a path is empty (a double or trailing slash)")
    if name in (".", ".."):
        raise InvalidPath(f"the name {name!r} is not allowed; write the path without it")
    if "/" in name or "\0" in name:
        raise InvalidPath(f"the name {_shown(name)} holds a slash or a NUL")
    if _byte_length(name) > NAME_BYTES_MAX:
        raise InvalidPath(f"the name {_shown(name)} is longer than {NAME_BYTES_MAX} bytes")


def join_path(names: tuple[str, ...]) -> str:
    """Return the path of these names."""
    return "/" + "/".join(names)


def _byte_length(text: str) -> int:
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise InvalidPath(f"{_shown(text)} is not valid UTF-8") from None


def _shown(text: str) -> str:
    """Return the text for a message: escaped, and not longer than a line."""
    escaped = text.encode("utf-8", "backslashreplace").decode()
    return repr(escaped if len(escaped) <= 80 else escaped[:77] + "...")
