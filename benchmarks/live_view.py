"""What a refresh of the live view costs: milliseconds of CPU, and bytes written to the terminal.

    python benchmarks/live_view.py [--servers 200] [--chunks 1000000] [--looks 100]

Reports of a simulated cluster go through the wire's codec, the real sight, frame and screen, onto a
real pseudo-terminal; and the same again as the first frame, which draws every line. Prints one JSON
object per size of the terminal, and one for the leader's part: its reckoning of all loads.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import statistics
import struct
import subprocess
import sys
import termios
import threading
import time

from gfs_ha.protocol.calls import Reply
from gfs_ha.protocol.codec import decode, encode
from gfs_ha.protocol.live import GetLive, LiveReport
from gfs_ha.sim.live_scene import LiveScene

SIZES = ((80, 24), (120, 40), (200, 60))


def drain(ours: int) -> None:
    """Read what is drawn, as a terminal does."""
    try:
        while os.read(ours, 1 << 16):
            pass
    except OSError:
        return


def measure(size: tuple[int, int], answers: list[tuple[float, bytes]]) -> dict[str, object]:
    """Return what refreshing costs at a size, on a pseudo-terminal that is standard output."""
    from gfs_ha.cli.live.frame import draw
    from gfs_ha.cli.live.look import Look
    from gfs_ha.cli.live.screen import Screen
    from gfs_ha.cli.live.sight import Looked, Sight
    from gfs_ha.cli.live.spans import Palette

    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    look, sight = Look(sort="name"), Sight()
    costs: list[float] = []
    written: list[int] = []
    with Screen(Palette()) as screen:
        for now_s, answer in answers:
            begun, before = time.process_time(), screen.written
            report = decode(Reply, answer)
            assert isinstance(report, LiveReport)
            sight.take(Looked(now_s, report))
            screen.draw(draw(look, sight, screen.size, (now_s, "13:04:11")).lines)
            costs.append((time.process_time() - begun) * 1e3)
            written.append(screen.written - before)
    return {
        "name": f"refresh at {size[0]}x{size[1]}",
        "cpu_p50_ms": round(statistics.median(costs[1:]), 2),
        "cpu_p99_ms": round(sorted(costs[1:])[int(0.99 * (len(costs) - 1)) - 1], 2),
        "cpu_max_ms": round(max(costs[1:]), 2),
        "bytes_p50": int(statistics.median(written[1:])),
        "first_cpu_ms": round(costs[0], 2),
        "first_bytes": written[0],
        "answer_bytes": len(answers[-1][1]),
    }


def child(options: argparse.Namespace) -> None:
    """Measure all sizes; the rows go to descriptor 3, the frames to the terminal."""
    scene = LiveScene(options.servers, options.chunks)
    answers = []
    for _ in range(options.looks):
        scene.step()
        answers.append((scene.now_s, encode(scene.report(GetLive(limit=180)))))
    rows = [measure(size, answers) for size in SIZES]
    begun = time.process_time()
    for _ in range(20):
        scene.report(GetLive(limit=180))
    took_ms = (time.process_time() - begun) * 1e3 / 20
    rows.append({"name": "report made, with the loads of all servers", "cpu_ms": round(took_ms, 2)})
    os.write(3, json.dumps(rows).encode())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", type=int, default=200)
    parser.add_argument("--chunks", type=int, default=1_000_000)
    parser.add_argument("--looks", type=int, default=100)
    parser.add_argument("--child", action="store_true")
    options = parser.parse_args()
    if options.child:
        child(options)
        return 0
    ours, theirs = pty.openpty()
    reader, writer = os.pipe()
    threading.Thread(target=drain, args=(ours,), daemon=True).start()
    program = subprocess.Popen(
        [sys.executable, __file__, *sys.argv[1:], "--child"],
        stdin=theirs,
        stdout=theirs,
        preexec_fn=lambda: os.dup2(writer, 3),
        pass_fds=(3, writer),
    )
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        rows = json.loads(told.read() or b"[]")
    status = program.wait(60.0)
    load = os.getloadavg()[0]
    for row in rows:
        print(json.dumps({**row, "servers": options.servers, "load": round(load, 1)}))
    return status


if __name__ == "__main__":
    sys.exit(main())
