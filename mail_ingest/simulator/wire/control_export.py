"""The truth about all mailboxes as one table, to be compared with a warehouse of thousands of them in one pass."""

import csv
import io
from collections.abc import Iterator

from mail_ingest.simulator.mail import ids
from mail_ingest.simulator.mail.mailbox import Mailbox
from mail_ingest.simulator.world import World

COLUMNS = ("address", "message_id", "thread_id", "label_ids", "internal_date_ms")
_ROWS_A_PIECE = 5_000


def message_table(world: World) -> Iterator[bytes]:
    """CSV with a row for every message that exists. Label ids are sorted, with semicolons between them.

    A mailbox is read some thousand rows at a time; a change meanwhile can show in the later ones.
    """
    label_texts: dict[int, str] = {}
    yield (",".join(COLUMNS) + "\r\n").encode()
    for box in list(world.accounts.values()):
        for begin in range(0, len(box.state.table), _ROWS_A_PIECE):
            with world.lock:
                piece = _rows(box, begin, label_texts)
            yield piece


def _rows(box: Mailbox, begin: int, label_texts: dict[int, str]) -> bytes:
    table, sets, address = box.state.table, box.state.sets, box.address
    rows = []
    for slot in range(begin, min(begin + _ROWS_A_PIECE, len(table))):
        if table.alive[slot]:
            number = table.label_sets[slot]
            labels = label_texts.get(number)
            if labels is None:
                labels = label_texts[number] = ";".join(sorted(sets[number]))
            thread_id = ids.to_hex(table.thread_id(slot))
            rows.append((address, ids.to_hex(table.ids[slot]), thread_id, labels, table.dates[slot]))
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
