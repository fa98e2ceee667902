"""The raw archive: every message's bytes, in Parquet packs on any fsspec filesystem.

A pack holds all that is needed to rebuild the warehouse without Gmail. Bytes are compressed one message at a time
(zstd, level 3), so one message can be read without its neighbours. Packs are written under a temporary name and appear
whole or not at all; small ones are merged, and replaced, never changed. Paths are
`<account>/<year-month of writing>/<time>-<random>.parquet`, relative to the archive's root, and sort by time of writing.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from fsspec.implementations.local import LocalFileSystem

from mail_ingest.errors import ConfigError, WarehouseError
from mail_ingest.folders import make_private
from mail_ingest.gmail.models import RawMessage

SCHEMA = pa.schema(
    [
        ("account_id", pa.string()),
        ("message_id", pa.string()),
        ("thread_id", pa.string()),
        ("internal_date_ms", pa.int64()),
        ("label_ids", pa.list_(pa.string())),
        ("history_id", pa.int64()),
        ("size_estimate", pa.int64()),
        ("snippet", pa.string()),
        ("sha256", pa.string()),
        ("raw_zstd", pa.binary()),
    ]
)
#: A row group closes at this many messages or compressed bytes: the bound of a pack's memory, and of a single read.
GROUP_MESSAGES = 250
GROUP_BYTES = 8 * 1024 * 1024
#: Bytes of one message; what Gmail hands out has less than a third of it (see `gmail.transport`).
LARGEST_MESSAGE = 512_000_000

_threads = threading.local()


@dataclass(frozen=True, slots=True)
class ArchivedMessage:
    """A message read back: what Gmail gave, and the hash that was taken then."""

    message: RawMessage
    sha256: str

    @property
    def is_intact(self) -> bool:
        """Whether these are the bytes that were archived: the frames have no checksum, flipped bits give other mail."""
        return hashlib.sha256(self.message.raw).hexdigest() == self.sha256


class DamagedPackError(Exception):
    """A pack cannot be read, or holds other bytes than were put into it. Its text holds nothing of the mail."""

    def __init__(self, path: str, cause: str) -> None:
        super().__init__(f"pack {path} of the raw archive cannot be read ({cause})")


class PackWriter:
    """One pack being written. Nothing is visible in the archive until `close`."""

    def __init__(self, filesystem: Any, root: str, path: str, account_id: str) -> None:
        self.path = path
        self.messages = 0
        self._account_id = account_id
        self._filesystem = filesystem
        self._final = f"{root}/{path}"
        self._temporary = f"{self._final}.part"
        self._rows: list[tuple[object, ...]] = []
        self._row_bytes = 0
        folder = self._final.rsplit("/", 1)[0]
        if isinstance(filesystem, LocalFileSystem):
            make_private(Path(folder))
        else:
            filesystem.makedirs(folder, exist_ok=True)
        self._file = filesystem.open(self._temporary, "wb")
        # statistics would hold every short message twice more
        self._writer = pq.ParquetWriter(
            self._file, SCHEMA, compression="none", use_dictionary=["account_id"], write_statistics=False
        )

    def add(self, message: RawMessage, sha256: str) -> None:
        compressed = _compressor().compress(message.raw)
        self._add(
            (
                self._account_id,
                message.message_id,
                _text(message.thread_id),
                message.internal_date_ms,
                sorted(_text(label_id) for label_id in message.label_ids),
                message.history_id,
                message.size_estimate,
                _text(message.snippet),
                sha256,
                compressed,
            ),
            len(compressed),
        )

    def add_archived(self, row: dict[str, Any]) -> None:
        """Adds a message as it stands in another pack, without looking into its bytes."""
        self._add(tuple(row[field.name] for field in SCHEMA), len(row["raw_zstd"]))

    def _add(self, row: tuple[object, ...], size: int) -> None:
        self._rows.append(row)
        self.messages += 1
        self._row_bytes += size
        if len(self._rows) >= GROUP_MESSAGES or self._row_bytes >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Makes the pack visible. After it the messages need not be bought again, whatever happens."""
        self._flush()
        self._writer.close()
        self._file.close()
        if isinstance(self._filesystem, LocalFileSystem):
            # a power cut must not leave an empty file under the final name
            with open(self._temporary, "rb") as written:  # noqa: PTH123  its place is an fsspec path
                os.fsync(written.fileno())
        self._filesystem.mv(self._temporary, self._final)

    def abandon(self) -> None:
        """Gives the pack up and removes what was written of it, as far as the archive lets it."""
        for step in (self._writer.close, self._file.close, lambda: self._filesystem.rm(self._temporary)):
            with suppress(OSError, ValueError, pa.ArrowException):
                step()

    def _flush(self) -> None:
        if not self._rows:
            return
        columns = zip(*self._rows, strict=True)
        arrays = [pa.array(list(values), type=field.type) for values, field in zip(columns, SCHEMA, strict=True)]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA))
        self._rows = []
        self._row_bytes = 0


class RawArchive:
    """The archive under one fsspec URL, or none at all (`off`)."""

    def __init__(self, url: str) -> None:
        self.enabled = url != "off"
        self._filesystem: Any = None
        self._root = ""
        if self.enabled:
            try:
                self._filesystem, self._root = fsspec.core.url_to_fs(url)
            except (ValueError, ImportError, OSError) as error:
                raise ConfigError(
                    f"MAIL_INGEST_RAW names an archive that cannot be opened ({type(error).__name__}: its protocol may need "
                    "a package such as s3fs or gcsfs). It takes a folder, an fsspec URL or off"
                ) from None

    def new_pack(self, account_id: str) -> PackWriter:
        """Opens a pack for messages of one account. Raises WarehouseError where the archive cannot be written."""
        now = datetime.now(UTC)
        name = f"{now:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}.parquet"
        try:
            return PackWriter(self._filesystem, self._root, f"{_folder(account_id)}/{now:%Y-%m}/{name}", account_id)
        except OSError as error:
            raise WarehouseError(
                f"The raw archive {self._root} cannot be written for {account_id} ({error.strerror or type(error).__name__}). "
                "Check the folder and the disk; what was fetched before is kept."
            ) from None

    def packs(self, account_id: str) -> list[str]:
        """Paths of the account's complete packs, oldest first."""
        if not self.enabled:
            return []
        self._filesystem.invalidate_cache()
        return sorted(path for path in self._files(account_id) if path.endswith(".parquet"))

    def sizes(self, account_id: str) -> dict[str, int]:
        """The account's complete packs, oldest first, each with its bytes."""
        if not self.enabled:
            return {}
        self._filesystem.invalidate_cache()
        found = self._filesystem.find(f"{self._root}/{_folder(account_id)}", detail=True)
        sizes = {str(path)[len(self._root) + 1 :]: int(info["size"] or 0) for path, info in found.items()}
        return {path: sizes[path] for path in sorted(sizes) if path.endswith(".parquet")}

    def size(self, path: str) -> int:
        """The bytes of a pack."""
        return int(self._filesystem.size(self._at(path)))

    def remove_unfinished(self, account_id: str) -> None:
        """Removes packs that a killed process left half-written; the caller holds the account's content lock."""
        if self.enabled:
            for path in self._files(account_id):
                if path.endswith(".part"):
                    self._filesystem.rm(f"{self._root}/{path}")

    def set_aside(self, path: str) -> None:
        """Renames a pack that cannot be read, so that it is kept for a person and no longer tried."""
        self._filesystem.mv(self._at(path), f"{self._at(path)}.damaged")

    def erase(self, account_id: str) -> int:
        """Deletes all files of an account, damaged and half-written ones included; how many. The caller holds its content
        lock. Raises WarehouseError where one cannot be deleted."""
        if not self.enabled:
            return 0
        self._filesystem.invalidate_cache()
        paths = self._files(account_id)
        try:
            for path in paths:
                self._filesystem.rm(f"{self._root}/{path}")
            if isinstance(self._filesystem, LocalFileSystem) and paths:
                self._filesystem.rm(f"{self._root}/{_folder(account_id)}", recursive=True)
        except OSError as error:
            raise WarehouseError(
                f"The raw archive of {account_id} could not be erased ({error.strerror or type(error).__name__}). Check the "
                "rights to delete there, and run the command again."
            ) from None
        return len(paths)

    def rewrite(self, path: str, account_id: str, keep: Callable[[ArchivedMessage], bool]) -> str | None:
        """Writes a pack with the messages to keep of another one, which stays; its path, None where there are none.

        Raises as `read_pack`; nothing is visible then. Memory is that of one row group of each.
        """
        pack: PackWriter | None = None
        try:
            for archived in self.read_pack(path):
                if keep(archived):
                    pack = pack or self.new_pack(account_id)
                    pack.add(archived.message, archived.sha256)
            if pack is not None:
                pack.close()
        except BaseException:
            if pack is not None:
                pack.abandon()
            raise
        return pack.path if pack is not None else None

    def merge(self, paths: Sequence[str], account_id: str, keep: Callable[[str, str], bool]) -> str | None:
        """Copies the messages to keep of some packs, which stay, into one pack; its path, None where there are none.

        `keep` is asked with pack and message. Bytes are copied as they are. Raises as `read_pack`, and WarehouseError where the
        archive cannot be written; nothing is visible then. Memory is that of one row group of each.
        """
        pack: PackWriter | None = None
        try:
            for path in paths:
                for row in self._rows_of(path):
                    if keep(path, row["message_id"]):
                        pack = pack or self.new_pack(account_id)
                        pack.add_archived(row)
            if pack is not None:
                pack.close()
        except BaseException as error:
            if pack is not None:
                pack.abandon()
            if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                raise WarehouseError(
                    f"The raw archive {self._root} cannot be written for {account_id} "
                    f"({error.strerror or type(error).__name__}). Check the folder and the disk; what was there stays."
                ) from None
            raise
        return pack.path if pack is not None else None

    def erase_pack(self, path: str) -> None:
        """Deletes one file. Raises WarehouseError where it cannot be deleted."""
        try:
            self._filesystem.rm(f"{self._root}/{path}")
        except FileNotFoundError:
            return
        except OSError as error:
            raise WarehouseError(
                f"A pack of the raw archive could not be deleted ({error.strerror or type(error).__name__}). Check the rights "
                "to delete there, and run the command again."
            ) from None

    def damaged(self, account_id: str) -> list[str]:
        """Files of an account that are no packs which can be read: set aside, or half-written."""
        return [path for path in self._files(account_id) if not path.endswith(".parquet")] if self.enabled else []

    @property
    def local_folder(self) -> str | None:
        """Where the archive is on this machine, None where it is elsewhere or off."""
        return self._root if self.enabled and isinstance(self._filesystem, LocalFileSystem) else None

    def folder_of(self, account_id: str) -> str:
        """The folder of an account's packs, relative to the archive's root."""
        return _folder(account_id)

    def _files(self, account_id: str) -> list[str]:
        found = self._filesystem.find(f"{self._root}/{_folder(account_id)}")
        return [str(path)[len(self._root) + 1 :] for path in found]

    def _at(self, path: str) -> str:
        """Where a pack lies. Paths are read from the warehouse as well, and must not lead out of the archive."""
        if path.startswith("/") or ".." in path.split("/"):
            raise DamagedPackError(path, "no path within the archive")
        return f"{self._root}/{path}"

    def read_pack(self, path: str) -> Iterator[ArchivedMessage]:
        """The messages of a pack in order, one row group in memory at a time.

        Raises DamagedPackError, or FileNotFoundError. Whether the bytes are the right ones is the caller's to ask.
        """
        with _damage_told(path):
            for row in self._rows_of(path):
                yield _message(row)

    def _rows_of(self, path: str) -> Iterator[dict[str, Any]]:
        with _damage_told(path), self._filesystem.open(self._at(path), "rb") as file:
            parquet = pq.ParquetFile(file)
            for group in range(parquet.num_row_groups):
                yield from parquet.read_row_group(group).to_pylist()

    def count(self, path: str) -> int:
        """How many messages a pack holds; reads its end alone. Raises as `read_pack`."""
        with _damage_told(path), self._filesystem.open(self._at(path), "rb") as file:
            return int(pq.ParquetFile(file).metadata.num_rows)

    def message_ids(self, path: str) -> list[str]:
        """The ids of a pack's messages, in order. Raises as `read_pack`."""
        with _damage_told(path), self._filesystem.open(self._at(path), "rb") as file:
            ids: list[str] = pq.ParquetFile(file).read(columns=["message_id"]).column(0).to_pylist()
            return ids

    def read_message(self, path: str, message_id: str) -> ArchivedMessage | None:
        """One message out of a pack, None where the pack does not hold it. Raises as `read_pack`."""
        with _damage_told(path), self._filesystem.open(self._at(path), "rb") as file:
            parquet = pq.ParquetFile(file)
            for group in range(parquet.num_row_groups):
                ids = parquet.read_row_group(group, columns=["message_id"]).column(0).to_pylist()
                if message_id in ids:
                    row = parquet.read_row_group(group).slice(ids.index(message_id), 1).to_pylist()[0]
                    return _message(row)
        return None


@contextmanager
def _damage_told(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, zstandard.ZstdError) as error:
        raise DamagedPackError(path, type(error).__name__) from None


def _text(value: str) -> str:
    """The text without lone surrogates, which no file can hold: one message must not spoil its pack."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _message(row: dict[str, Any]) -> ArchivedMessage:
    raw = _decompressed(row["raw_zstd"])
    return ArchivedMessage(
        RawMessage(
            message_id=row["message_id"],
            thread_id=row["thread_id"],
            label_ids=frozenset(row["label_ids"] or ()),
            history_id=row["history_id"],
            internal_date_ms=row["internal_date_ms"],
            size_estimate=row["size_estimate"],
            snippet=row["snippet"] or "",
            raw=raw,
        ),
        row["sha256"],
    )


def _decompressed(frame: bytes) -> bytes:
    """The bytes in a frame. Raises ZstdError for one that claims to hold more than any message, whoever put it there."""
    if zstandard.frame_content_size(frame) > LARGEST_MESSAGE:
        raise zstandard.ZstdError("larger than a message can be")
    return zstandard.ZstdDecompressor().decompress(frame, max_output_size=LARGEST_MESSAGE)


def _compressor() -> zstandard.ZstdCompressor:
    # building a compressor costs more than using it, and one must not be used by two threads at once
    compressor = getattr(_threads, "compressor", None)
    if compressor is None:
        compressor = _threads.compressor = zstandard.ZstdCompressor(level=3)
    return compressor


def _folder(account_id: str) -> str:
    return quote(account_id, safe="@.+-_")
