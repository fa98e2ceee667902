"""Rows of one message -> the same rows in the form that a policy allows.

A row is a tuple of a landing table's values, JSON as text; who calls says which columns the tables have, in which order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from mail_ingest.privacy.columns import COLUMNS, NO_ROWS, Treatment
from mail_ingest.privacy.forms import Form, form_under
from mail_ingest.privacy.hashing import Hasher
from mail_ingest.privacy.policy import Policy
from mail_ingest.privacy.redaction import announces_code, redact
from mail_ingest.privacy.sign_in import sign_in_reason

Row = tuple[Any, ...]
MessageRows = Mapping[str, Sequence[Row]]
"""Rows of one message by table: one of `messages`, any number of `message_recipients`, `attachments`, `message_html`."""

_Treat = Callable[[Any, "_About"], Any]

#: The last words of a snippet, where Gmail may have cut off what would have been recognised.
_CUT_END = re.compile(r"(?:^|\s)\S*[\d@]\S*(?:[\s\-][\d()\-./]+)*\s*\Z")
_CUT_WITHIN = 60
_VERDICT = re.compile(r"\b(spf|dkim|dmarc|arc|bimi)=([a-z]{1,12})\b", re.IGNORECASE)
_SCHEME = re.compile(r"\b(mailto|https?)\b", re.IGNORECASE)
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,8}\Z")
_LISTS = ("list", "bulk", "junk")


class _About:
    """What the treatment of one value has to know of its message."""

    __slots__ = ("account_id", "announces_code", "form", "is_whole")

    def __init__(self, account_id: str, earlier: Form, form: Form, subject: str | None) -> None:
        self.account_id = account_id
        self.form = form
        self.is_whole = earlier.startswith("full")
        self.announces_code = bool(subject) and announces_code(subject or "")


class PrivateRows:
    """Applies one policy to rows. Not for several threads at once."""

    def __init__(self, policy: Policy, columns: Mapping[str, Sequence[str]]) -> None:
        """`columns`: the column names of each table that rows will be given of, in the order of their values."""
        self.policy = policy
        self._columns = {table: {name: place for place, name in enumerate(names)} for table, names in columns.items()}
        self._hasher = Hasher(policy.hash_key) if policy.tier == "hashed" else None
        self._treats: dict[str, list[tuple[int, _Treat]]] = {
            table: [
                (place, treat)
                for name, place in places.items()
                if (treat := self._treat_of(COLUMNS[table][name].under(policy.tier))) is not None
            ]
            for table, places in self._columns.items()
        }

    def message(self, rows: MessageRows) -> dict[str, list[Row]] | str:
        """The message's rows in their form, or why it is left out altogether (see `sign_in_reason`).

        Rows that are in a stricter form already stay as they are; applying a policy twice changes nothing.
        """
        [message] = rows["messages"]
        reason = self.left_out(message)
        if reason is not None:
            return reason
        at = self._columns["messages"]
        earlier = message[at["privacy"]] or "full"
        form = form_under(earlier, self.policy, has_attachments=bool(message[at["attachment_count"]]))
        about = _About(message[at["account_id"]], earlier, form, message[at["subject"]])
        dropped = NO_ROWS[self.policy.tier] | ({"attachments"} if not self.policy.attachments else set())
        made: dict[str, list[Row]] = {}
        for table, its_rows in rows.items():
            made[table] = [] if table in dropped else [self._treated(table, row, about) for row in its_rows]
        if not self.policy.allows_bytes:
            made["messages"] = [_with(made["messages"][0], at["raw_pack"], None)]
        return {**made, "messages": [_with(made["messages"][0], at["privacy"], form)]}

    def left_out(self, message: Row) -> str | None:
        """Why the message of this row of `messages` is left out; None where it is not."""
        if self.policy.sign_in_mail:
            return None
        at = self._columns["messages"]
        return sign_in_reason(
            subject=message[at["subject"]],
            # headers alone are read as mail with an empty body
            text=message[at["body_text"]] or message[at["snippet"]],
            is_list=bool(message[at["list_id"]]) or (message[at["precedence"]] or "").strip().lower() in _LISTS,
            is_reply=bool(message[at["in_reply_to"]]),
        )

    def row(self, table: str, row: Row) -> Row:
        """A row of a table that holds no content, such as `labels`."""
        return self._treated(table, row, _About(row[self._columns[table]["account_id"]], "", "", None))

    def _treated(self, table: str, row: Row, about: _About) -> Row:
        values = list(row)
        for place, treat in self._treats[table]:
            if values[place] is not None:
                values[place] = treat(values[place], about)
        return tuple(values)

    def _treat_of(self, treatment: Treatment) -> _Treat | None:
        treats: dict[Treatment, _Treat] = {
            "text": self._text,
            "texts": lambda value, about: _json(_mapped(orjson.loads(value), lambda text: self._text(text, about))),
            "snippet": self._snippet,
            "address": self._address,
            "identifier": lambda value, _: self._hash.identifier(value),
            "identifiers": lambda value, _: _json([self._hash.identifier(item) for item in orjson.loads(value)]),
            "fingerprint": self._fingerprint,
            "extension": lambda value, _: _extension(value),
            "verdicts": lambda value, _: "; ".join(
                f"{name}={verdict}" for name, verdict in _VERDICT.findall(value)
            ).lower(),
            "schemes": lambda value, _: ", ".join(dict.fromkeys(scheme.lower() for scheme in _SCHEME.findall(value))),
            "form": lambda _, about: about.form,
            "drop": lambda *_: None,
            "empty": lambda *_: "",
        }
        return treats.get(treatment)

    @property
    def _hash(self) -> Hasher:
        if self._hasher is None:
            raise ValueError(f"the tier {self.policy.tier} hashes nothing")
        return self._hasher

    def _text(self, value: str, about: _About) -> str:
        replace = None
        if self._hasher is not None:
            replace = lambda address: self._address(address, about)  # noqa: E731  it needs the account
        return redact(value, replace_address=replace, announces_code=about.announces_code)

    def _snippet(self, value: str, about: _About) -> str:
        end = value[-_CUT_WITHIN:]
        cut = _CUT_END.search(end)
        if about.is_whole and cut is not None:
            value = value[: len(value) - len(end) + cut.start()]
        return self._text(value, about)

    def _address(self, value: str, about: _About) -> str:
        address = value.strip().removeprefix("<").removesuffix(">")
        return value if address.lower() == about.account_id or not address else self._hash.address(address)

    def _fingerprint(self, value: str, _: _About) -> str:
        return self._hash.fingerprint(value)


def _with(row: Row, place: int, value: object) -> Row:
    return (*row[:place], value, *row[place + 1 :])


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with its strings changed, names of objects left alone."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_mapped(item, change) for item in value]
    return value


def _extension(name: str) -> str:
    found = _EXTENSION.search(name)
    return found[0].lower() if found else ""


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
