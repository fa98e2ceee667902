"""One message as it is stored: its rows in the content tables, for functions that decide what of them may stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mail_ingest.sources.tables import ATTACHMENTS, MESSAGE_HTML, MESSAGE_RECIPIENTS, MESSAGES, Table

Values = Mapping[str, Any]
#: The tables that hold a message's content, the row that the others belong to last.
STORED_TABLES = (MESSAGE_RECIPIENTS, ATTACHMENTS, MESSAGE_HTML, MESSAGES)
#: Columns by which rows are found and kept apart, which hold nothing that a person wrote.
NOT_CONTENT = frozenset(
    {
        "account_id",
        "message_id",
        "thread_id",
        "part_id",
        "in_part_id",
        "kind",
        "sha256",
        "raw_pack",
        "source",
        "privacy",
        "defects",
        "charsets",
    }
)


@dataclass(frozen=True, slots=True, repr=False)
class StoredMessage:
    """The rows of one message, each by column name: JSON as text, times aware. `html` is its row, if it has one."""

    message: Values
    recipients: tuple[Values, ...] = ()
    attachments: tuple[Values, ...] = ()
    html: Values | None = None

    @property
    def account_id(self) -> str:
        return str(self.message["account_id"])

    @property
    def message_id(self) -> str:
        return str(self.message["message_id"])

    def rows(self, table: Table) -> Sequence[Values]:
        if table is MESSAGES:
            return (self.message,)
        if table is MESSAGE_RECIPIENTS:
            return self.recipients
        if table is ATTACHMENTS:
            return self.attachments
        return () if self.html is None else (self.html,)

    def texts(self) -> Iterable[str]:
        """Every text that its rows hold, keys and places included."""
        return self._texts(frozenset())

    def contents(self) -> Iterable[str]:
        """Every text that its rows hold and that the message has said."""
        return self._texts(NOT_CONTENT)

    def _texts(self, without: frozenset[str]) -> Iterator[str]:
        for table in STORED_TABLES:
            for row in self.rows(table):
                for name, value in row.items():
                    if isinstance(value, str) and value and name not in without:
                        yield value

    @classmethod
    def of(cls, rows: Mapping[str, Sequence[Values]]) -> StoredMessage:
        """Out of rows by table name; there must be one of `messages`."""
        html = rows.get(MESSAGE_HTML.name, ())
        return cls(
            rows[MESSAGES.name][0],
            tuple(rows.get(MESSAGE_RECIPIENTS.name, ())),
            tuple(rows.get(ATTACHMENTS.name, ())),
            html[0] if html else None,
        )


#: What is to be stored instead: the same object where nothing changes, None where nothing may stay.
Rewrite = Callable[[StoredMessage], StoredMessage | None]


def as_values(table: Table, row: Sequence[Any]) -> dict[str, Any]:
    """A row in the order of its table's columns, by name."""
    return dict(zip((column.name for column in table.columns), row, strict=True))


def as_row(table: Table, values: Values) -> tuple[Any, ...]:
    return tuple(values[column.name] for column in table.columns)
