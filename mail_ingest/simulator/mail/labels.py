"""Labels of a mailbox, and sets of labels interned as small numbers.

Names, visibility and order of the system labels are those of recorded `labels.list` answers: `INBOX`, `SENT`, `DRAFT`,
`STARRED` and `UNREAD` come without visibility fields, the others hidden.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from zlib import crc32


@dataclass(frozen=True, slots=True)
class Label:
    """One label; fields that are None are left out of answers."""

    id: str
    name: str
    is_system: bool = False
    message_list_visibility: str | None = "show"
    label_list_visibility: str | None = "labelShow"
    background_color: str | None = None
    text_color: str | None = None


def _hidden(label_id: str) -> Label:
    return Label(label_id, label_id, True, "hide", "labelHide")


def _bare(label_id: str) -> Label:
    return Label(label_id, label_id, True, None, None)


SYSTEM_LABELS: tuple[Label, ...] = (
    _hidden("CHAT"),
    _bare("SENT"),
    _bare("INBOX"),
    _hidden("IMPORTANT"),
    _hidden("TRASH"),
    _bare("DRAFT"),
    _hidden("SPAM"),
    _hidden("CATEGORY_FORUMS"),
    _hidden("CATEGORY_UPDATES"),
    _hidden("CATEGORY_PERSONAL"),
    _hidden("CATEGORY_PROMOTIONS"),
    _hidden("CATEGORY_SOCIAL"),
    _bare("STARRED"),
    _bare("UNREAD"),
)
SYSTEM_LABEL_IDS = frozenset(label.id for label in SYSTEM_LABELS)

NOT_SET_BY_HAND = frozenset({"SENT", "DRAFT", "CHAT"})
"""Labels that `modify` refuses (https://developers.google.com/workspace/gmail/api/guides/labels; CHAT by analogy)."""

RESERVED_NAMES = frozenset({"inbox", "sent", "drafts", "draft", "spam", "trash", "chat", "chats", "starred", "unread",
                            "important", "todo", "voicemail", "muted"})  # fmt: skip


class LabelSets:
    """Numbers every distinct set of label ids once, so that a message stores four bytes instead of a set.

    Number 0 is the empty set. Numbers are never reused. All mailboxes of a server share them: generated ones have the same
    label ids, and thousands of mailboxes would each keep some hundred sets that the others have too.
    """

    __slots__ = ("_numbers", "_ordered", "_sets")

    def __init__(self) -> None:
        self._sets: list[frozenset[str]] = [frozenset()]
        self._ordered: dict[int, list[str]] = {}
        self._numbers: dict[frozenset[str], int] = {frozenset(): 0}

    def number(self, label_ids: Iterable[str]) -> int:
        wanted = frozenset(label_ids)
        known = self._numbers.get(wanted)
        if known is None:
            known = self._numbers[wanted] = len(self._sets)
            self._sets.append(wanted)
        return known

    def __getitem__(self, number: int) -> frozenset[str]:
        return self._sets[number]

    def listed(self, number: int) -> list[str]:
        """The ids in the order of answers: no particular one in recordings, here scrambled but always the same."""
        known = self._ordered.get(number)
        if known is None:
            known = self._ordered[number] = sorted(self._sets[number], key=lambda label_id: crc32(label_id.encode()))
        return known

    def __len__(self) -> int:
        return len(self._sets)
