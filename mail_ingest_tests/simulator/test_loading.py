"""Mailboxes filled from files."""

import io
import tarfile
from pathlib import Path

import pytest

from mail_ingest.simulator import Mailbox
from mail_ingest.simulator.made.takeout import label_names
from mail_ingest_tests.simulator.client import Client
from mail_ingest_tests.simulator.shared_data import shared_data

FIRST = b"Message-ID: <1@x>\nDate: Tue, 05 Mar 2019 10:00:00 +0100\nSubject: first\n\nHello\n"
REPLY = (
    b"Message-ID: <2@x>\nIn-Reply-To: <1@x>\nReferences: <1@x>\nDate: Wed, 06 Mar 2019 10:00:00 +0100\n"
    b"Received: by mx; Wed, 06 Mar 2019 11:30:00 +0100\nSubject: Re: first\n\nHi\n\nFrom here on: a line\n"
)
OTHER = b"Date: never\nSubject: other\n\nBye\n"


def write_folder(place: Path) -> Path:
    folder = place / "mail"
    (folder / "deep").mkdir(parents=True)
    (folder / "b.eml").write_bytes(b"From someone@example.org Tue Mar  5 10:00:00 2019\n" + FIRST)
    (folder / "deep" / "a.eml").write_bytes(REPLY)
    (folder / "c.eml").write_bytes(OTHER)
    return folder


def write_tar(place: Path) -> Path:
    path = place / "mail.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, raw in (("x/1", REPLY), ("x/2", FIRST), ("x/3", OTHER)):
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return path


def write_mbox(place: Path) -> Path:
    path = place / "mail.mbox"
    quoted = REPLY.replace(b"\nFrom here", b"\n>From here")
    path.write_bytes(b"".join(b"From a@b Tue Mar 05 10:00:00 2019\n" + raw + b"\n" for raw in (FIRST, quoted, OTHER)))
    return path


@pytest.mark.parametrize("write", [write_folder, write_tar, write_mbox])
def test_folders_archives_and_mboxes_give_the_same_mailbox(
    box: Mailbox, client: Client, tmp_path: Path, write: object
) -> None:
    ids = box.load(write(tmp_path), labels=("INBOX", "STARRED"))  # type: ignore[operator]

    truth = box.messages()
    assert len(ids) == len(truth) == 3
    by_body = {box.raw(message_id): truth[message_id] for message_id in ids}
    assert set(by_body) == {raw.replace(b"\n", b"\r\n") for raw in (FIRST, REPLY, OTHER)}
    first, reply, other = (by_body[raw.replace(b"\n", b"\r\n")] for raw in (FIRST, REPLY, OTHER))
    assert first.internal_date_ms == 1_551_776_400_000
    assert reply.internal_date_ms == 1_551_868_200_000, "the Received line is nearer the truth than Date"
    assert first.thread_id == first.message_id == reply.thread_id
    assert other.thread_id == other.message_id
    assert other.internal_date_ms > 1_700_000_000_000, "mail without a date arrives now"
    assert first.label_ids == {"INBOX", "STARRED"}
    assert [item["id"] for item in client.get("messages").json["messages"]] == [
        other.message_id,
        reply.message_id,
        first.message_id,
    ]


def test_loading_can_stop_early_and_may_be_repeated(box: Mailbox, tmp_path: Path) -> None:
    path = write_mbox(tmp_path)

    assert len(box.load(path, limit=2)) == 2
    assert len(box.load(path)) == 3
    assert len(box.messages()) == 5


TAKEOUT = (
    b"From 1628424719502045299@xxx Tue Mar 19 09:13:51 +0000 2019\r\n"
    b"X-GM-THRID: 1628415971694286313\r\n"
    b"X-Gmail-Labels: Inbox,Unread,takeout\r\n"
    b"Subject: two\r\n\r\nSee\r\n>From me\r\nFrom you 2019\r\n\r\n"
    b"From 1628415971694286313@xxx Tue Mar 19 06:54:48 +0000 2019\r\n"
    b"X-GM-THRID: 1628415971694286313\r\n"
    b'X-Gmail-Labels: =?UTF-8?Q?1.Organiza=C4=8Dn=C3=AD,"3._Culture,_Hle?=\r\n =?UTF-8?Q?d=C3=A1n=C3=AD",Archived?=\r\n'
    b"Subject: one\r\n\r\nBody\r\n\r\n"
)


def test_a_takeout_export_brings_ids_threads_and_labels(box: Mailbox, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "All mail.mbox"
    path.write_bytes(TAKEOUT)

    ids = box.load(path)

    names = {label.id: label.name for label in box.labels().values()}
    assert ids == ["16994bb2d36915e9", "169953a795627073"]
    two = box.message(ids[1])
    assert two.thread_id == "16994bb2d36915e9"
    assert {names[label_id] for label_id in two.label_ids} == {"INBOX", "UNREAD", "takeout"}
    assert two.internal_date_ms // 1000 == 1_552_986_831
    assert {names[label_id] for label_id in box.message(ids[0]).label_ids} == {"1.Organizační", "3. Culture, Hledání"}
    assert box.raw(ids[1]) == b"Subject: two\r\n\r\nSee\r\nFrom me\r\nFrom you 2019\r\n"
    assert [m["id"] for m in client.get(f"threads/{two.thread_id}").json["messages"]] == ids


def test_a_thread_whose_first_message_comes_later_is_one_thread(box: Mailbox, tmp_path: Path) -> None:
    path = tmp_path / "export.mbox"
    newest, oldest = TAKEOUT.split(b"From 1628415971694286313@xxx")
    path.write_bytes(newest)
    box.load(path)
    path.write_bytes(b"From 1628415971694286313@xxx" + oldest)
    box.load(path)

    assert {record.thread_id for record in box.messages().values()} == {"16994bb2d36915e9"}
    assert box.state.table.live_threads == 1


def test_label_fields_are_decoded_before_they_are_split() -> None:
    assert label_names("Inbox,Important,takeout") == ("Inbox", "Important", "takeout")
    assert label_names("=?UTF-8?Q?Archived,=E2=98=AF,\\'single-quote,takeout?=") == (
        "Archived", "☯", "'single-quote", "takeout",
    )  # fmt: skip
    assert label_names('"a, b",c') == ("a, b", "c")
    assert label_names("") == ()


def test_a_real_takeout_export_is_read_whole(box: Mailbox, tmp_path: Path) -> None:
    with tarfile.open(shared_data("gmail", "takeout-and-exports", "gyb-samples.tar.gz")) as archive:
        archive.extractall(tmp_path, filter="data")
    (path,) = tmp_path.rglob("takeout.mbox")

    ids = box.load(path)

    truth = box.messages()
    assert len(ids) == 39
    assert len({record.thread_id for record in truth.values()}) == 12
    assert {record.thread_id for record in truth.values()} <= set(ids)
    assert sum("UNREAD" in record.label_ids for record in truth.values()) > 20
    assert b"X-GM-THRID" not in b"".join(map(box.raw, ids))


@pytest.mark.parametrize(("corpus", "count"), [("sa-easy-ham-2", 1_400), ("sa-spam-2-third", 464)])
def test_real_mail_is_served_in_every_format(box: Mailbox, client: Client, corpus: str, count: int) -> None:
    ids = box.load(shared_data("real-mail", f"{corpus}.tar.gz"))

    assert len(ids) == count
    for message_id in ids[::3]:
        for form in ("metadata", "full"):
            assert client.get(f"messages/{message_id}", format=form).status == 200
    found = client.get("messages", q="linux OR free", maxResults=500, includeSpamTrash="true").json["messages"]
    assert 10 < len(found) < count
