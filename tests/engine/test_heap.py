from __future__ import annotations

import ctypes.util
import subprocess
import sys

import pytest

# Prints the pages that the system had to provide for 64 MiB needed once more, within the block and after it, and what it got back.
PROGRAM = """
import resource
import torch
from emotion_perception.engine.heap import kept_heap

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def held():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

def pages_of_three():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(2**18) for _ in range(3)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.ones(16 * 2**20)
with kept_heap():
    torch.ones(20 * 2**20)
    print(pages())
    kept = held()
print(kept - held(), pages(), [pages_of_three() for _ in range(5)][-1])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux") or ctypes.util.find_library("c") != "libc.so.6", reason="not glibc")
def test_memory_stays_for_the_block_and_is_given_back_after_it() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    within, given_back, after, after_of_small = map(int, done.stdout.split())
    assert within < 1000  # of 16384 pages of 4 KiB
    assert given_back > 48 * 2**20
    assert after > 1000
    assert after_of_small < 100  # blocks of a few MiB are kept as glibc keeps them once it has seen that they come and go
