"""A newer parser: rows are made again from archived bytes, without a request, and what it yields no more goes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mail_ingest import mime
from mail_ingest.accounts import PrivacySettings
from mail_ingest.ingest import Engine, SyncOptions, reparse
from mail_ingest.ingest.reparse import Reparsed, reparse_accounts
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.truth import assert_true_to_gmail, damage, exchange, sync

pytestmark = pytest.mark.warehouses("duckdb", long=["postgres"])
on_both = pytest.mark.warehouses("duckdb", "postgres")

_KEPT = (
    "select message_id, thread_id, internal_date, fetched_at, source, raw_pack, sha256 from gmail.messages order by 1"
)


def _rows(engine: Engine, query: str) -> list[tuple[object, ...]]:
    with engine.warehouse.open() as connection:
        return connection.execute(query).fetchall()


def _reparse(engine: Engine) -> Reparsed:
    [done] = reparse_accounts(engine, engine.accounts(), lambda _: None)
    assert not done.error, done.error
    return done


def _newer_parser(monkeypatch: pytest.MonkeyPatch, change: Callable[[mime.ParsedMessage], mime.ParsedMessage]) -> None:
    parse = mime.parse
    monkeypatch.setattr(mime, "PARSER_VERSION", mime.PARSER_VERSION + 1)
    monkeypatch.setattr(mime, "parse", lambda raw: change(parse(raw)))


def _fewer_parts(parsed: mime.ParsedMessage) -> mime.ParsedMessage:
    return replace(
        parsed, subject="read anew", to=parsed.to[:1], cc=(), attachments=parsed.attachments[:-1], body_html=None
    )


def _fill(box: Mailbox, count: int = 8) -> None:
    for number in range(count):
        box.add(
            subject=f"s{number}",
            sender="a@b.example",
            to="x@b.example, y@b.example, z@b.example",
            cc="c@b.example",
            body="x",
            html="<p>x</p>",
            attachments=[(f"{name}.pdf", "application/pdf", b"%PDF" + name.encode()) for name in "fg"],
        )


@on_both
def test_rows_are_made_again_without_gmail_and_keep_where_they_came_from(
    engine: Engine, box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(box)
    sync(engine)
    kept = _rows(engine, _KEPT)
    gmail.reset_ledger()
    _newer_parser(monkeypatch, _fewer_parts)

    done = _reparse(engine)

    assert (done.parsed, done.unparsed, done.unreadable, done.without_bytes) == (8, 0, 0, 0)
    assert gmail.calls() == 0
    assert _rows(engine, _KEPT) == kept
    assert _rows(engine, "select distinct subject, parser_version, attachment_count from gmail.messages") == [
        ("read anew", mime.PARSER_VERSION, 1)
    ]
    assert _reparse(engine).parsed == 0
    assert_true_to_gmail(engine, box)


def test_parts_that_the_parser_yields_no_more_are_gone_and_other_messages_keep_theirs(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    html = new_engine(MAIL_INGEST_HTML="warehouse")
    _fill(box, 3)
    sync(html)
    [(spared,)] = _rows(html, "select max(message_id) from gmail.messages")
    _newer_parser(monkeypatch, _fewer_parts)
    with html.warehouse.open() as connection:
        connection.execute(f"update gmail.messages set parser_version = 2 where message_id = '{spared}'")

    _reparse(html)

    counts = (
        "select kind, count(*) from gmail.message_recipients where message_id {} '"
        + str(spared)
        + "' group by 1 order by 1"
    )
    assert _rows(html, counts.format("<>")) == [("from", 2), ("to", 2)]
    assert _rows(html, counts.format("=")) == [("cc", 1), ("from", 1), ("to", 3)]
    assert _rows(html, f"select message_id = '{spared}', count(*) from gmail.attachments group by 1 order by 1") == [
        (False, 2),
        (True, 2),
    ]
    assert _rows(html, "select message_id from gmail.message_html") == [(spared,)]


def test_parts_go_also_where_no_message_has_any_left(
    engine: Engine, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(box, 2)
    sync(engine)
    _newer_parser(monkeypatch, lambda parsed: replace(parsed, from_=(), to=(), cc=(), attachments=(), body_html=None))

    _reparse(engine)

    assert _rows(engine, "select count(*) from gmail.message_recipients") == [(0,)]
    assert _rows(engine, "select count(*) from gmail.attachments") == [(0,)]


@pytest.mark.parametrize("command", ["reparse", "retry"])
def test_mail_that_a_newer_parser_shows_to_be_sign_in_mail_is_taken_away(
    command: str, engine: Engine, box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.registry.change(ADDRESS, privacy=PrivacySettings(sign_in_mail=False))
    box.add(subject="Your verification code", sender="a@planted-service.example", to=ADDRESS, body="It is 90417263.")
    kept = box.add(subject="Lunch?", sender="a@b.example", to=ADDRESS, body="at noon")
    with monkeypatch.context() as older:
        older.setattr(mime, "parse", _unreadable)
        sync(engine)
    assert _rows(engine, "select count(*) from gmail.messages where parser_version = 0") == [(2,)]
    gmail.reset_ledger()

    if command == "reparse":
        done = _reparse(engine)
        assert (done.parsed, done.left_out) == (1, 1)
    else:
        run = sync(engine, retry=True)
        assert (run.contents_adopted, run.contents_left_out, run.dead_letters) == (1, 1, 0)

    assert _rows(engine, "select message_id from gmail.messages") == [(kept,)]
    assert _rows(engine, "select reason from gmail.left_out_messages") == [("sign-in code",)]
    [pack] = engine.archive.packs(ADDRESS)
    assert list(engine.archive.message_ids(pack)) == [kept], "its bytes are gone as well"
    assert engine.registry.erasures.unfinished() == []
    assert (sync(engine).backlog, gmail.calls("messages.get")) == (0, 0)


def _unreadable(raw: bytes) -> mime.ParsedMessage:
    raise ValueError("an older parser")


def test_packages_are_bounded_and_a_sync_of_new_mail_has_its_turn(
    engine: Engine, box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(box, 7)
    sync(engine)
    _newer_parser(monkeypatch, _fewer_parts)
    monkeypatch.setattr(reparse, "PACKAGE_MESSAGES", 3)
    packages, parsed_before = 0, []
    load = engine.pipelines.load

    def count(*arguments: object, **options: object) -> None:
        nonlocal packages
        packages += 1
        parsed_before.append(_rows(engine, f"select count(*) from gmail.messages where parser_version < {_version()}"))
        load(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(engine.pipelines, "load", count)

    assert _reparse(engine).parsed == 7
    assert packages == 3
    assert parsed_before == [[(7,)], [(4,)], [(1,)]]


def test_a_package_may_end_within_a_pack(engine: Engine, box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    box.generate(1_200, seed=5, mean_size_bytes=1_000)
    sync(engine)
    _newer_parser(monkeypatch, lambda parsed: replace(parsed, subject="read anew"))
    monkeypatch.setattr(reparse, "PACKAGE_BYTES", 100_000)

    assert _reparse(engine).parsed == 1_200
    assert _rows(engine, "select count(*), count(distinct message_id), min(parser_version) from gmail.messages") == [
        (1_200, 1_200, _version())
    ]
    assert_true_to_gmail(engine, box)


def _version() -> int:
    return mime.PARSER_VERSION


def test_content_that_somebody_else_holds_is_not_reparsed(engine: Engine, box: Mailbox, new_engine) -> None:  # type: ignore[no-untyped-def]
    _fill(box, 1)
    sync(engine)

    with engine.locks.hold(f"content:{ADDRESS}"):
        [done] = reparse_accounts(new_engine(wait_s=0.2), engine.accounts(), lambda _: None)

    assert done.is_busy


_KILLED = """
import os, signal, sys
from dataclasses import replace
from mail_ingest import mime
from mail_ingest.ingest import reparse
from mail_ingest.warehouse import pipeline
parse = mime.parse
mime.PARSER_VERSION += 1
mime.parse = lambda raw: replace(parse(raw), subject="read anew", to=(), cc=(), attachments=())
reparse.PACKAGE_MESSAGES = 40
{kill}
from mail_ingest.cli import main
sys.argv = ["mail-ingest", "reparse"]
main()
"""
_DIES_PARSING = """
count = 0
inner = mime.parse
def counted(raw):
    global count
    count += 1
    if count == 70:
        os.kill(os.getpid(), signal.SIGKILL)
    return inner(raw)
mime.parse = counted
"""
#: The second package is in the staging tables, and some of its tables may be merged.
_DIES_LOADING = """
from dlt.destinations.sql_client import SqlClientBase
execute, merges = SqlClientBase.execute_many, 0
def counted(self, statements, *rest, **more):
    global merges
    if any("INSERT INTO" in str(each) and "message" in str(each) for each in statements):
        merges += 1
        if merges == {at}:
            os.kill(os.getpid(), signal.SIGKILL)
    return execute(self, statements, *rest, **more)
SqlClientBase.execute_many = counted
"""


@on_both
@pytest.mark.parametrize("kill", [_DIES_PARSING, *(_DIES_LOADING.format(at=at) for at in (4, 5, 6))])
def test_a_killed_reparse_goes_on_and_leaves_nothing_half_done(
    engine: Engine, box: Mailbox, gmail: Simulator, environment: dict[str, str], kill: str
) -> None:
    for _ in range(100):
        box.add(subject="s", sender="a@b.example", to="x@b.example, y@b.example", cc="c@b.example", body="x")
    sync(engine)
    kept = _rows(engine, _KEPT)
    gmail.reset_ledger()
    variables = {**os.environ, **environment}

    killed = subprocess.run([sys.executable, "-c", _KILLED.format(kill=kill)], env=variables, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    [(left,)] = _rows(engine, "select count(*) from gmail.messages where parser_version = 1")
    assert 0 < left < 100
    done = subprocess.run(
        [sys.executable, "-c", _KILLED.format(kill="")], env=variables, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    [again] = re.findall(r": (\d+) messages reparsed", done.stdout)
    assert int(again) <= left, "what was loaded before the kill was parsed again"
    assert gmail.calls() == 0
    assert _rows(engine, _KEPT) == kept
    assert _rows(engine, "select distinct subject, parser_version from gmail.messages") == [("read anew", 2)]
    assert _rows(engine, "select kind, count(*) from gmail.message_recipients group by 1") == [("from", 100)]


def test_what_broke_the_parser_is_read_again_and_what_breaks_a_newer_one_keeps_its_columns(
    engine: Engine, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking = [b"first"]
    parse = mime.parse

    def fragile(raw: bytes) -> mime.ParsedMessage:
        if any(word in raw for word in breaking):
            raise ValueError
        return parse(raw)

    monkeypatch.setattr(mime, "parse", fragile)
    first = box.add(subject="first", sender="a@b.example", body="x")
    second = box.add(subject="second", sender="a@b.example", body="x")
    sync(engine)
    assert engine.queries.count_dead_letters(ADDRESS) == 1
    breaking[:] = [b"second"]
    monkeypatch.setattr(mime, "PARSER_VERSION", 2)

    done = _reparse(engine)

    assert (done.parsed, done.unparsed) == (1, 1)
    assert dict(_rows(engine, "select message_id, subject from gmail.messages")) == {first: "first", second: "second"}  # type: ignore[arg-type]
    assert _rows(engine, "select message_id, error_class from gmail.fetch_failures where resolved_at is null") == [
        (second, "ParseError")
    ]
    breaking.clear()
    assert _reparse(engine).parsed == 1
    assert engine.queries.count_dead_letters(ADDRESS) == 0


def test_a_retry_reads_what_broke_the_parser_again(
    engine: Engine, box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(box, 2)
    with monkeypatch.context() as patch:
        patch.setattr(mime, "parse", lambda raw: 1 / 0)
        sync(engine)

    [run] = engine.sync(engine.accounts(), SyncOptions(retry=True))

    assert (run.error, run.outcome, run.dead_letters, run.contents_adopted) == ("", "success", 0, 2)
    assert gmail.calls("messages.get") == 2


def test_rows_without_archived_bytes_are_counted_and_stay(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = new_engine(MAIL_INGEST_RAW="off")
    _fill(box, 2)
    sync(bare)
    _fill(box, 1)
    sync(engine)
    _newer_parser(monkeypatch, _fewer_parts)

    off = _reparse(bare)
    on = _reparse(engine)

    assert (off.parsed, off.without_bytes) == (0, 3)
    assert (on.parsed, on.without_bytes) == (1, 2)
    assert _rows(engine, "select parser_version, count(*) from gmail.messages group by 1 order by 1") == [
        (1, 2),
        (2, 1),
    ]


@pytest.mark.parametrize("harm", [Path.unlink, damage, exchange, lambda pack: pack.write_bytes(b"PAR1")])
def test_packs_that_are_missing_or_damaged_stop_nothing_else(
    engine: Engine, box: Mailbox, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], object]
) -> None:
    _fill(box, 3)
    sync(engine)
    _fill(box, 2)
    sync(engine)
    first, _ = sorted(Path(engine.settings.raw).rglob("*.parquet"))
    harm(first)
    before = _rows(engine, f"select message_id, subject from gmail.messages where raw_pack like '%{first.name}'")
    _newer_parser(monkeypatch, _fewer_parts)

    done = _reparse(engine)

    assert (done.parsed, done.unreadable) == (2, 3)
    assert _rows(engine, "select message_id, subject from gmail.messages where parser_version = 1") == before
