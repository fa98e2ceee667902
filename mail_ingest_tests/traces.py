"""Looks for texts in everything that is stored, by other means than the product's own search."""

from __future__ import annotations

import email
import re
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq
import zstandard

from mail_ingest.ingest import Engine
from mail_ingest_tests.postgres import execute


def places_of(engine: Engine, texts: Iterable[str]) -> list[str]:
    """Tables, files and archived messages in which any of these texts stands, in any case."""
    wanted = [text.lower() for text in texts]
    pattern = re.compile("|".join(re.escape(text) for text in wanted).encode())
    found = []
    with engine.warehouse.open() as connection:
        tables = connection.execute(
            "select table_schema, table_name from information_schema.tables "
            "where table_schema not in ('information_schema', 'pg_catalog')"
        ).fetchall()
        for schema, name in tables:
            rows = connection.execute(f'select lower(cast(r as varchar)) from "{schema}"."{name}" as r').fetchall()
            if any(text in row[0] for row in rows for text in wanted):
                found.append(f"{schema}.{name}")
    if engine.warehouse.dialect == "postgres":
        found += _relation_files(engine.settings.warehouse, pattern)
    for path in engine.settings.home.rglob("*"):
        if path.is_file() and pattern.search(path.read_bytes().lower()):
            found.append(str(path.relative_to(engine.settings.home)))
        if path.suffix == ".parquet" and path.is_relative_to(engine.settings.raw):
            found += _archived(path, pattern)
    return sorted(found)


def _archived(path: Path, pattern: re.Pattern[bytes]) -> list[str]:
    found = []
    for row in pq.read_table(path).to_pylist():
        raw = zstandard.decompress(row.pop("raw_zstd"))
        parts = [part.get_payload(decode=True) or b"" for part in email.message_from_bytes(raw).walk()]
        if pattern.search(b"\n".join([raw, *parts, str(row).encode()]).lower()):
            found.append(f"archived {row['message_id']}")
    return found


def _relation_files(url: str, pattern: re.Pattern[bytes]) -> list[str]:
    """Files of the database, where the server is on this machine; what its buffers hold is written to them first."""
    execute(url, "checkpoint")
    [(folder,)] = execute(url, "show data_directory")
    rows = execute(
        url, "select relname, pg_relation_filepath(oid) from pg_class where pg_relation_filepath(oid) is not null"
    )
    assert Path(folder).is_dir(), "the server is elsewhere"
    return [
        f"file of {name}"
        for name, relative in rows
        for path in Path(folder, relative).parent.glob(f"{Path(relative).name}*")
        if pattern.search(path.read_bytes().lower())
    ]
