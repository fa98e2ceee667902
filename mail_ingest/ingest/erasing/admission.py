"""What may be stored of fetched mail at all, where people's traces were erased or an account leaves sign-in mail out: the same
rules as for what was stored before."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import pyarrow as pa

from mail_ingest.errors import stack_of
from mail_ingest.gmail import RawMessage
from mail_ingest.ingest.erasing.people import ErasedPeople
from mail_ingest.sources.batches import RowBuffer
from mail_ingest.sources.content import ERASED
from mail_ingest.sources.tables import LEFT_OUT_MESSAGES

logger = logging.getLogger(__name__)

#: All of it; its rows without the person, and no bytes; nothing.
Verdict = Literal["whole", "without bytes", "left out"]


class Admission:
    """Judges one package of fetched mail of an account, and notes what is left out of it, so that it is never bought again."""

    def __init__(
        self,
        people: ErasedPeople | None,
        account_id: str,
        write: Callable[[str, pa.RecordBatch], None],
        *,
        leaves_out: Callable[[RawMessage], str | None] | None = None,
    ) -> None:
        """`leaves_out`: why the account's privacy lets nothing of a message be stored, None where it does."""
        self._people = people
        self._leaves_out = leaves_out
        self._account_id = account_id
        #: Why messages were left out, by id.
        self.reasons: dict[str, str] = {}
        self._left_out = RowBuffer(LEFT_OUT_MESSAGES, write)

    @property
    def may_refuse(self) -> bool:
        return self._people is not None or self._leaves_out is not None

    def judge(self, message: RawMessage) -> Verdict:
        """To be asked before anything of a message is archived. Raises nothing on account of the message: of one that cannot be
        read no bytes may be kept, as nobody can tell whom it mentions."""
        reason = self._leaves_out(message) if self._leaves_out is not None else None
        if reason is not None:
            return self._leave_out(message, reason)
        if self._people is None:
            return "whole"
        try:
            verdict = _verdict(self._people, message)
        except Exception as error:  # noqa: BLE001  one message must never stop an account
            # the message of the exception may quote mail, its stack does not
            stack = stack_of(error)
            logger.error(
                "whether message %s of %s mentions an erased person cannot be told (%s); its bytes are not kept\n%s",
                message.message_id,
                self._account_id,
                type(error).__name__,
                stack,
            )
            return "without bytes"
        return self._leave_out(message, ERASED) if verdict == "left out" else verdict

    def _leave_out(self, message: RawMessage, reason: str) -> Verdict:
        self.reasons[message.message_id] = reason
        self._left_out.add((self._account_id, message.message_id, reason, datetime.now(UTC)))
        return "left out"

    def flush(self) -> None:
        self._left_out.flush()


def _verdict(people: ErasedPeople, message: RawMessage) -> Verdict:
    if not (people.mentioned_in(message.snippet) or people.mentioned_in_mail(message.raw)):
        return "whole"
    return "left out" if people.wrote_mail(message.raw) else "without bytes"
