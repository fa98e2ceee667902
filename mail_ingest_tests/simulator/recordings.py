"""Recorded answers of the real API, and messages put together again from them."""

import base64
import gzip
import json
import quopri
from collections.abc import Iterator
from dataclasses import dataclass
from email.header import Header
from typing import Any

from mail_ingest_tests.simulator.shared_data import shared_data


@dataclass(frozen=True)
class Recording:
    path: str
    params: dict[str, str]
    response: dict[str, Any]

    @property
    def method(self) -> str:
        """The method's name as used here."""
        segments = self.path.removeprefix("/gmail/v1/users/me/").split("/")
        if segments == ["profile"]:
            return "getProfile"
        if segments[-2:-1] == ["attachments"]:
            return "messages.attachments.get"
        return f"{segments[0]}.{'get' if len(segments) == 2 else 'list'}"

    @property
    def form(self) -> str:
        """The format of a message, `full` when the request named none."""
        return self.params.get("format", "full").split(" ")[0]


def recordings() -> list[Recording]:
    with gzip.open(shared_data("gmail", "api", "recordings.jsonl.gz"), "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [Recording(row["request"]["path"], row["request"]["params"], row["response"]) for row in rows]


def recorded_messages() -> Iterator[tuple[str, dict[str, Any]]]:
    """(format, message) of every recorded message, also those inside threads and drafts."""
    for recording in recordings():
        if recording.method == "messages.get":
            yield recording.form, recording.response
        elif recording.method == "threads.get":
            for message in recording.response["messages"]:
                yield recording.form, message
        elif recording.method == "drafts.get":
            yield recording.form, recording.response["message"]


def rebuilt(payload: dict[str, Any]) -> bytes:
    """A message whose `full` payload is this one. Attachments, which were not recorded, become bytes of the same size."""
    head = b"".join(_header(header["name"], header["value"]) for header in payload["headers"])
    boundary = _parameter(payload, "boundary")
    if "parts" not in payload:
        return head + b"\r\n" + _leaf(payload)
    delimiter = b"\r\n--" + boundary.encode()
    return head + b"".join(delimiter + b"\r\n" + rebuilt(part) for part in payload["parts"]) + delimiter + b"--\r\n"


def _header(name: str, value: str) -> bytes:
    text = value if value.isascii() else Header(value, "utf-8", maxlinelen=10_000).encode()
    return f"{name}: {text}\r\n".encode()


def _parameter(payload: dict[str, Any], name: str) -> str:
    from email.message import Message

    message: Message[str, str] = Message()
    for header in payload["headers"]:
        if header["name"].lower() == "content-type":
            message["Content-Type"] = header["value"]
    return str(message.get_param(name, ""))


def _leaf(payload: dict[str, Any]) -> bytes:
    body = payload["body"]
    headers = {header["name"].lower(): header["value"].lower() for header in payload["headers"]}
    data = base64.urlsafe_b64decode(body["data"]) if "data" in body else bytes(body["size"])
    if "data" in body:
        data = data.decode().encode(_parameter(payload, "charset") or "utf-8")
    encoding = headers.get("content-transfer-encoding", "7bit")
    if encoding == "base64":
        return base64.encodebytes(data).replace(b"\n", b"\r\n")
    if encoding == "quoted-printable":
        lines = data.split(b"\r\n")
        return b"\r\n".join(quopri.encodestring(line).replace(b"\n", b"\r\n") for line in lines)
    return data


def shape(value: Any, path: str = "") -> set[str]:
    """Every path of an answer with the type found there: `messages[].id:str`."""
    if isinstance(value, dict):
        return {f"{path}:object"} | set().union(*(shape(below, f"{path}.{key}") for key, below in value.items()), set())
    if isinstance(value, list):
        return set().union(*(shape(item, f"{path}[]") for item in value), set())
    return {f"{path}:{type(value).__name__}"}
