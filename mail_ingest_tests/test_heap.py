"""One heap for all threads: what ten threads allocate and free must not be kept ten times."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys

import pytest

from mail_ingest.ingest.heap import lean_heap

_COUNT = """
import ctypes, importlib, sys, tempfile, threading
importlib.import_module(sys.argv[1])
started = threading.Barrier(8)
def work():
    kept = [bytearray(5_000) for _ in range(100)]
    started.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.fclose.argtypes = [ctypes.c_void_p]
with tempfile.NamedTemporaryFile() as report:
    stream = libc.fopen(report.name.encode(), b"w")
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    print(report.read().count(b"<heap nr"))
"""


def _heaps(module: str) -> int:
    done = subprocess.run([sys.executable, "-c", _COUNT, module], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="the C library is not glibc")
@pytest.mark.parametrize("module", ["mail_ingest.cli", "mail_ingest.definitions", "mail_ingest.ingest"])
def test_all_threads_of_a_sync_share_one_heap(module: str) -> None:
    assert _heaps("pandas") > 1, "the count counts nothing"
    assert _heaps(module) == 1


def test_a_drain_beside_others_leaves_the_collector_to_the_sync_that_began_them() -> None:
    thresholds = gc.get_threshold()

    with lean_heap() as outer:
        lean = gc.get_threshold()
        with lean_heap() as inner:
            assert gc.get_threshold() == lean
            inner()
        assert gc.get_threshold() == lean != thresholds
        outer()
        assert gc.get_freeze_count() > 0

    assert gc.get_threshold() == thresholds
    assert gc.get_freeze_count() == 0
