"""Which fields each answer can have, for checking `fields` masks. From the discovery document of gmail.v1."""

from typing import Any

_PART: dict[str, Any] = {
    "partId": None,
    "mimeType": None,
    "filename": None,
    "headers": {"name": None, "value": None},
    "body": {"attachmentId": None, "size": None, "data": None},
}
_PART["parts"] = _PART
_MESSAGE: dict[str, Any] = {
    "id": None,
    "threadId": None,
    "labelIds": None,
    "snippet": None,
    "historyId": None,
    "internalDate": None,
    "payload": _PART,
    "sizeEstimate": None,
    "raw": None,
    "classificationLabelValues": {"labelId": None, "fields": {"fieldId": None, "selection": None}},
}
_PAGE = {"nextPageToken": None, "resultSizeEstimate": None}
_LABEL = {
    "id": None,
    "name": None,
    "messageListVisibility": None,
    "labelListVisibility": None,
    "type": None,
    "messagesTotal": None,
    "messagesUnread": None,
    "threadsTotal": None,
    "threadsUnread": None,
    "color": {"textColor": None, "backgroundColor": None},
}
_THREAD = {"id": None, "snippet": None, "historyId": None, "messages": _MESSAGE}
_DRAFT = {"id": None, "message": _MESSAGE}
_CHANGED_LABELS = {"message": _MESSAGE, "labelIds": None}
_HISTORY = {
    "id": None,
    "messages": _MESSAGE,
    "messagesAdded": {"message": _MESSAGE},
    "messagesDeleted": {"message": _MESSAGE},
    "labelsAdded": _CHANGED_LABELS,
    "labelsRemoved": _CHANGED_LABELS,
}

ANSWERS: dict[str, dict[str, Any]] = {
    "getProfile": {"emailAddress": None, "messagesTotal": None, "threadsTotal": None, "historyId": None},
    "history.list": {"history": _HISTORY, "nextPageToken": None, "historyId": None},
    "labels.list": {"labels": _LABEL},
    "labels.get": _LABEL,
    "labels.create": _LABEL,
    "labels.update": _LABEL,
    "labels.patch": _LABEL,
    "messages.list": {"messages": _MESSAGE, **_PAGE},
    "messages.get": _MESSAGE,
    "messages.modify": _MESSAGE,
    "messages.trash": _MESSAGE,
    "messages.untrash": _MESSAGE,
    "messages.insert": _MESSAGE,
    "messages.import": _MESSAGE,
    "messages.send": _MESSAGE,
    "messages.attachments.get": {"attachmentId": None, "size": None, "data": None},
    "threads.list": {"threads": _THREAD, **_PAGE},
    "threads.get": _THREAD,
    "threads.modify": _THREAD,
    "threads.trash": _THREAD,
    "threads.untrash": _THREAD,
    "drafts.list": {"drafts": _DRAFT, **_PAGE},
    "drafts.get": _DRAFT,
    "drafts.create": _DRAFT,
    "drafts.update": _DRAFT,
    "drafts.send": _MESSAGE,
    "watch": {"historyId": None, "expiration": None},
}
