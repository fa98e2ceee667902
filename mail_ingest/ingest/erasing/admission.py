"""What may be stored of fetched mail, where people's traces were erased: the same rules as for what was stored before."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import pyarrow as pa

from mail_ingest.gmail import RawMessage
from mail_ingest.ingest.erasing.people import ErasedPeople
from mail_ingest.sources.batches import RowBuffer
from mail_ingest.sources.stored import Rewrite
from mail_ingest.sources.tables import LEFT_OUT_MESSAGES

#: Why messages of an erased person are left out, in `gmail.left_out_messages`.
REASON = "erased"

#: All of it; its rows without the person, and no bytes; nothing.
Verdict = Literal["whole", "without bytes", "left out"]


class Admission:
    """Judges one package of fetched mail of an account, and notes what is left out of it, so that it is never bought again."""

    def __init__(
        self, people: ErasedPeople | None, account_id: str, write: Callable[[str, pa.RecordBatch], None]
    ) -> None:
        self._people = people
        self._account_id = account_id
        self._left_out = RowBuffer(LEFT_OUT_MESSAGES, write)

    @property
    def may_refuse(self) -> bool:
        return self._people is not None

    @property
    def rewrite(self) -> Rewrite | None:
        """How rows of messages that are not left out are stored."""
        return self._people.take_out_of if self._people is not None else None

    def judge(self, message: RawMessage) -> Verdict:
        people = self._people
        if people is None or not (people.mentioned_in(message.snippet) or people.mentioned_in_mail(message.raw)):
            return "whole"
        if not people.wrote_mail(message.raw):
            return "without bytes"
        self._left_out.add((self._account_id, message.message_id, REASON, datetime.now(UTC)))
        return "left out"

    def flush(self) -> None:
        self._left_out.flush()
