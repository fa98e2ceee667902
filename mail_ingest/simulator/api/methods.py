"""The methods that are served: path, parameters, scopes, and the function that answers.

Paths, parameters and scopes: discovery document of gmail.v1, revision 20261005.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mail_ingest.simulator.api import history, labels, messages, profile
from mail_ingest.simulator.api.context import Context, Json
from mail_ingest.simulator.wire.parameters import Declared, Parameter

Handler = Callable[[Context], Json | None]

_READ = ("gmail.modify", "gmail.readonly")
_READ_OR_METADATA = (*_READ, "gmail.metadata")
_LABELS_READ = (*_READ_OR_METADATA, "gmail.labels")


@dataclass(frozen=True, slots=True)
class Method:
    """One API method. Its scopes are short names; the full mail scope is always enough."""

    name: str
    verb: str
    path: str
    """Below `/gmail/v1/users/{userId}/`; `*` stands for an id."""
    handler: Handler
    scopes: frozenset[str]
    declared: Declared
    rpc: str
    """Name that Google's errors give."""


def _method(
    name: str, verb: str, path: str, handler: Handler, scopes: tuple[str, ...], rpc: str, **parameters: Parameter
) -> Method:
    full = frozenset({"https://mail.google.com/", *(f"https://www.googleapis.com/auth/{scope}" for scope in scopes)})
    declared = Declared(parameters)
    return Method(name, verb, path, handler, full, declared, f"caribou.api.proto.MailboxService.{rpc}")


_TEXT = Parameter()
_TEXTS = Parameter(repeated=True)
_COUNT = Parameter("uint32")
_FLAG = Parameter("boolean")
_FORMAT = Parameter("enum", ("minimal", "full", "raw", "metadata"), enum_name="caribou.api.proto.MessageFormat")
_HISTORY_TYPES = Parameter(
    "enum",
    ("messageAdded", "messageDeleted", "labelAdded", "labelRemoved"),
    repeated=True,
    enum_name="caribou.api.proto.HistoryType",
)
_LISTING = {"includeSpamTrash": _FLAG, "maxResults": _COUNT, "pageToken": _TEXT, "q": _TEXT}

READING: tuple[Method, ...] = (
    _method("getProfile", "GET", "profile", profile.get_profile, (*_READ_OR_METADATA, "gmail.compose"), "GetProfile"),
    _method(
        "history.list", "GET", "history", history.list_history, _READ_OR_METADATA, "ListHistory",
        historyTypes=_HISTORY_TYPES, labelId=_TEXT, maxResults=_COUNT, pageToken=_TEXT,
        startHistoryId=Parameter("uint64"),
    ),
    _method("labels.list", "GET", "labels", labels.list_labels, _LABELS_READ, "ListLabels"),
    _method("labels.get", "GET", "labels/*", labels.get_label, _LABELS_READ, "GetLabel"),
    _method(
        "messages.list", "GET", "messages", messages.list_messages, _READ_OR_METADATA, "ListMessages",
        labelIds=_TEXTS, **_LISTING,
    ),
    _method(
        "messages.get", "GET", "messages/*", messages.get_message, _READ_OR_METADATA, "GetMessage",
        format=_FORMAT, metadataHeaders=_TEXTS,
    ),
    _method(
        "messages.attachments.get", "GET", "messages/*/attachments/*", messages.get_attachment, _READ, "GetAttachment"
    ),
)  # fmt: skip

METHODS: tuple[Method, ...] = READING
