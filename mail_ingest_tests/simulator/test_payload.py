"""`format=full`, attachments and everything else about content."""

import base64
from typing import Any

from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.simulator.client import Client


def decoded(part: dict[str, Any]) -> bytes:
    return base64.urlsafe_b64decode(part["body"]["data"])


def test_text_is_utf8_while_the_header_keeps_its_charset(box: Mailbox, client: Client) -> None:
    message_id = box.add(
        raw="Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße".encode(
            "latin-1"
        )
    )

    payload = client.get(f"messages/{message_id}").json["payload"]

    assert decoded(payload).decode() == "Grüße"
    assert payload["body"]["size"] == len("Grüße".encode())
    assert payload["headers"][0]["value"] == "text/plain; charset=iso-8859-1"


def test_parts_are_numbered_and_files_come_by_attachment_id(box: Mailbox, client: Client) -> None:
    data = bytes(range(256)) * 10
    message_id = box.add(
        body="plain",
        html="<p>rich</p>",
        attachments=[("a b.bin", "application/octet-stream", data), ("é.txt", "text/plain", b"t")],
    )

    root = client.get(f"messages/{message_id}").json["payload"]

    def tree(part: dict[str, Any]) -> list[Any]:
        return [part["partId"], part["mimeType"], part["filename"], [tree(child) for child in part.get("parts", [])]]

    assert tree(root) == [
        "", "multipart/mixed", "", [
            ["0", "multipart/alternative", "", [["0.0", "text/plain", "", []], ["0.1", "text/html", "", []]]],
            ["1", "application/octet-stream", "a b.bin", []],
            ["2", "text/plain", "é.txt", []],
        ],
    ]  # fmt: skip
    assert root["body"] == {"size": 0}
    file = root["parts"][1]["body"]
    assert (file["size"], "data" in file) == (len(data), False)
    got = client.get(f"messages/{message_id}/attachments/{file['attachmentId']}").json
    assert base64.urlsafe_b64decode(got["data"]) == data


def test_attachment_ids_differ_from_read_to_read_and_all_work(box: Mailbox, client: Client) -> None:
    message_id = box.add(attachments=[("a.txt", "text/plain", b"same")])
    other = box.add()

    ids = [client.get(f"messages/{message_id}").json["payload"]["parts"][1]["body"]["attachmentId"] for _ in range(2)]

    assert ids[0] != ids[1]
    for attachment_id in ids:
        assert client.get(f"messages/{message_id}/attachments/{attachment_id}").json["size"] == 4
    foreign = client.get(f"messages/{other}/attachments/{ids[0]}")
    assert (foreign.status, foreign.message) == (400, "Invalid attachment token")


def test_large_text_comes_by_attachment_id_too(gmail: Simulator, box: Mailbox, client: Client) -> None:
    text = "ä line of text\r\n" * 2_000
    message_id = box.add(raw=b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + text.encode())

    body = client.get(f"messages/{message_id}").json["payload"]["body"]
    data = client.get(f"messages/{message_id}/attachments/{body['attachmentId']}").json["data"]
    gmail.large_text_bytes = 10**6

    assert "data" not in body
    assert base64.urlsafe_b64decode(data).decode() == text
    assert decoded(client.get(f"messages/{message_id}").json["payload"]).decode() == text


def test_padding_can_be_left_out(gmail: Simulator, box: Mailbox, client: Client) -> None:
    message_id = box.add(raw=b"Subject: x\r\n\r\nfour")
    padded = client.get(f"messages/{message_id}", format="raw").json["raw"]
    gmail.base64_padding = False
    bare = client.get(f"messages/{message_id}", format="raw").json["raw"]

    assert padded.rstrip("=") == bare
    assert len(padded) % 4 == 0


def test_headers_are_unfolded_decoded_repeated_and_in_order(box: Mailbox, client: Client) -> None:
    message_id = box.add(
        raw=b"Received: one\r\nreceived: two;\r\n\tthree\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= =?utf-8?q?_an?=\r\n alle\r\n"
        b"X-Raw: caf\xe9\r\n\r\nbody"
    )

    headers = client.get(f"messages/{message_id}", format="metadata").json["payload"]["headers"]

    assert [(header["name"], header["value"]) for header in headers] == [
        ("Received", "one"),
        ("received", "two; three"),
        ("Subject", "Grüße an alle"),
        ("X-Raw", "caf\ufffd"),
    ]


def test_an_attached_message_is_expanded(box: Mailbox, client: Client) -> None:
    inner = b"Subject: inner\r\nContent-Type: text/plain\r\n\r\nwithin"
    message_id = box.add(
        raw=b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n'
        b'Content-Disposition: attachment; filename="fwd.eml"\r\n\r\n' + inner + b"\r\n--b--\r\n"
    )

    part = client.get(f"messages/{message_id}").json["payload"]["parts"][0]

    assert (part["mimeType"], part["filename"]) == ("message/rfc822", "fwd.eml")
    assert part["parts"][0]["partId"] == "0.0"
    assert decoded(part["parts"][0]) == b"within"
    data = client.get(f"messages/{message_id}/attachments/{part['body']['attachmentId']}").json["data"]
    assert b"Subject: inner" in base64.urlsafe_b64decode(data)


def test_broken_mail_is_served_all_the_same(box: Mailbox, client: Client) -> None:
    broken = [
        b"",
        b"no headers at all",
        b"Content-Type: multipart/mixed\r\n\r\nno boundary",
        b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n--x\r\n\r\nnever closed',
        b"Content-Type: text/plain; charset=default_charset\r\n\r\n\xff\xfe\x00",
        b"Content-Transfer-Encoding: base64\r\n\r\n!!!not base64!!!",
        b"Subject: =?utf-8?b?broken\r\nFrom: \xff\xff\r\n\r\n\x00\x01",
        b"Content-Type: text/html; charset=utf-7\r\n\r\n+ADw-",
        b"Content-Disposition: attachment; filename*=utf-8''%FF%FE\r\nContent-Type: x\r\n\r\ny",
        b"Content-Type: message/rfc822\r\n\r\n",
    ]
    for raw in broken:
        message_id = box.add(raw=raw)
        for form in ("minimal", "metadata", "full", "raw"):
            answer = client.get(f"messages/{message_id}", format=form)
            assert answer.status == 200, (raw, answer.data)
        assert base64.urlsafe_b64decode(answer.json["raw"]) == raw
        assert client.get("messages", q="anything").status == 200
