"""Hostile clients at every port of a closed cluster: each is refused, told of, and does no harm.

    python benchmarks/attacks.py [--short | --only PATTERN] [--json FILE]

A local cluster of three masters and three chunkservers with certificates, whose bytes travel
encrypted. On the ports for clients of the leader and of a follower, for members, for data, and for
probes all attacks of benchmarks/hostile are tried, on different ports at the same time, while
somebody honest puts, gets and appends. Of each attack the table says what the attacker saw, what
the daemon's counters and log tell of it, and its memory and descriptors before and after. `--short`
leaves out what takes long, `--only` all whose name does not match. Exit status 1 when something was
not refused, not told of, left memory or descriptors behind, ended a daemon, or harmed who was
honest.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from chaos import leftovers
from hostile import doors, impostors, members, pages
from hostile.attack import Attack, Row, Target, Told, table
from hostile.daemon import Daemon
from hostile.gang import assemble
from hostile.honest import Honest
from hostile.loot import lay_bait, take
from hostile.peer import NotRefused
from hostile.people import People
from hostile.streams import Raid
from stage import CHECKOUT, Failed, Interrupted, Stage

import gfs_ha
from gfs_ha import config
from gfs_ha.local import launcher
from gfs_ha.local.home import Home
from gfs_ha.local.processes import Process
from gfs_ha.net.tls import LOOK_S

PURPOSE = "attacks"
# What a daemon may keep of all of it: buffers of its allocator, not of peers.
RSS_GROWTH_MIB_MAX = 40.0
DESCRIPTORS_GROWTH_MAX = 8  # Those of who is honest come and go.
_TOLD_S = 20.0  # Pages are made once a second, on a busy machine later.
_LINE_S = 4.0
_TRIES = 3  # A line may be that of another attack: there is one a second at most.
_BETWEEN_S = 1.1
_SETTLE_S = 20.0
_CLOSED, _ENCRYPTED = 'security = "tls"\n', '[security]\nmode = "tls"\ndata = "encrypt"\n'


def launch(home: Home, role: str, options: Sequence[str] = ()) -> Process:
    """Start a daemon that encrypts, although all are on loopback."""
    text = home.config_path.read_text(encoding="utf-8")
    home.config_path.write_text(text.replace(_CLOSED, _ENCRYPTED), encoding="utf-8")
    return launcher.launch(home, role, options)


class Siege:
    """The attacks on one cluster."""

    def __init__(self, stage: Stage, short: bool, only: str) -> None:
        self._short = short
        self._only = re.compile(only)
        cluster = stage.cluster
        cluster.up(masters=3, chunkservers=3, closed=True)
        self.config = config.load(cluster.config_path)
        homes = [cluster.directory / one.name for one in cluster.status()]
        self.daemons = {
            one.name: Daemon(
                *(one.name, one.pid or 0, cluster.member(one.name).home.files.log),
                cluster.member(one.name).metrics_port,
            )
            for one in cluster.status()
        }
        self._root = stage.directory / "gang"
        self._ca = cluster.directory / "ca"
        self.gang = assemble(
            self._ca,
            self.config.cluster.id,
            self._root,
            [home / "tls" for home in homes],
        )
        told_s = time.monotonic()
        lay_bait(self.config)
        with gfs_ha.connect(self.config) as fs:
            self._leader = fs.operations.status().leader
        self._ports = {one.name: one for one in self.config.cluster.masters}
        self._data_port = cluster.member("cs1").port
        self._pages = {name: cluster.member(name).metrics_port for name in self.daemons}
        self._lock = threading.Lock()
        # All daemons have looked at the list of who is revoked.
        time.sleep(max(0.0, told_s + 2 * LOOK_S - time.monotonic()))

    def attack(self) -> list[Row]:
        """Try everything; ports of different daemons at the same time."""
        rows: list[Row] = []
        loot = take(self.config)
        followers = [name for name in self._ports if name != self._leader]
        raid = Raid(loot, "cs1", "cs2")
        plans = [
            (self._door(self._leader, "leader's door"), doors.ATTACKS),
            (self._door(followers[0], "follower's door"), doors.ATTACKS),
            (self._member(followers[1]), members.ATTACKS),
            (Target("data port", "cs1", ("127.0.0.1", self._data_port), self.gang), raid.attacks()),
            (self._page("cs2", "probes, chunkserver"), pages.ATTACKS),
        ]
        if not self._short:
            plans[2:2] = [(self._member(self._leader), members.ATTACKS)]
            plans.append((self._page(followers[0], "probes, master"), pages.ATTACKS))
        # Who is attacked on two ports is so on one after the other.
        by_daemon: dict[str, list[tuple[Target, list[Attack]]]] = {}
        for target, attacks in plans:
            by_daemon.setdefault(target.daemon, []).append((target, attacks))
        threads = [
            threading.Thread(target=self._besiege, args=(works, rows), daemon=True)
            for works in by_daemon.values()
        ]
        threads.append(threading.Thread(target=self._meet_impostors, args=(rows,), daemon=True))
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        return rows

    def _door(self, name: str, port: str) -> Target:
        one = self._ports[name]
        return Target(port, name, (one.host, one.port), self.gang)

    def _member(self, name: str) -> Target:
        one = self._ports[name]
        kind = "leader's" if name == self._leader else "follower's"
        return Target(f"{kind} port for members", name, (one.host, one.raft_port), self.gang, name)

    def _page(self, name: str, port: str) -> Target:
        return Target(port, name, ("127.0.0.1", self._pages[name]), self.gang)

    def _meet_impostors(self, rows: list[Row]) -> None:
        people = People(self._ca, self.gang.cluster, self._root)
        other = People(self._root / "other-ca", self.gang.cluster, self._root / "other")
        rows += impostors.meet(self.config, people, other)

    def _besiege(self, works: list[tuple[Target, list[Attack]]], rows: list[Row]) -> None:
        for target, attacks in works:
            for attack in attacks:
                if self._only.search(attack.name) and (attack.quick or not self._short):
                    row = self._try(target, attack)
                    with self._lock:
                        rows.append(row)
                        print(f"{row.port}: {row.attack}: {row.wrong or 'ok'}", flush=True)

    def _try(self, target: Target, attack: Attack) -> Row:
        daemon = self.daemons[target.daemon]
        rss, descriptors = daemon.rss_mib(), daemon.descriptors()
        began_s = time.monotonic()
        seen, told, wrong = "", "", []
        try:
            for number in range(_TRIES):
                mark = daemon.mark(attack.told)
                seen = attack.run(target)
                told = daemon.tells(attack.told, mark, attack.tries, _LINE_S, _TOLD_S)
                if told:
                    break
                if number < _TRIES - 1:
                    time.sleep(_BETWEEN_S)
            else:
                wrong.append(f"nothing tells of it: {attack.told}")
        except NotRefused as error:
            wrong.append(f"NOT REFUSED: {error}")
        except Exception as error:
            wrong.append(f"the attack itself failed: {error!r}")
        took_s = time.monotonic() - began_s
        after = (daemon.rss_mib(), _settled(daemon, descriptors))
        if after[1] > descriptors + DESCRIPTORS_GROWTH_MAX:
            wrong.append(f"{after[1] - descriptors} descriptors more")
        if after[0] > rss + attack.rss_mib_max:
            wrong.append(f"{after[0] - rss:.0f} MiB more")
        return Row(
            *(attack.name, target.name, target.daemon, attack.tries, seen, told),
            *((rss, after[0]), (descriptors, after[1]), took_s, wrong),
        )


def _settled(daemon: Daemon, before: int) -> int:
    """Return how many descriptors there are once those of the attack are gone, or do not go."""
    ends_s = time.monotonic() + _SETTLE_S
    while (now := daemon.descriptors()) > before + DESCRIPTORS_GROWTH_MAX:
        if time.monotonic() > ends_s:
            break
        time.sleep(0.2)
    return now


def besieged(stage: Stage, short: bool, only: str = "") -> tuple[list[Row], list[str]]:
    """Run it all; return the rows and all that was wrong."""
    siege = Siege(stage, short, only)
    honest = Honest(siege.config)
    honest.start()
    time.sleep(1.0)
    before = {
        name: (one.rss_mib(), one.descriptors(), one.mark(Told())[0])
        for name, one in siege.daemons.items()
    }
    try:
        rows = siege.attack()
    finally:
        time.sleep(1.0)
        honest.finish()
    wrong = [f"{one.port}: {one.attack}: {why}" for one in rows for why in one.wrong]
    wrong += [f"who was honest: {one}" for one in honest.wrong]
    print(
        f"who was honest: {honest.rounds} rounds, the longest {honest.longest_s:.2f} s, masters"
        f" that he did not reach: {honest.masters_unheard}"
    )
    for name, daemon in siege.daemons.items():
        rss, descriptors, offset = before[name]
        if not daemon.alive():
            wrong.append(f"{name} does not answer")
            continue
        wrong += [f"{name} logs a mistake: {one}" for one in daemon.mistakes(offset)[:3]]
        now = _settled(daemon, descriptors)
        print(
            f"{name}: {rss:.0f} -> {daemon.rss_mib():.0f} MiB (peak {daemon.peak_mib():.0f}),"
            f" {descriptors} -> {now} descriptors"
        )
        if now > descriptors + DESCRIPTORS_GROWTH_MAX:
            wrong.append(f"{name} holds {now - descriptors} descriptors more")
        if daemon.rss_mib() > rss + RSS_GROWTH_MIB_MAX:
            wrong.append(f"{name} holds {daemon.rss_mib() - rss:.0f} MiB more")
    return rows, wrong


def main() -> int:
    """Parse the options, run, clean up."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="only what is quick")
    parser.add_argument("--only", default="", help="only attacks whose name matches")
    parser.add_argument("--json", type=Path, help="write a line for each row there")
    options = parser.parse_args()
    leftovers.remove_leftovers(CHECKOUT / "build", PURPOSE)
    try:
        with Stage(PURPOSE, launch=launch) as stage:
            leftovers.claim(stage.directory)
            rows, wrong = besieged(stage, options.short, options.only)
    except Failed as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        return interrupted.exit_status
    if options.json:
        lines = [json.dumps(asdict(row)) + "\n" for row in rows]
        options.json.write_text("".join(lines), encoding="utf-8")
    print(table(rows))
    for one in wrong:
        print(f"WRONG: {one}")
    print(f"{len(rows)} rows, {sum(one.tries for one in rows)} tries, {len(wrong)} wrong")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
