"""The raw archive: packs appear whole or not at all, and give back what was put in."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mail_ingest.errors import ConfigError
from mail_ingest.gmail import RawMessage
from mail_ingest.sources.content import content_sha256
from mail_ingest.warehouse.archive import GROUP_MESSAGES, RawArchive

ACCOUNT = "ada@example.com"


def _message(number: int, raw: bytes = b"Subject: x\r\n\r\nbody\r\n") -> RawMessage:
    return RawMessage(
        f"{number:016x}", f"{number:016x}", frozenset({"INBOX"}), 7, 1_700_000_000_000, len(raw), "a & b", raw
    )


@settings(max_examples=20)
@given(st.lists(st.binary(max_size=2_000), min_size=1, max_size=20))
def test_bytes_come_back_as_they_went_in(tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes]) -> None:
    archive = RawArchive(str(tmp_path_factory.mktemp("raw")))
    pack = archive.new_pack(ACCOUNT)
    messages = [_message(number, raw) for number, raw in enumerate(bodies)]
    for message in messages:
        pack.add(message, content_sha256(message.raw))
    pack.close()

    assert archive.packs(ACCOUNT) == [pack.path]
    read = list(archive.read_pack(pack.path))
    assert [archived.message for archived in read] == messages
    assert [archived.sha256 for archived in read] == [content_sha256(raw) for raw in bodies]


def test_one_message_is_found_in_any_row_group(tmp_path: Path) -> None:
    archive = RawArchive(str(tmp_path))
    pack = archive.new_pack(ACCOUNT)
    for number in range(GROUP_MESSAGES * 2 + 3):
        pack.add(_message(number, f"body {number}".encode()), "0")
    pack.close()

    last = f"{GROUP_MESSAGES * 2 + 2:016x}"
    found = archive.read_message(pack.path, last)
    assert found is not None
    assert found.message.raw == f"body {GROUP_MESSAGES * 2 + 2}".encode()
    assert archive.read_message(pack.path, "f" * 16) is None


def test_an_unfinished_pack_is_invisible_and_removable(tmp_path: Path) -> None:
    archive = RawArchive(str(tmp_path))
    pack = archive.new_pack(ACCOUNT)
    pack.add(_message(1), "0")
    assert archive.packs(ACCOUNT) == []

    archive.remove_unfinished(ACCOUNT)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_accounts_do_not_see_each_others_packs(tmp_path: Path) -> None:
    archive = RawArchive(str(tmp_path))
    pack = archive.new_pack(ACCOUNT)
    pack.add(_message(1), "0")
    pack.close()

    assert archive.packs("ada@example.co") == []


def test_the_archive_goes_to_any_filesystem() -> None:
    archive = RawArchive("memory://mail-ingest-archive")
    pack = archive.new_pack(ACCOUNT)
    pack.add(_message(1), "0")
    pack.close()

    assert [archived.message for archived in archive.read_pack(archive.packs(ACCOUNT)[0])] == [_message(1)]


def test_an_unknown_protocol_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="MAIL_INGEST_RAW"):
        RawArchive("nosuchprotocol://bucket/path")
