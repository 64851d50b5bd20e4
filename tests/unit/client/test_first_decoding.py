"""The first messages of a process may arrive in several threads at once."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, threading
from gfs_ha.protocol.calls import Asked, CallBody, CallReply
from gfs_ha.protocol.codec import Failure, decode, encode
from gfs_ha.protocol.frames import ReplicaAck, decode_acks, encode_acks
from gfs_ha.protocol.reports import GetMasterFacts

sys.setswitchinterval(1e-6)
asked = encode((Asked(GetMasterFacts()),))
replied = encode((Failure("NotFound", "no"),))
acks = encode_acks((ReplicaAck(1, "", 2),))
barrier = threading.Barrier(9)

def run(work):
    barrier.wait()
    work()

jobs = [
    lambda: decode(CallBody, asked),
    lambda: decode(CallReply, replied),
    lambda: decode_acks(acks),
]
threads = [threading.Thread(target=run, args=(job,)) for job in jobs * 3]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_that_decode_for_the_first_time_together_do_not_crash() -> None:
    for _ in range(4):
        subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=60)
