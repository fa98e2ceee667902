"""Other people on the machine read nothing of what lies under home, and can put nothing there."""

from __future__ import annotations

import ast
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from mail_ingest.accounts import authorized_user
from mail_ingest.folders import guard, made_like, make_private
from mail_ingest.gmail import RawMessage
from mail_ingest.ingest import Engine
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest.warehouse.archive import LARGEST_MESSAGE, DamagedPackError, RawArchive
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.truth import sync

pytestmark = pytest.mark.first_use

ROOT = Path(__file__).parent.parent


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def _an_open_hand() -> Iterator[None]:
    """A umask that takes nothing away."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.warehouses("duckdb", "postgres")
def test_everything_under_home_is_its_owners_alone(engine: Engine, box: Mailbox, gmail: Simulator) -> None:
    box.generate(5, seed=3)
    consent = engine.settings.home.parent / "consent.json"
    consent.write_text('{"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"}')
    engine.registry.add("eve@example.com", authorized_user(consent))
    engine.registry.pause("eve@example.com")

    sync(engine)

    home = engine.settings.home
    assert mode(home) == 0o700
    assert {path.name for path in home.iterdir() if path.is_dir()} >= {"dlt", "locks", "raw", "spool"}
    assert {path.name: oct(mode(path)) for path in home.iterdir() if path.is_dir() and mode(path) & 0o077} == {}
    for name in ("control.sqlite", "credentials.key", *(["warehouse.duckdb"] if engine.settings.is_duckdb else [])):
        assert mode(home / name) == 0o600, name


def test_a_warehouse_and_an_archive_elsewhere_are_made_for_their_owner_alone(
    new_engine: object, box: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mail_ingest.accounts import token_env

    monkeypatch.setenv("ADA_TOKEN", box.token)
    box.add()
    engine = new_engine(  # type: ignore[operator]
        MAIL_INGEST_WAREHOUSE=f"duckdb:///{tmp_path / 'far' / 'off' / 'w.duckdb'}",
        MAIL_INGEST_RAW=str(tmp_path / "packs"),
    )
    engine.registry.add(ADDRESS, token_env("ADA_TOKEN"))

    sync(engine)

    assert [mode(tmp_path / name) for name in ("far", "far/off", "packs")] == [0o700] * 3
    assert mode(tmp_path / "far" / "off" / "w.duckdb") == 0o600


def test_a_mode_that_a_person_chose_for_the_warehouse_stays(engine: Engine, box: Mailbox) -> None:
    box.add()
    sync(engine)
    engine.settings.duckdb_path.chmod(0o640)

    box.add()
    sync(engine)

    assert mode(engine.settings.duckdb_path) == 0o640


def test_the_log_of_a_warehouse_has_the_rights_of_the_warehouse_and_the_process_keeps_its_umask(engine: Engine) -> None:
    path = engine.settings.duckdb_path
    log = path.with_name(f"{path.name}.wal")

    with engine.warehouse.open() as connection:
        connection.execute("create table notes as select 'kept until it is merged' as note")
        assert [oct(mode(each)) for each in (path, log)] == ["0o600", "0o600"]
        connection.execute("checkpoint")
        connection.execute("insert into notes values ('a log that was begun anew')")
        assert oct(mode(log)) == "0o600"
    path.chmod(0o640)
    with engine.warehouse.open() as connection:
        connection.execute("insert into notes values ('for readers of a group')")
        assert [oct(mode(each)) for each in (path, log)] == ["0o640", "0o640"]

    assert os.umask(0) == 0


def test_files_are_made_by_the_strictest_who_asks_and_the_umask_comes_back(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.touch()
    shared.chmod(0o640)

    with made_like(shared):
        with made_like(tmp_path / "missing"):
            (tmp_path / "both").touch()
        (tmp_path / "one").touch()
    (tmp_path / "none").touch()

    assert [oct(mode(tmp_path / name)) for name in ("both", "one", "none")] == ["0o600", "0o640", "0o666"]


def test_strangers_lose_the_right_to_write_into_home(engine: Engine) -> None:
    engine.registry.close()
    home = engine.settings.home
    home.chmod(0o777)

    engine.registry.list()

    assert mode(home) == 0o770


def test_a_folder_that_is_shared_on_purpose_is_told_and_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)

    with caplog.at_level(logging.WARNING):
        guard(shared)
        guard(tmp_path / "missing")

    assert mode(shared) == 0o1777
    assert "everybody on this machine may write into" in caplog.text


def test_folders_that_exist_keep_their_mode(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)

    make_private(tmp_path / "open" / "a" / "b")

    assert [mode(tmp_path / "open" / part) for part in ("", "a", "a/b")] == [0o755, 0o700, 0o700]


@pytest.fixture
def archive(tmp_path: Path) -> RawArchive:
    return RawArchive(str(tmp_path / "raw"))


@pytest.mark.parametrize("path", ["../outside.parquet", "ada@example.com/../../outside.parquet", "/etc/passwd", ".."])
def test_a_path_out_of_the_archive_is_neither_read_nor_renamed(archive: RawArchive, tmp_path: Path, path: str) -> None:
    outside = tmp_path / "outside.parquet"
    outside.write_bytes(b"x")

    for use in (lambda: list(archive.read_pack(path)), lambda: archive.read_message(path, "m"),
                lambda: archive.message_ids(path), lambda: archive.set_aside(path)):  # fmt: skip
        with pytest.raises(DamagedPackError, match="no path within the archive"):
            use()

    assert outside.read_bytes() == b"x"


def test_a_frame_that_claims_to_hold_more_than_a_message_is_damage(
    archive: RawArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = RawMessage("m1", "t1", frozenset(), 1, 1, 1, "", b"x")
    # four bytes of magic, a descriptor for a size of eight bytes, and a size of 1 TB
    bomb = b"\x28\xb5\x2f\xfd\xe0" + (10**12).to_bytes(8, "little") + b"\x01\x00\x00"
    assert zstandard.frame_content_size(bomb) == 10**12 > LARGEST_MESSAGE

    class Planted:
        def compress(self, _: bytes) -> bytes:
            return bomb

    monkeypatch.setattr("mail_ingest.warehouse.archive._compressor", Planted)
    pack = archive.new_pack(ADDRESS)
    pack.add(message, "0" * 64)
    pack.close()

    with pytest.raises(DamagedPackError):
        archive.read_message(pack.path, "m1")


def test_nothing_that_is_read_can_name_code_to_run() -> None:
    forbidden = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml", "code"}
    found = []
    for path in (ROOT / "mail_ingest").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if {name.partition(".")[0] for name in names} & forbidden or called in ("eval", "exec", "compile"):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")

    assert found == []
