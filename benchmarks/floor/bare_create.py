"""The floor of a small file: three creates of 8 KiB, each synced, in one process.

Prints one JSON object: files per second, and the processor time of one threefold create.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path


def measure(directory: Path, count: int, length: int, copies: int = 3) -> dict[str, float | str]:
    """Return the figures of `count` files of `length` bytes."""
    folders = []
    for number in range(copies):
        folder = directory / str(number)
        folder.mkdir()
        folders.append(folder)
    content = os.urandom(length)
    cpu = time.process_time()
    started = time.perf_counter()
    for number in range(count):
        for folder in folders:
            file = os.open(folder / str(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(file, content)
            os.fdatasync(file)
            os.close(file)
    seconds = time.perf_counter() - started
    return {
        "name": "bare create",
        "files": count,
        "file_bytes": length,
        "seconds": seconds,
        "files_per_s": count / seconds,
        "cpu_us_per_file": (time.process_time() - cpu) / count * 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--file-bytes", type=int, default=8 << 10)
    parser.add_argument("--directory", type=Path, default=None)
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="floor-create-", dir=options.directory))
    try:
        print(json.dumps(measure(directory, options.files, options.file_bytes)))
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
