"""What a leader knows about the log of one other member."""

from __future__ import annotations

from collections import deque

from gfs_ha.limits import RAFT_BYTES_IN_FLIGHT_MAX


class Progress:
    """Where to send from, what is on its way, and what the member answered in this term.

    While `probing`, one message at a time is sent until the member says where its log and the
    leader's agree. Then batches are pipelined, bounded in bytes that no answer covers yet.
    """

    def __init__(self, next_index: int) -> None:
        self.next_index = next_index
        self.match_index = 0
        self.applied_index = 0
        self.probing = True
        self.probe_sent = False
        self.behind = False  # It needs entries that the log does not hold any more.
        self.space_low = False
        self.answered_s: float | None = None
        self.confirmed_ns = 0  # The newest send time that it echoed.
        self._stale_before_ns = 0  # Rejections of what was sent before say nothing new.
        self._in_flight: deque[tuple[int, int]] = deque()  # (last index, bytes)
        self._bytes_in_flight = 0

    @property
    def room(self) -> bool:
        """Return whether another batch may be sent before the next answer."""
        return self._bytes_in_flight < RAFT_BYTES_IN_FLIGHT_MAX

    @property
    def agreed_index(self) -> int:
        """Return up to where the member surely holds this log: what it applied is committed.

        The log is dropped by what was applied; to ask for less would end in a needless snapshot.
        """
        return max(self.match_index, self.applied_index)

    def sent(self, last_index: int, size: int) -> None:
        """Note that entries up to `last_index` were sent in the pipeline."""
        self.next_index = last_index + 1
        self._in_flight.append((last_index, size))
        self._bytes_in_flight += size

    def matched(self, index: int) -> None:
        """Note that the member durably holds the leader's log up to `index`."""
        self.match_index = max(self.match_index, index)
        self.next_index = max(self.next_index, index + 1)
        self.probing = False
        self.behind = False
        while self._in_flight and self._in_flight[0][0] <= index:
            self._bytes_in_flight -= self._in_flight.popleft()[1]

    def rejected(self, hint: int, echo_ns: int, now_ns: int) -> bool:
        """Move back to what the member asks for; return False for an answer that is too old."""
        if echo_ns <= self._stale_before_ns:
            return False
        self.restart(max(hint, self.agreed_index + 1), now_ns)
        return True

    def restart(self, next_index: int, now_ns: int) -> None:
        """Forget what is on its way and ask anew where the logs agree."""
        self.next_index = next_index
        self.probing = True
        self.probe_sent = False
        self._stale_before_ns = now_ns
        self._in_flight.clear()
        self._bytes_in_flight = 0
