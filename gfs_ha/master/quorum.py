"""What is not as it should be about the masters: who votes, who answers, how leaders change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gfs_ha.master.raft.contract import PeerStatus, RaftStatus
from gfs_ha.protocol.measures import duration_text
from gfs_ha.protocol.reports import Finding

ERROR = "error"
WARNING = "warning"

ANSWER_AGE_MAX_MS = 2_000  # A master that answered nothing for longer is out of reach.
LEADERS_WITHIN_MS = 3_600_000
LEADERS_MAX = 6  # A change of the release and a failure or two in one hour are nothing to mend.


def reachable(connected: bool, answer_age_ms: int) -> bool:
    """Return whether a follower answers its leader."""
    return connected and 0 <= answer_age_ms <= ANSWER_AGE_MAX_MS


def short_of_room(raft: RaftStatus) -> tuple[str, ...]:
    """Return whose disk or map is short of room, as far as this master has heard (M8)."""
    low = {peer.member_id for peer in raft.peers if peer.space_low}
    return tuple(sorted(low | ({raft.member_id} if raft.space_low or not low else set())))


def members_found(raft: RaftStatus, led_since_ms: Sequence[int], wall_ns: int) -> list[Finding]:
    """Return the findings about the masters; `led_since_ms` says when the newest terms began."""
    voters = [member.member_id for member in raft.members if member.voter]
    return [*_votes(voters), *_silence(raft), *_unrest(led_since_ms, wall_ns // 10**6)]


def _votes(voters: Sequence[str]) -> Iterator[Finding]:
    if len(voters) == 1:
        # Two are an error, one is not: nobody makes two on purpose, and a cluster that was made
        # with one master is as it was meant to be, and would never be healthy.
        yield Finding(
            "MASTER_ALONE",
            WARNING,
            f"{voters[0]} is the only master that votes: it holds the only copy of all names, and"
            " without it nothing works",
            "add two more for anything that you cannot lose: gfsctl admin masters add",
        )
    elif len(voters) == 2:
        yield Finding(
            "NO_QUORUM_MARGIN",
            ERROR,
            f"only {' and '.join(voters)} vote: the loss of either stops writing",
            "add a third master: gfsctl admin masters add",
        )
    elif voters and len(voters) % 2 == 0:
        # A warning only: so it is for a moment in the midst of every replacement.
        yield Finding(
            "MASTERS_EVEN",
            WARNING,
            f"{len(voters)} masters vote: no more of them may fail than of {len(voters) - 1}",
            "go on with the replacement that was broken off, or add or remove one:"
            " gfsctl admin masters",
        )


def _silence(raft: RaftStatus) -> Iterator[Finding]:
    for peer in raft.peers:
        name, answers = peer.member_id, reachable(peer.connected, peer.answer_age_ms)
        why = f" ({peer.refusal})" if peer.refusal else ""
        if not peer.voter:
            # A learner may take its time, nothing rests on it; but it must be there.
            if not answers:
                yield _silent_learner(peer, why)
        elif peer.behind:
            yield Finding(
                "MASTER_OUTDATED",
                ERROR,
                f"master {name} needs log entries that are gone; it does not serve",
                "it is being sent a snapshot of the state; "
                "keep the other masters alive until it is there",
                subject=name,
                facts=_peer_facts(peer),
            )
        elif not answers:
            yield Finding(
                "NO_QUORUM_MARGIN",
                ERROR,
                f"master {name} does not answer{why}",
                _instead_of(peer),
                subject=name,
                facts=_peer_facts(peer),
            )


def _peer_facts(peer: PeerStatus) -> tuple[tuple[str, str], ...]:
    age_ms = peer.answer_age_ms
    return (
        ("connected", "yes" if peer.connected else "no"),
        ("last answer", f"{duration_text(age_ms)} ago" if age_ms >= 0 else "none yet"),
        ("votes", "yes" if peer.voter else "no"),
        ("says", peer.refusal or "nothing"),
    )


def _instead_of(peer: PeerStatus) -> str:
    """Return what to do about a master that does not answer."""
    name = peer.member_id
    if peer.ended:
        return (
            f"{name} never starts again from its directory: gfsctl admin masters replace {name}"
            " NEW; the next loss can stop writing"
        )
    if peer.refusal:
        return (
            f"put right what {name} is refused for, or start it if it does not run: the next loss"
            " can stop writing"
        )
    return f"start {name} or mend its network: the next loss can stop writing"


def _silent_learner(peer: PeerStatus, why: str) -> Finding:
    name = peer.member_id
    return Finding(
        "LEARNER_SILENT",
        WARNING,
        f"{name}, which is to become a master, does not answer{why}",
        f"start {name} and add it again, or give up: gfsctl admin masters remove {name}",
        subject=name,
        facts=_peer_facts(peer),
    )


def _unrest(led_since_ms: Sequence[int], now_ms: int) -> Iterator[Finding]:
    # By wall time, as the leaders stamped it; a clock that was set tells nonsense for an hour.
    recent = sum(0 <= now_ms - since_ms <= LEADERS_WITHIN_MS for since_ms in led_since_ms)
    if recent > LEADERS_MAX:
        yield Finding(
            "LEADERS_CHANGE",
            WARNING,
            f"{recent} leaders took over within the last hour",
            "most often a machine or a disk of the masters has too much to do (commit times are in"
            " gfsctl admin masters ls -o wide), else a bad network or restarts",
        )
