"""What happens in a mailbox within an hour: labels change, messages are deleted, mail comes. Drawn by a seed."""

import random
from collections.abc import Iterable

from mail_ingest.simulator.mail import bulk
from mail_ingest.simulator.mail.mailbox import Mailbox
from mail_ingest.simulator.mail.table import live_sample

_SYSTEM_LABELS = ("UNREAD", "STARRED", "INBOX", "IMPORTANT")


def pass_hour(
    boxes: Iterable[Mailbox], *, messages: int = 10, label_changes: int = 5, deletions: int = 1, seed: int = 1
) -> None:
    """Changes each mailbox: a history record for every message that comes, is deleted, gets or loses a label.

    Labels change and messages are deleted among those that were there before, different ones each, as far as there are
    so many.
    """
    for box in boxes:
        _pass_hour(box, messages, label_changes, deletions, seed)


def _pass_hour(box: Mailbox, messages: int, label_changes: int, deletions: int, seed: int) -> None:
    rng = random.Random(f"{seed} {box.address}")
    with box.lock:
        state = box.state
        drawn = live_sample(state.table, deletions + label_changes, rng)
        user_labels = [label.id for label in state.labels.values() if not label.is_system]
        for slot in drawn[:deletions]:
            bulk.delete(state, [slot])
        for slot in drawn[deletions:]:
            label_id = rng.choice([*_SYSTEM_LABELS, *user_labels])
            if label_id in state.label_ids(slot):
                bulk.relabel(state, [slot], (), [label_id])
            else:
                bulk.relabel(state, [slot], [label_id], ())
        if messages:
            box.receive(messages, seed=rng.getrandbits(64))
