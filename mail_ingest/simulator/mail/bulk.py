"""How changes to many messages fall into history records.

A recorded log shows one record for both messages of a trashed thread and a second one for their leaving the inbox.
Larger changes are cut into records of a hundred messages here; Gmail's own cut is unknown.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

from mail_ingest.simulator.mail.history import Change
from mail_ingest.simulator.mail.state import MailboxState

RECORD_MESSAGES = 100


def chunks(slots: Iterable[int]) -> Iterator[list[int]]:
    rest = iter(slots)
    while chunk := list(islice(rest, RECORD_MESSAGES)):
        yield chunk


def relabel(state: MailboxState, slots: Iterable[int], add: Iterable[str], remove: Iterable[str]) -> None:
    """Adds and removes labels; what a message already has or lacks is not written to the history."""
    added, removed = tuple(add), tuple(remove)
    for chunk in chunks(slots):
        steps: list[Change | None] = []
        if added:
            steps += [state.add_labels(slot, added) for slot in chunk]
        if removed:
            steps += [state.remove_labels(slot, removed) for slot in chunk]
        changes = [step for step in steps if step is not None]
        if changes:
            state.record(changes)


def trash(state: MailboxState, slots: Iterable[int]) -> None:
    """Adds TRASH in one record and takes INBOX away in the next."""
    for chunk in chunks(slots):
        relabel(state, chunk, ("TRASH",), ())
        relabel(state, chunk, (), ("INBOX",))


def untrash(state: MailboxState, slots: Iterable[int]) -> None:
    """Removes TRASH; INBOX does not come back, as recorded."""
    relabel(state, slots, (), ("TRASH",))


def delete(state: MailboxState, slots: Iterable[int]) -> None:
    for chunk in chunks(slots):
        state.record([state.remove(slot) for slot in chunk])
