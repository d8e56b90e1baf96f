"""What this processor can do that decides how 8-bit networks are written and run."""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_WIDE = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"}


@functools.cache
def has_byte_products() -> bool:
    """Whether there are dot products of bytes; False where that cannot be told.

    Without them, libraries add pairs of products in 16 bits: 255 x 127 x 2 overflows, and the sum is cut off
    (https://uxlfoundation.github.io/oneDNN/dev_guide_int8_computations.html).
    """
    if platform.machine().lower() in {"arm64", "aarch64"}:
        return True
    return any("vnni" in flag for flag in flags())


def prefer_wide_instructions(cpuinfo: Path = _CPUINFO) -> None:
    """Lets CTranslate2 use AVX-512 where the processor is of a kind that does not slow down for it.

    The library takes it only when an environment variable says so, and reads that when it first runs, so this
    comes before. A choice made outside stands. Worth a fifth of the time (decision 3).
    """
    if flags(cpuinfo) >= _WIDE:
        os.environ.setdefault("CT2_FORCE_CPU_ISA", "AVX512")


def flags(cpuinfo: Path = _CPUINFO) -> set[str]:
    """The instruction sets that Linux names; none elsewhere."""
    try:
        lines = cpuinfo.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return set()
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))
