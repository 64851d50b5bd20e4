"""How many disks of servers are not in service, on the wire and for people."""

from __future__ import annotations

from gfs_ha.protocol.codec import Word


class DiskCounts(Word, frozen=True):
    """Disks by why they are no room; `known` are all of them, also those in service."""

    known: int = 0
    draining: int = 0
    drained: int = 0
    failed: int = 0
    lost: int = 0

    def __add__(self, other: DiskCounts) -> DiskCounts:
        """Return the disks of both."""
        return DiskCounts(
            known=self.known + other.known,
            draining=self.draining + other.draining,
            drained=self.drained + other.drained,
            failed=self.failed + other.failed,
            lost=self.lost + other.lost,
        )

    @property
    def out(self) -> int:
        """Return how many are not in service."""
        return self.draining + self.drained + self.failed + self.lost

    @property
    def all_out(self) -> bool:
        """Return whether none of those that are known is in service."""
        return 0 < self.known <= self.out


def disks_out_text(counts: DiskCounts) -> str:
    """Return "1 of 3 disks drained", "3 of 12 disks out (2 drained, 1 failed)", or nothing."""
    whys = [
        (count, word)
        for count, word in (
            (counts.failed, "failed"),
            (counts.lost, "lost"),
            (counts.draining, "draining"),
            (counts.drained, "drained"),
        )
        if count
    ]
    if not whys:
        return ""
    of_all = f"{counts.out:,} of {counts.known:,} disk{'s' * (counts.known != 1)}"
    if len(whys) == 1:
        return f"{of_all} {whys[0][1]}"
    return f"{of_all} out ({', '.join(f'{count:,} {word}' for count, word in whys)})"
