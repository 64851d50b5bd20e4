"""An order to create a tail that comes again, long after, makes nobody a primary again."""

from __future__ import annotations

from pathlib import Path

import pytest
from append_house import appending, order_tail
from chunk_house import CHUNK, street

from gfs_ha.errors import Fenced
from gfs_ha.ids import LogIndex


def test_a_creation_that_comes_again_behind_the_deletion_takes_no_record(tmp_path: Path) -> None:
    """With one copy no other replica refuses: a record would be acknowledged into a dead chunk."""
    with street(tmp_path) as houses:
        alone = houses[:1]
        order_tail(alone)
        with appending(alone[0]) as stream:
            stream.append(1, b"first")
            stream.wait_for(1)
        alone[0].store.delete(CHUNK, LogIndex(60))
        alone[0].port.primary.led()
        order_tail(alone)
        with appending(alone[0]) as stream:
            stream.append(2, b"second")
            with pytest.raises(Fenced):
                stream.wait_for(2)
