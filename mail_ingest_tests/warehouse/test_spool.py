"""Rows that wait on disk for their load: nothing of them stays once the block has ended, whatever ended it."""

from __future__ import annotations

import errno
from pathlib import Path

import pyarrow as pa
import pytest

from mail_ingest.warehouse.spool import Spool


def test_a_full_disk_keeps_nothing_of_a_spool(tmp_path: Path) -> None:
    """Or each try would leave another one, until nothing fits any more."""
    rows = pa.RecordBatch.from_pydict({"body_text": ["the spare key is under the seventh stone"] * 100})

    with pytest.raises(OSError, match="No space left") as caught, Spool(tmp_path) as spool:
        spool.write("recipients", rows)
        [folder] = tmp_path.iterdir()
        (folder / "messages.arrow").symlink_to("/dev/full")
        spool.write("messages", rows)

    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []
    opened = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert [name for name in opened if name.startswith(str(tmp_path))] == []
