"""The verbs of the mailbox: everything that people, their programs and Gmail do to mail.

Each takes the mailbox and two numbers that choose; what finds nothing to act on does nothing and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count

from mail_ingest.simulator import Mailbox
from mail_ingest_tests.convergence.planted import written
from mail_ingest_tests.convergence.steps import Change

#: Internal dates of imported mail, and what a month backfill may ask for.
MONTHS = ("2025-03", "2025-11", "2025-12")

#: Verbs after which there may be fewer messages.
LEAVING = {"delete", "delete_asked_for", "empty_trash", "delete_draft"}

_SYSTEM = ("STARRED", "INBOX", "UNREAD", "IMPORTANT", "SPAM")
_MAY_LEAVE = (*_SYSTEM, "TRASH")


class Verbs:
    """Applies changes to one mailbox. A change may come while a call is answered, which is then `asked_for`."""

    def __init__(self, box: Mailbox) -> None:
        self._box = box
        self._number = count(1)
        self._asked_for = ""
        self._verbs: dict[str, Callable[[int, int], bool]] = {
            name.removeprefix("_do_"): getattr(self, name) for name in dir(self) if name.startswith("_do_")
        }

    def names(self) -> list[str]:
        return list(self._verbs)

    def apply(self, change: Change, asked_for: str = "") -> bool:
        """Whether there was something to change."""
        self._asked_for = asked_for
        return self._verbs[change.verb](change.a, change.b)

    # arriving

    def _do_insert(self, a: int, b: int) -> bool:
        self._box.add(**{"subject": self._name("New"), **written(a, b)}, labels=_chosen(b))
        return True

    def _do_insert_into_thread(self, a: int, b: int) -> bool:
        message_id = self._message(a)
        if message_id is None:
            return False
        thread_id = self._box.message(message_id).thread_id
        # nobody answers with a code to sign in
        self._box.add(**{**written(a % 10, b), "subject": self._name("Re")}, thread_id=thread_id, labels=_chosen(b))
        return True

    def _do_import_old(self, a: int, b: int) -> bool:
        """With an old date: in its id too, or (imported) in its internal date alone."""
        date = datetime.strptime(MONTHS[a % len(MONTHS)], "%Y-%m").replace(day=1 + b % 28, tzinfo=UTC)
        mail = {"subject": self._name("Old"), **written(a, b)}
        self._box.add(**mail, internal_date=date, imported=bool(b % 2), labels=_chosen(b))
        return True

    # labels of messages

    def _do_label(self, a: int, b: int) -> bool:
        return self._relabel([a], add=(self._label(b),))

    def _do_unlabel(self, a: int, b: int) -> bool:
        return self._relabel([a], remove=(self._carried(a, b),))

    def _do_move(self, a: int, b: int) -> bool:
        return self._relabel([a], add=(self._label(b),), remove=("INBOX", "UNREAD"))

    def _do_label_many(self, a: int, b: int) -> bool:
        return self._relabel(range(a, a + 5), add=(self._label(b),))

    def _do_unlabel_many(self, a: int, b: int) -> bool:
        return self._relabel(range(a, a + 5), remove=(self._carried(a, b),))

    # leaving

    def _do_trash(self, a: int, b: int) -> bool:
        return self._with_message(a, self._box.trash)

    def _do_untrash(self, a: int, b: int) -> bool:
        in_trash = [key for key, record in self._sorted() if "TRASH" in record.label_ids]
        if in_trash:
            self._box.untrash(in_trash[a % len(in_trash)])
        return bool(in_trash)

    def _do_delete(self, a: int, b: int) -> bool:
        return self._with_message(a, self._box.delete)

    def _do_delete_asked_for(self, a: int, b: int) -> bool:
        """What a call just asks for goes before it is answered: 404 between list and get."""
        if self._asked_for in self._box.messages():
            self._box.delete(self._asked_for)
            return True
        return False

    def _do_empty_trash(self, a: int, b: int) -> bool:
        return bool(self._box.empty_trash())

    # labels themselves

    def _do_create_label(self, a: int, b: int) -> bool:
        self._box.create_label(self._name("Label"))
        return True

    def _do_rename_label(self, a: int, b: int) -> bool:
        label_id = self._user_label(b)
        if label_id is not None:
            self._box.rename_label(label_id, self._name("Renamed"))
        return label_id is not None

    def _do_delete_label(self, a: int, b: int) -> bool:
        label_id = self._user_label(b)
        if label_id is not None:
            self._box.delete_label(label_id)
        return label_id is not None

    # drafts

    def _do_write_draft(self, a: int, b: int) -> bool:
        self._box.save_draft(body=self._name("Draft"))
        return True

    def _do_save_draft(self, a: int, b: int) -> bool:
        return self._with_draft(a, lambda draft: self._box.save_draft(body=self._name("Draft"), draft=draft))

    def _do_send_draft(self, a: int, b: int) -> bool:
        return self._with_draft(a, self._box.send_draft)

    def _do_delete_draft(self, a: int, b: int) -> bool:
        return self._with_draft(a, self._box.delete_draft)

    # choosing

    def _name(self, prefix: str) -> str:
        return f"{prefix} {next(self._number)}"

    def _sorted(self):  # type: ignore[no-untyped-def]
        return sorted(self._box.messages().items())

    def _message(self, a: int) -> str | None:
        ids = sorted(self._box.messages())
        return ids[a % len(ids)] if ids else None

    def _user_label(self, b: int) -> str | None:
        ids = sorted(key for key, label in self._box.labels().items() if not label.is_system)
        return ids[b % len(ids)] if ids else None

    def _label(self, b: int) -> str:
        users = sorted(key for key, label in self._box.labels().items() if not label.is_system)
        return (*users, *_SYSTEM)[b % (len(users) + len(_SYSTEM))]

    def _carried(self, a: int, b: int) -> str:
        """A label that the message carries; DRAFT and SENT stay as they do in Gmail."""
        message_id = self._message(a)
        carried = self._box.message(message_id).label_ids if message_id is not None else frozenset()
        may_leave = sorted(label for label in carried if label in _MAY_LEAVE or label.startswith("Label_"))
        return may_leave[b % len(may_leave)] if may_leave else "STARRED"

    def _relabel(self, chosen, *, add=(), remove=()) -> bool:  # type: ignore[no-untyped-def]
        ids = sorted(self._box.messages())
        targets = list(dict.fromkeys(ids[a % len(ids)] for a in chosen)) if ids else []
        before = self._box.history_id
        if targets:
            self._box.relabel_many(targets, add=add, remove=remove)
        return self._box.history_id != before

    def _with_message(self, a: int, act: Callable[[str], object]) -> bool:
        message_id = self._message(a)
        if message_id is not None:
            act(message_id)
        return message_id is not None

    def _with_draft(self, a: int, act: Callable[[str], object]) -> bool:
        drafts = [draft for draft, _ in self._box.drafts.newest_first()]
        if drafts:
            act(drafts[a % len(drafts)])
        return bool(drafts)


def _chosen(b: int) -> tuple[str, ...]:
    """Labels that new mail comes with; none at all as well."""
    return (("INBOX", "UNREAD"), ("INBOX",), (), ("SPAM",), ("SENT",))[b % 5]
