"""Processes that hold an index ask for huge pages, unless somebody decided otherwise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from engines.pages import VARIABLE, with_huge_pages

THP_MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
TOUCH_64_MIB = """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
size = 64 * 2**20
libc.memset(libc.malloc(size), 1, size)
print(open("/proc/self/smaps_rollup").read())
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "glibc.malloc.hugetlb=1"),
        ({VARIABLE: "glibc.malloc.check=3"}, "glibc.malloc.check=3:glibc.malloc.hugetlb=1"),
        ({VARIABLE: "glibc.malloc.hugetlb=0"}, "glibc.malloc.hugetlb=0"),
    ],
)
def test_what_somebody_has_set_stays(before: dict[str, str], after: str) -> None:
    made = with_huge_pages({"HOME": "/h", **before})
    assert made == {"HOME": "/h", VARIABLE: after}
    assert with_huge_pages(made) == made


def test_malloc_takes_huge_pages_where_the_kernel_gives_them() -> None:
    told = subprocess.run(
        [sys.executable, "-c", TOUCH_64_MIB],
        env=with_huge_pages(os.environ),
        check=True,
        capture_output=True,
        text=True,
    )
    [kib] = re.findall(r"AnonHugePages: +(\d+) kB", told.stdout)
    gives_any = THP_MODE.exists() and "[never]" not in THP_MODE.read_text()
    assert int(kib) >= 2**15 if gives_any else int(kib) == 0
