"""Calling the verbs of a mailbox over HTTP."""

import inspect
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pybase64

from mail_ingest.simulator.mail.mailbox import Mailbox


class RefusedError(Exception):
    """What a caller of the control endpoints did wrong."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


VERBS = (
    "add", "answer_as", "authorized_user", "create_label", "delete", "delete_draft", "delete_label", "delete_many",
    "disable_mail", "draft_message_id", "empty_trash", "expire_history", "expire_token", "generate", "issue_token",
    "load", "purge", "receive", "relabel", "relabel_many", "rename_label", "revoke", "save_draft", "send_draft", "trash",
    "untrash",
)  # fmt: skip
"""Verbs of `Mailbox` that can be called over HTTP, with their Python arguments in a JSON object."""

_LONG_ANSWERS = ("generate", "load")


def bound_verb(box: Mailbox, verb: str, arguments: dict[str, Any]) -> Callable[[], Any]:
    """The verb with its arguments in Python's types: times from ISO texts, bytes from base64.

    Raises `RefusedError` for an unknown verb and TypeError for arguments that do not fit.
    """
    if verb not in VERBS:
        raise RefusedError(f"no verb {verb}; there are {', '.join(VERBS)}", 404)
    given = dict(arguments)
    if isinstance(given.get("internal_date"), str):
        given["internal_date"] = datetime.fromisoformat(given["internal_date"])
    if isinstance(given.get("raw"), str):
        given["raw"] = pybase64.b64decode(given["raw"])
    if isinstance(given.get("attachments"), list):
        given["attachments"] = [(name, kind, pybase64.b64decode(data)) for name, kind, data in given["attachments"]]
    call = getattr(box, verb)
    inspect.signature(call).bind(**given)
    return lambda: call(**given)


def call_verb(box: Mailbox, verb: str, arguments: dict[str, Any]) -> Any:
    """Calls a verb; the ids of a whole mailbox are answered as their number."""
    result = bound_verb(box, verb, arguments)()
    return {"messages": len(result)} if verb in _LONG_ANSWERS else result
