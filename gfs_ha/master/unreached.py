"""Servers that beat, but that clients or their peers cannot reach: who said so, and until when.

Masters hear a server whose network to the others is cut. Nobody is believed alone: who is cut off
himself misses everybody. What is believed ends by itself: then somebody tries the server again, and
one word is enough to believe it anew, for twice as long.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field

from gfs_ha.ids import ServerId

WITNESSES_MIN = 2
SAID_S = 15.0  # How long a word counts: as long as clients avoid a server that failed them.
DEAF_S = SAID_S  # Clients tell for so long what they met before a server came back.
BELIEVED_MIN_S = 15.0
BELIEVED_MAX_S = 120.0
_SAID_MAX = 10_000

SESSION, SERVER, READER = "session", "server", "reader"
Witness = tuple[str, int]  # What it is, and its id; readers are one witness together.


@dataclass(frozen=True, slots=True)
class _Belief:
    until_s: float
    pause_s: float


@dataclass(slots=True)
class Unreached:
    """What was said of servers lately, and what is believed. Soft facts of one leadership."""

    _said: OrderedDict[tuple[ServerId, Witness], float] = field(default_factory=OrderedDict)
    _beliefs: dict[ServerId, _Belief] = field(default_factory=dict)
    _back_s: dict[ServerId, float] = field(default_factory=dict)

    def said(
        self, missed: Collection[ServerId], witness: Witness, known_count: int, now_s: float
    ) -> list[ServerId]:
        """Note whom a witness cannot reach; return the servers of which that is believed anew.

        Args: `known_count` servers are there: who misses more than half of them is not believed.
        """
        for server_id in missed:
            if server_id not in self._back_s or now_s - self._back_s[server_id] >= DEAF_S:
                self._said[server_id, witness] = now_s
                self._said.move_to_end((server_id, witness))
        self._forget_old(now_s)
        return [one for one in missed if self._believe(one, known_count, now_s)]

    def returned(self, server_id: ServerId, now_s: float) -> None:
        """Note that a server is back after a silence or a start: what was said of it is void.

        Clients go on for a while to say what they met before; that is not listened to.
        """
        self._back_s[server_id] = now_s
        self._beliefs.pop(server_id, None)
        for key in [one for one in self._said if one[0] == server_id]:
            del self._said[key]

    def believed(self, server_id: ServerId, now_s: float) -> bool:
        """Return whether a server is taken for one that others do not reach."""
        belief = self._beliefs.get(server_id)
        return belief is not None and now_s < belief.until_s

    def all_believed(self, now_s: float) -> frozenset[ServerId]:
        """Return all such servers."""
        return frozenset(one for one in self._beliefs if self.believed(one, now_s))

    def left_s(self, server_id: ServerId, now_s: float) -> float:
        """Return in how many seconds it is tried again; 0 for one that is reached."""
        belief = self._beliefs.get(server_id)
        return 0.0 if belief is None else max(0.0, belief.until_s - now_s)

    def _believe(self, server_id: ServerId, known_count: int, now_s: float) -> bool:
        belief = self._beliefs.get(server_id)
        if belief is not None and now_s < belief.until_s:
            return False
        again = belief is not None and now_s < belief.until_s + belief.pause_s
        if self._witnesses(server_id, known_count) < (1 if again else WITNESSES_MIN):
            return False
        pause_s = BELIEVED_MIN_S
        if again:
            assert belief is not None
            pause_s = min(2 * belief.pause_s, BELIEVED_MAX_S)
        self._beliefs[server_id] = _Belief(now_s + pause_s, pause_s)
        return True

    def _witnesses(self, server_id: ServerId, known_count: int) -> int:
        """Return how many say it who do not miss most of the servers."""
        missed: dict[Witness, int] = {}
        for _, witness in self._said:
            missed[witness] = missed.get(witness, 0) + 1
        return sum(
            2 * missed[witness] <= known_count
            for about, witness in self._said
            if about == server_id
        )

    def _forget_old(self, now_s: float) -> None:
        while self._said:
            key, at_s = next(iter(self._said.items()))
            if now_s - at_s < SAID_S and len(self._said) <= _SAID_MAX:
                return
            del self._said[key]
