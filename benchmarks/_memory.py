"""What Linux says of the memory of processes, and of files that this one has mapped."""

from __future__ import annotations

import os
from pathlib import Path


def resident(processes: set[int]) -> int:
    """Resident bytes of processes together; pages that they share count in each."""
    pages = sum(int(Path(f"/proc/{process}/statm").read_text().split()[1]) for process in processes)
    return pages * os.sysconf("SC_PAGE_SIZE")


def proportional(processes: set[int]) -> int:
    """Resident bytes of processes together; pages that they share count once."""
    rollups = [Path(f"/proc/{process}/smaps_rollup").read_text() for process in processes]
    return sum(1024 * int(rollup.partition("\nPss:")[2].split()[0]) for rollup in rollups)


def mapped(directory: Path) -> dict[str, int]:
    """Resident bytes of each file below a directory that this process has mapped."""
    found: dict[str, int] = {}
    name = ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, _, rest = line.partition(" ")
        if not first.endswith(":"):  # the line of a mapping: addresses, rights, offset, device, inode, path
            path = line.partition("/")
            name = str(Path(path[1] + path[2]).relative_to(directory)) if str(directory) in line else ""
        elif first == "Rss:" and name:
            found[name] = found.get(name, 0) + 1024 * int(rest.split()[0])
    return found
