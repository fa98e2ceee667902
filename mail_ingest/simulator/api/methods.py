"""The methods that are served: path, parameters, scopes, and the function that answers.

Paths, parameters and scopes: discovery document of gmail.v1, revision 20261005.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mail_ingest.simulator.api import changes, drafts, history, labels, messages, profile, push, threads
from mail_ingest.simulator.api.context import Context, Json
from mail_ingest.simulator.wire.parameters import Declared, Parameter

Handler = Callable[[Context], Json | None]

_READ = ("gmail.modify", "gmail.readonly")
_READ_OR_METADATA = (*_READ, "gmail.metadata")
_LABELS_READ = (*_READ_OR_METADATA, "gmail.labels")
_LABELS_WRITE = ("gmail.labels", "gmail.modify")
_MODIFY = ("gmail.modify",)
_INSERT = ("gmail.insert", "gmail.modify")
_COMPOSE = ("gmail.compose", "gmail.modify")


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
_THREAD_FORMAT = Parameter("enum", ("full", "metadata", "minimal"), enum_name="caribou.api.proto.ThreadFormat")
_ARRIVAL = {
    "deleted": Parameter("boolean"),
    "internalDateSource": Parameter(
        "enum", ("receivedTime", "dateHeader"), enum_name="caribou.api.proto.InternalDateSource"
    ),
}
_HISTORY_TYPES = Parameter(
    "enum",
    ("messageAdded", "messageDeleted", "labelAdded", "labelRemoved"),
    repeated=True,
    enum_name="caribou.api.proto.HistoryType",
)
_LISTING = {"includeSpamTrash": _FLAG, "maxResults": _COUNT, "pageToken": _TEXT, "q": _TEXT}


def _post(name: str, path: str, handler: Handler, scopes: tuple[str, ...], rpc: str, **parameters: Parameter) -> Method:
    return _method(name, "POST", path, handler, scopes, rpc, **parameters)


METHODS: tuple[Method, ...] = (
    _method("getProfile", "GET", "profile", profile.get_profile, (*_READ_OR_METADATA, "gmail.compose"), "GetProfile"),
    _post("watch", "watch", push.watch, _READ_OR_METADATA, "Watch"),
    _post("stop", "stop", push.stop, _READ_OR_METADATA, "Stop"),
    _method(
        "history.list", "GET", "history", history.list_history, _READ_OR_METADATA, "ListHistory",
        historyTypes=_HISTORY_TYPES, labelId=_TEXT, maxResults=_COUNT, pageToken=_TEXT,
        startHistoryId=Parameter("uint64"),
    ),
    _method("labels.list", "GET", "labels", labels.list_labels, _LABELS_READ, "ListLabels"),
    _method("labels.get", "GET", "labels/*", labels.get_label, _LABELS_READ, "GetLabel"),
    _post("labels.create", "labels", labels.create_label, _LABELS_WRITE, "CreateLabel"),
    _method("labels.update", "PUT", "labels/*", labels.update_label, _LABELS_WRITE, "UpdateLabel"),
    _method("labels.patch", "PATCH", "labels/*", labels.patch_label, _LABELS_WRITE, "PatchLabel"),
    _method("labels.delete", "DELETE", "labels/*", labels.delete_label, _LABELS_WRITE, "DeleteLabel"),
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
    _post("messages.insert", "messages", changes.insert_message, _INSERT, "InsertMessage", **_ARRIVAL),
    _post(
        "messages.import", "messages/import", changes.import_message, _INSERT, "ImportMessage",
        neverMarkSpam=_FLAG, processForCalendar=_FLAG, **_ARRIVAL,
    ),
    _post("messages.send", "messages/send", changes.send_message, (*_COMPOSE, "gmail.send"), "SendMessage"),
    _post("messages.modify", "messages/*/modify", changes.modify_message, _MODIFY, "ModifyMessage"),
    _post("messages.trash", "messages/*/trash", changes.trash_message, _MODIFY, "TrashMessage"),
    _post("messages.untrash", "messages/*/untrash", changes.untrash_message, _MODIFY, "UntrashMessage"),
    _method("messages.delete", "DELETE", "messages/*", changes.delete_message, (), "DeleteMessage"),
    _post("messages.batchModify", "messages/batchModify", changes.batch_modify, _MODIFY, "BatchModifyMessages"),
    _post("messages.batchDelete", "messages/batchDelete", changes.batch_delete, (), "BatchDeleteMessages"),
    _method(
        "threads.list", "GET", "threads", threads.list_threads, _READ_OR_METADATA, "ListThreads",
        labelIds=_TEXTS, **_LISTING,
    ),
    _method(
        "threads.get", "GET", "threads/*", threads.get_thread, _READ_OR_METADATA, "GetThread",
        format=_THREAD_FORMAT, metadataHeaders=_TEXTS,
    ),
    _post("threads.modify", "threads/*/modify", threads.modify_thread, _MODIFY, "ModifyThread"),
    _post("threads.trash", "threads/*/trash", threads.trash_thread, _MODIFY, "TrashThread"),
    _post("threads.untrash", "threads/*/untrash", threads.untrash_thread, _MODIFY, "UntrashThread"),
    _method("threads.delete", "DELETE", "threads/*", threads.delete_thread, (), "DeleteThread"),
    _method("drafts.list", "GET", "drafts", drafts.list_drafts, (*_READ, "gmail.compose"), "ListDrafts", **_LISTING),
    _method("drafts.get", "GET", "drafts/*", drafts.get_draft, (*_READ, "gmail.compose"), "GetDraft", format=_FORMAT),
    _post("drafts.create", "drafts", drafts.create_draft, _COMPOSE, "CreateDraft"),
    _method("drafts.update", "PUT", "drafts/*", drafts.update_draft, _COMPOSE, "UpdateDraft"),
    _method("drafts.delete", "DELETE", "drafts/*", drafts.delete_draft, _COMPOSE, "DeleteDraft"),
    _post("drafts.send", "drafts/send", drafts.send_draft, _COMPOSE, "SendDraft"),
)  # fmt: skip
