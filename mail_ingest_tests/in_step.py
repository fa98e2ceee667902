"""Homes in step with a mailbox, synced once for all tests that begin with the same mail: all but the first get a copy.

The local server makes the same mailbox of the same steps, with the same ids and cursors, where its messages have dates.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mail_ingest.ingest import Engine
from mail_ingest.simulator import Mailbox
from mail_ingest_tests.postgres import copied_database, execute, with_database
from mail_ingest_tests.truth import sync

#: Steps of a mailbox and of its syncs; the second argument syncs.
Steps = Callable[[Mailbox, Callable[[], object]], None]


@dataclass(frozen=True)
class _Kept:
    home: Path
    database: str
    mailbox: object


class Homes:
    """Kept in a folder. `databases`: what ends those that are kept on the server of the tests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.databases = ExitStack()
        self._kept: dict[tuple[object, ...], _Kept] = {}

    def bring(self, steps: Steps, engine: Engine, box: Mailbox, new_engine: Callable[[], Engine]) -> Engine:
        """Takes the steps, whose syncs are done for the first time only; then the engine's home is as they have left it."""
        key = (steps, engine.warehouse.dialect)
        kept = self._kept.get(key)
        if kept is None:
            steps(box, lambda: sync(engine))
            engine.close()
            self._kept[key] = self._keep(engine, box)
            return engine
        steps(box, lambda: None)
        assert _look_of(box) == kept.mailbox, "the steps make another mailbox each time: give its messages dates"
        engine.close()
        shutil.rmtree(engine.settings.home)
        shutil.copytree(kept.home, engine.settings.home)
        if kept.database:
            url = engine.settings.warehouse
            name, original = (urlsplit(each).path.removeprefix("/") for each in (url, kept.database))
            server = with_database(url, "postgres")
            execute(server, f"drop database {name} with (force)", f"create database {name} template {original}")
        # another one, which remembers nothing of the home that was there
        return new_engine()

    def _keep(self, engine: Engine, box: Mailbox) -> _Kept:
        home = self._folder / str(len(self._kept))
        shutil.copytree(engine.settings.home, home)
        database = ""
        if not engine.settings.is_duckdb:
            database = self.databases.enter_context(copied_database(engine.settings.warehouse))
        return _Kept(home, database, _look_of(box))


def _look_of(box: Mailbox) -> object:
    """What of a mailbox its copies depend on."""
    labels = {key: (record.thread_id, sorted(record.label_ids)) for key, record in box.messages().items()}
    return labels, sorted(box.labels()), sorted(box.deleted_ids()), box.state.history.current
