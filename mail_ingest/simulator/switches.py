"""Behaviour that differs between reports, or that nobody has documented: each is a switch with the likelier default."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(slots=True)
class Switches:
    """Set attributes at any time; they hold for all mailboxes of the server from the next request on."""

    inner_label_ids: Literal["as_of_event", "current", "absent"] = "as_of_event"
    """`message.labelIds` inside history records; recorded answers show the state after that step."""
    bare_records: bool = False
    """Records that name a message in `messages` alone follow every added message."""
    duplicate_records: bool = False
    """Each history page repeats the last record of the page before."""
    out_of_order_records: bool = False
    """Neighbouring records of a history page change places."""
    empty_pages: bool = False
    """Every second history page has a `nextPageToken` and no `history`."""
    label_delete_records: bool = True
    """Deleting a label writes `labelsRemoved` records for its messages."""
    list_inversions: bool = False
    """Neighbours in `messages.list` pages change places here and there."""
    page_by_offset: bool = False
    """Page tokens are offsets, so that mail arriving during a walk repeats ids and mail leaving skips some."""
    page_limit: int = 500
    """The most that a page holds, whatever was asked for: many pages without many messages."""
    spam_trash_needs_flag: bool = False
    """`in:spam`, `in:trash` and `labelIds=SPAM` find nothing without `includeSpamTrash`."""
    date_bounds: Literal["inclusive", "exclusive"] = "inclusive"
    """Whether `after:` and `before:` in epoch seconds include that second."""
    base64_padding: bool = True
    minimal_has_snippet: bool = False
    """Recorded `format=minimal` answers have no snippet; the documentation names only id and labels."""
    large_text_bytes: int = 25_000
    """Text parts above this size come by `attachmentId` in `format=full` (one report, of about 25 KB)."""
    metadata_scope_dominates: bool = True
    """`gmail.metadata` beside a wider scope imposes its limits all the same."""
    extra_labels: set[str] = field(default_factory=set)
    """Label ids that messages may carry but `labels.list` leaves out."""
    gzip_level: int = 1
    missing_batch_part: bool = False
    """The last part of every batch answer is missing."""
    reversed_batch_parts: bool = False
    """Parts of a batch answer come in reverse order."""
    duplicate_notifications: bool = False
