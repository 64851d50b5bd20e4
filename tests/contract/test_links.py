"""One contract over the links between members: real ones, in clear and TLS, and simulated ones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest
from tls_house import TlsHouse

from gfs_ha.errors import GfsError, ProtocolError
from gfs_ha.net.links import Address, Link, LinkOwner, Links
from gfs_ha.net.tcp_links import TcpLinks
from gfs_ha.pki.names import Role
from gfs_ha.runtime import ThreadedRuntime
from gfs_ha.sim.network import Network, SimLinks
from gfs_ha.sim.scheduler import Scheduler

FRAME_BYTES_MAX = 100_000
QUEUE_BYTES_MAX = 400_000
WAIT_S = 30.0


@dataclass
class Owner:
    """Writes down what it is told; a frame that says so makes it do something."""

    told: list[str] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)
    link: Link | None = None

    def opened(self, link: Link) -> None:
        self.link = link
        self.told.append("opened")

    def received(self, link: Link, frame: bytes) -> None:
        assert self.told[-1:] == ["opened"], "a frame before the link is up, or after its end"
        self.frames.append(frame)
        if frame == b"nonsense":
            raise ProtocolError("that is nonsense")
        if frame == b"close":
            link.close("as it was told")

    def refused(self, link: Link, error: GfsError) -> None:
        self.told.append(f"refused: {error.message}")

    def closed(self, link: Link, reason: str) -> None:
        assert "closed" not in "".join(self.told), "closed twice"
        self.told.append(f"closed: {reason}")

    @property
    def up(self) -> bool:
        return self.told == ["opened"]

    @property
    def over(self) -> bool:
        return self.told[-1:] != ["opened"] and "closed" in "".join(self.told)


class World(Protocol):
    """Two members that have links to each other."""

    links: list[Links]

    def address(self, index: int) -> Address: ...

    def nobody(self) -> Address:
        """Return where nobody listens."""
        ...

    def step(self) -> bool:
        """Let both do what is to be done; False after a long time."""
        ...

    def close(self) -> None: ...


class Real:
    def __init__(self, directory: Path | None) -> None:
        self._runtime = ThreadedRuntime()
        house = None if directory is None else TlsHouse(directory)
        self._made = []
        for name in ("m1", "m2"):
            held = None if house is None else house.credentials(Role.MASTER, name)
            sizes = (FRAME_BYTES_MAX, QUEUE_BYTES_MAX)
            self._made.append(TcpLinks(self._runtime, ("127.0.0.1", 0), *sizes, held))
        self.links: list[Links] = [*self._made]
        self._ends_s = self._runtime.monotonic_s() + WAIT_S

    def address(self, index: int) -> Address:
        return self._made[index].address

    def nobody(self) -> Address:
        with closing(TcpLinks(self._runtime, ("127.0.0.1", 0), 1, 1)) as gone:
            return gone.address

    def step(self) -> bool:
        for one in self.links:
            one.flush()
            one.poll(0.001, lambda: False)
        return self._runtime.monotonic_s() < self._ends_s

    def close(self) -> None:
        for one in self.links:
            one.close()


class Simulated:
    def __init__(self) -> None:
        self._scheduler = Scheduler()
        network = Network(self._scheduler, random.Random(7))
        self.links: list[Links] = []
        for host in ("m1", "m2"):
            made = SimLinks(network, host, self._now_s, lambda: None, QUEUE_BYTES_MAX)
            self.links.append(made)
        self._ends_s = self._now_s() + WAIT_S

    def _now_s(self) -> float:
        return self._scheduler.now_s

    def address(self, index: int) -> Address:
        return f"m{index + 1}", 1

    def nobody(self) -> Address:
        return "m9", 1

    def step(self) -> bool:
        for one in self.links:
            one.flush()
        self._scheduler.run_until(self._now_s() + 0.001)
        for one in self.links:
            one.poll(0.0, lambda: False)
        return self._now_s() < self._ends_s

    def close(self) -> None:
        for one in self.links:
            one.close()


class Pair:
    """Two members, of which the first dials the second."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.accepted: list[Owner] = []
        for one in world.links:
            one.listen(self._accept)

    def _accept(self, link: Link) -> LinkOwner:
        self.accepted.append(Owner())
        return self.accepted[-1]

    def until(self, done: object) -> None:
        assert callable(done)
        while not done():
            assert self.world.step(), "waited in vain"

    def a_while(self, steps: int = 100) -> None:
        for _ in range(steps):
            self.world.step()

    def dial(self) -> tuple[Link, Owner, Owner]:
        """Return a link that is up, its owner, and that of its other end."""
        owner = Owner()
        link = self.world.links[0].dial(self.world.address(1), owner)
        self.until(lambda: owner.up and self.accepted and self.accepted[-1].up)
        return link, owner, self.accepted[-1]


@pytest.fixture(params=["tcp", "tls", "simulated"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    world: World
    if request.param == "simulated":
        world = Simulated()
    else:
        world = Real(tmp_path if request.param == "tls" else None)
    with closing(world):
        yield Pair(world)


def test_frames_come_whole_and_in_order_both_ways_and_an_empty_one_too(pair: Pair) -> None:
    link, near, far = pair.dial()
    sizes = (0, 1, 50_000, 7, FRAME_BYTES_MAX, 0, 3)
    sent = [bytes([number]) * size for number, size in enumerate(sizes)]
    for frame in sent[:4]:
        link.send(frame)
    assert far.link is not None
    for frame in reversed(sent):
        far.link.send(frame)
    pair.until(lambda: len(far.frames) == 4)
    for frame in sent[4:]:
        link.send(frame)
    pair.until(lambda: len(far.frames) == len(near.frames) == len(sent))
    assert far.frames == sent and near.frames == sent[::-1]
    assert link.pending_bytes == far.link.pending_bytes == 0
    assert near.up and far.up


def test_nothing_is_sent_before_a_link_is_up_or_after_its_end(pair: Pair) -> None:
    owner = Owner()
    link = pair.world.links[0].dial(pair.world.address(1), owner)
    link.send(b"too early")
    pair.until(lambda: owner.up and pair.accepted and pair.accepted[-1].up)
    link.send(b"in time")
    pair.until(lambda: pair.accepted[-1].frames)
    link.close("enough")
    link.send(b"too late")
    pair.until(lambda: pair.accepted[-1].over)
    pair.a_while()
    assert pair.accepted[-1].frames == [b"in time"]


def test_who_closes_is_told_at_once_and_once_and_the_other_hears_it_behind_what_was_flushed(
    pair: Pair,
) -> None:
    link, near, far = pair.dial()
    link.send(b"flushed")
    pair.world.links[0].flush()
    link.send(b"never flushed")
    link.close("enough")
    link.close("once more")
    assert near.told == ["opened", "closed: enough"]
    pair.until(lambda: far.over)
    assert far.frames == [b"flushed"]
    assert far.told[0] == "opened" and len(far.told) == 2


def test_a_link_may_be_closed_by_what_it_brings(pair: Pair) -> None:
    link, near, far = pair.dial()
    for frame in (b"one", b"close", b"two"):
        link.send(frame)
    pair.until(lambda: far.over and near.over)
    assert far.frames == [b"one", b"close"]
    assert far.told == ["opened", "closed: as it was told"]


def test_nonsense_closes_the_link_and_its_owner_hears_why(pair: Pair) -> None:
    link, near, far = pair.dial()
    for frame in (b"nonsense", b"more"):
        link.send(frame)
    pair.until(lambda: far.over and near.over)
    assert far.frames == [b"nonsense"] and far.told[-1] == "closed: that is nonsense"


def test_a_frame_that_is_longer_than_the_receiver_takes_closes_the_link(pair: Pair) -> None:
    link, near, far = pair.dial()
    assert far.link is not None
    far.link.limit_frames(100)
    link.send(bytes(100))
    link.send(bytes(101))
    pair.until(lambda: far.over and near.over)
    assert far.frames == [bytes(100)] and "too long" in far.told[-1]


def test_who_owes_its_peer_more_than_the_queue_holds_is_closed(pair: Pair) -> None:
    link, near, _ = pair.dial()
    count = QUEUE_BYTES_MAX // FRAME_BYTES_MAX
    for _ in range(count - 1):
        link.send(bytes(FRAME_BYTES_MAX))
    assert near.up and link.pending_bytes >= (count - 1) * FRAME_BYTES_MAX
    for _ in range(2):
        link.send(bytes(FRAME_BYTES_MAX))
    assert near.over and "bytes behind" in near.told[-1]
    assert link.pending_bytes == 0


def test_whom_nobody_answers_hears_of_no_link(pair: Pair) -> None:
    """That nobody is there is heard or not: who dials has a clock of his own."""
    owner = Owner()
    link = pair.world.links[0].dial(pair.world.nobody(), owner)
    pair.a_while()
    assert owner.told == [] or owner.over
    link.close("it takes too long")
    assert owner.over and not owner.frames


def test_who_hangs_up_before_the_link_is_up_hears_no_more_of_it(pair: Pair) -> None:
    owner = Owner()
    link = pair.world.links[0].dial(pair.world.address(1), owner)
    link.close("not wanted any more")
    pair.a_while()
    assert owner.told == ["closed: not wanted any more"]
    assert all(one.over for one in pair.accepted)


def test_who_dials_himself_under_the_name_of_another_is_told_so(pair: Pair) -> None:
    owner = Owner()
    pair.world.links[0].dial(pair.world.address(0), owner)
    pair.until(lambda: owner.over)
    refused, closed = owner.told
    assert refused.startswith("refused: ") and "this member's own address" in refused
    assert closed.removeprefix("closed: ") == refused.removeprefix("refused: ")
    pair.a_while()
    assert all(one.over for one in pair.accepted)


def test_the_end_of_one_member_is_the_end_of_its_links(pair: Pair) -> None:
    _, near, far = pair.dial()
    pair.world.links[0].close()
    assert near.told == ["opened", "closed: shutting down"]
    pair.world.links.pop(0)
    pair.until(lambda: far.over)
