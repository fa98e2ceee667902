"""Looks for the strings that had to go in every place that this process can read, and says which it cannot."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import make_url

from mail_ingest.ingest.erasing.evidence import Evidence, Search
from mail_ingest.ingest.erasing.people import texts_to_read
from mail_ingest.warehouse.archive import DamagedPackError

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine

logger = logging.getLogger(__name__)

#: Values that are collected before they are searched; rows are never cut.
_AT_ONCE = 1024 * 1024


@dataclass(slots=True)
class Proof:
    """What was searched, and what was found: counts by place. `places` name tables and kinds of files, `paths` files."""

    strings: int = 0
    bytes: int = 0
    places: dict[str, int] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)
    not_reached: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not self.places


def prove(engine: Engine, evidence: Evidence, account_ids: Collection[str]) -> Proof:
    """Searches warehouse and control database, the packs of these accounts, and every file under home. Other accounts' packs
    are theirs, and left out. Memory: some MB, and the longest message."""
    search, proof = Search(evidence), Proof(strings=len(evidence.strings()))
    if engine.warehouse.exists:
        for table in engine.warehouse.all_tables():
            with _collected(search, table.replace('"', "")) as write, engine.warehouse.open():
                engine.warehouse.search(engine.warehouse.text_of(table), write)
    with _collected(search, "control database") as write:
        engine.registry.erasures.rows(write)
    # nobody should wait for it while packs and files are read
    engine.warehouse.let_go()
    for account_id in account_ids:
        _search_packs(engine, search, account_id, proof)
    unreadable = 0
    for kind, path in _files(engine, account_ids):
        before = search.found[kind]
        try:
            search.file(kind, path)
        except FileNotFoundError:
            pass  # another process has just ended
        except OSError:
            unreadable += 1
        if search.found[kind] > before:
            proof.paths.append(str(path))
    if unreadable:
        proof.not_reached.append(f"{unreadable} files that cannot be read: delete them if nothing may stay")
    if engine.warehouse.exists and not engine.warehouse.files():
        proof.not_reached.append("files of the database server: its tables were searched by SQL")
    proof.bytes = search.bytes
    proof.places = {place: count for place, count in sorted(search.found.items()) if count}
    return proof


@contextmanager
def _collected(search: Search, place: str) -> Iterator[Callable[[bytes], None]]:
    """Collects rows to search them a megabyte at a time."""
    waiting: list[bytes] = []
    size = 0

    def flush() -> None:
        nonlocal size
        search.values(place, b"\n".join(waiting))
        waiting.clear()
        size = 0

    def write(data: bytes) -> None:
        nonlocal size
        waiting.append(bytes(data))
        size += len(data)
        if size >= _AT_ONCE:
            flush()

    yield write
    flush()


def _search_packs(engine: Engine, search: Search, account_id: str, proof: Proof) -> None:
    unreadable, unparsed = len(engine.archive.damaged(account_id)), 0
    for path in engine.archive.packs(account_id):
        try:
            for archived in engine.archive.read_pack(path):
                try:
                    search.texts("raw archive", texts_to_read(archived.message.raw))
                except Exception as error:  # noqa: BLE001  whatever the parser raises, the others are searched
                    logger.error("a message of pack %s cannot be parsed (%s)", path, type(error).__name__)
                    unparsed += 1
                search.texts("raw archive", [archived.message.snippet, archived.message.message_id, archived.sha256])
        except (DamagedPackError, OSError):
            unreadable += 1
    if unreadable:
        proof.not_reached.append(
            f"{unreadable} packs of the raw archive that cannot be read: delete them if nothing may stay"
        )
    if unparsed:
        proof.not_reached.append(
            f"{unparsed} messages of the raw archive that cannot be parsed: they were searched without decoding them"
        )


def _files(engine: Engine, account_ids: Collection[str]) -> Iterator[tuple[str, Path]]:
    """Files to search as bytes, with what they are."""
    home = engine.settings.home.resolve()
    raw = engine.archive.local_folder
    archive = Path(raw).resolve() if raw is not None else None
    control = _control_files(engine.settings.control)
    warehouse = set(engine.warehouse.files()) if engine.warehouse.exists else set()
    yield from (("file of the warehouse", path) for path in sorted(warehouse))
    yield from (("file of the control database", path) for path in control)
    if archive is not None:
        for account_id in account_ids:
            folder = archive / engine.archive.folder_of(account_id)
            yield from (("file of the raw archive", path) for path in sorted(folder.rglob("*")) if path.is_file())
    for path in home.rglob("*"):
        is_archive = archive is not None and path.is_relative_to(archive)
        if not is_archive and path.is_file() and path not in warehouse and path not in control:
            top = path.relative_to(home).parts[0]
            yield (f"file under home: {top}" if top in ("dlt", "spool") else "file under home"), path


def _control_files(url: str) -> list[Path]:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return []
    path = Path(parsed.database).resolve()
    return [
        found for found in (path, *(path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm"))) if found.exists()
    ]
