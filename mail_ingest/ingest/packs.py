"""The packs of one load package: messages reach the raw archive before their rows are loaded."""

from __future__ import annotations

from typing import Self

from mail_ingest.gmail import RawMessage
from mail_ingest.warehouse.archive import PackWriter, RawArchive

#: A pack of the raw archive closes at this many messages; a kill costs at most one unfinished pack.
PACK_MESSAGES = 1_000


class Packs:
    """The packs of one package. Whatever ends the package, archived bytes are kept: they were paid for."""

    def __init__(self, archive: RawArchive, account_id: str) -> None:
        self._archive = archive
        self._account_id = account_id
        self._open: PackWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, message: RawMessage, sha256: str) -> str | None:
        """Archives a message; the path of its pack, None where the archive is off."""
        if not self._archive.enabled:
            return None
        if self._open is None:
            self._open = self._archive.new_pack(self._account_id)
        path = self._open.path
        try:
            self._open.add(message, sha256)
            if self._open.messages >= PACK_MESSAGES:
                self.close()
        except OSError:
            self._abandon()
            raise
        return path

    def close(self) -> None:
        if self._open is not None:
            try:
                self._open.close()
            except OSError:
                self._abandon()
                raise
            self._open = None

    def _abandon(self) -> None:
        """Gives up the open pack, after the archive refused it: a disk is full, a bucket is gone."""
        if self._open is not None:
            self._open.abandon()
            self._open = None
