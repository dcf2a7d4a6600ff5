"""Kernels load where the free places of the address space lie far from each other.

With LLVM's own memory manager a section that fits into a small hole goes there, and the next one
to the end of all mappings. Beyond 2 GB LLVM aborts the process. Processes with torch for CUDA have
such holes; here they are made.
"""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, os, resource, sys
from gatewright.backends.llvm import build, library

code = []
original = build.object_code
build.object_code = lambda module: code.append(original(module)) or code[-1]
os.environ["GATEWRIGHT_CACHE"] = ""
library.shared(build.numbers(32))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

c = ctypes.CDLL(None)
c.mmap.restype = ctypes.c_void_p
c.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
c.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
PRIVATE_ANONYMOUS_NORESERVE, PAGE, LARGE = 0x4022, 4096, 3 << 30

def reserve(size):  # addresses that nobody else gets; they take no memory
    return c.mmap(None, size, 0, PRIVATE_ANONYMOUS_NORESERVE, -1, 0)

lowest = reserve(LARGE)
for power in range(24, 11, -1):  # fill the holes above, the large ones first
    while reserve(1 << power) > lowest:
        pass
block = reserve(LARGE)
for pages in range(1, 7):
    for manager in sys.argv[1:]:
        child = os.fork()
        if child == 0:
            c.munmap(block + LARGE - 16 * PAGE, pages * PAGE)  # the only hole
            if manager == "llvm":
                build.lies_together = lambda triple: False
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            build.Library(code[0])
            os._exit(0)
        print(manager, pages, os.waitpid(child, 0)[1], flush=True)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="elsewhere llvmlite chooses the memory manager",
)
@pytest.mark.usefixtures("forked_python")
def test_kernels_load_into_a_fragmented_address_space():
    command = [sys.executable, "-c", PROGRAM, "ours", "llvm"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    results = [line.split() for line in done.stdout.splitlines()]
    assert len(results) == 12
    statuses = {
        name: {status for manager, _, status in results if manager == name}
        for name in ("ours", "llvm")
    }
    assert statuses["ours"] == {"0"}, done.stdout
    assert statuses["llvm"] != {"0"}, "the holes are not those that the test is about"
