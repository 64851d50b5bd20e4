"""Empty files of several threads on their way to their names: several in one command.

A file in a command of many costs each master half of what a command of its own costs: the log has
one entry for all of them, the session one answer. Each file has its own outcome in it.
"""

from __future__ import annotations

from collections.abc import Callable

from gfs_ha.client.turns import Pace, Turns
from gfs_ha.errors import InvalidPath, UnknownOutcome, Unreachable
from gfs_ha.protocol.metadata import Publish, Published, PublishedFile, PublishFile
from gfs_ha.protocol.paths import split_path
from gfs_ha.runtime import Runtime

# Two threads do not wait for each other; of many, one command after another takes all that there
# are. Measured with 8 and 16 threads: 1.2-1.3 times the files of four commands at once.
PACE = Pace(under_way_max=2, together_max=64, beside_many=False, gather_s=0.0003)
NAMES_MAX = 64  # In a path: all of them together stay far below what one command may hold.

PublishAll = Callable[[tuple[PublishFile, ...], float], tuple[PublishedFile, ...]]


class Publications:
    """Publishes empty files by `publish_all`, which blocks. Thread-safe."""

    def __init__(self, publish_all: PublishAll, runtime: Runtime) -> None:
        self.turns: Turns[PublishFile, PublishedFile] = Turns(publish_all, runtime, PACE)

    def publish(self, file: PublishFile, timeout_s: float) -> Published:
        """Return what became of a file. Raises: what refuses the command, UnknownOutcome."""
        try:
            return Published(self.turns.call((file,), timeout_s))
        except Unreachable as error:
            if error.details.get("sent"):
                raise UnknownOutcome(
                    f"Publish {file.path} may or may not have been applied: {error.message}"
                ) from error
            raise


def travels_with_others(request: object) -> bool:
    """Return whether this publishes one empty file and does nothing else.

    What it adds to a command is bounded then, and nothing about it can have the whole refused.
    """
    if not isinstance(request, Publish) or request.make_parents or request.release:
        return False
    if len(request.files) != 1:
        return False
    file = request.files[0]
    if file.size or file.content_id or file.extents:
        return False
    try:
        return len(split_path(file.path)) <= NAMES_MAX
    except InvalidPath:
        return False  # It is refused by itself.
