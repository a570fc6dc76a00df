"""One merge of a folder's brick files, in a process of its own so that its peak memory is known.

    python -m benchmarks.merge_many FOLDER

Prints wall seconds, processor seconds, and the process's peak in MiB, libraries included.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

from medlego import merge_files

STATUS = Path("/proc/self/status")


def own_peak_mib() -> float:
    """Peak resident memory of this process so far.

    Linux's VmHWM begins anew with a program; ru_maxrss begins with the peak of whoever forked.
    """
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(folder: str) -> None:
    """Merge and print."""
    paths = sorted(Path(folder).iterdir())
    wall, processor = time.perf_counter(), time.process_time()
    merge_files(paths, 1 / len(paths))
    print(time.perf_counter() - wall, time.process_time() - processor, own_peak_mib())


if __name__ == "__main__":
    main(sys.argv[1])
