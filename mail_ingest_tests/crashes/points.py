"""The points at which processes are killed, in the order in which a sync passes them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mail_ingest.warehouse.connection import Dialect
from mail_ingest_tests.crashes.child import Point

_CALL = "mail_ingest.gmail.calls:Caller.run"
_SPOOL = "mail_ingest.warehouse.spool:Spool.write"
_PACK = "mail_ingest.warehouse.archive:PackWriter"
_MOVE = "fsspec.implementations.local:LocalFileSystem.mv"
_LOAD = "dlt.load.load:Load"
_COPY = "dlt.destinations.impl.duckdb.duck:DuckDbCopyJob.run"
_MERGE = "dlt.destinations.job_client_impl:SqlLoadJob.run"
_COMMIT = "dlt.destinations.impl.duckdb.sql_client:DuckDbSqlClient.commit_transaction"
_BUILD = "mail_ingest.warehouse.builds:_Run._replace"
_ON_POSTGRES = {
    _COPY: "dlt.destinations.impl.postgres.postgres:PostgresParquetCopyJob.run",
    _COMMIT: "dlt.destinations.impl.postgres.sql_client:Psycopg2SqlClient.commit_transaction",
}
_LOADED = "dlt.destinations.job_client_impl:SqlJobClientBase.complete_load"
_DONE = "dlt.common.storages.load_storage:LoadStorage.complete_load_package"
_EXTRACTED = "dlt.extract.storage:ExtractStorage.commit_new_load_package"
_NORMALIZED = "dlt.common.storages.load_storage:LoadStorage.commit_new_load_package"


@dataclass(frozen=True, slots=True)
class Crash:
    """One cell of the matrix: in which sync, where, and whether dlt's working folder is lost as well.

    Scenarios: `first` sync of a mailbox; `later` sync, by history; `label`: the same, and a
    label was deleted without a record; `expired`: by sweep, after history has expired.
    """

    name: str
    scenario: str
    point: Point
    loses_folder: bool = False
    long: bool = False

    @property
    def depends_on_database(self) -> bool:
        """Whether the process dies while the warehouse is being written."""
        return self.point.target in (_COPY, _MERGE, _COMMIT, _LOADED, _BUILD) or "initialize" in self.point.target

    def on(self, dialect: Dialect) -> Crash:
        """The same crash, where dlt has classes of its own for each database."""
        if dialect == "duckdb":
            return self
        return replace(self, point=replace(self.point, target=_ON_POSTGRES.get(self.point.target, self.point.target)))

    @property
    def id(self) -> str:
        words = [self.scenario, self.name, *(["folder lost"] if self.loses_folder else [])]
        return ": ".join(words).replace(" ", "-")


def _both(name: str, scenario: str, point: Point, *, long: bool = False, long_lost: bool = False) -> list[Crash]:
    return [
        Crash(name, scenario, point, long=long),
        Crash(name, scenario, point, loses_folder=True, long=long or long_lost),
    ]


CRASHES = [
    # reading state
    Crash("making the warehouse", "first", Point("mail_ingest.warehouse.marts:quote", nth=40), long=True),
    Crash("sweeping ids", "first", Point(_CALL, about="messages.list", when="after")),
    Crash("sweeping labels", "first", Point(_CALL, about="messages.list", nth=4), long=True),
    Crash("counting labels", "first", Point(_CALL, about="labels.get", nth=3), long=True),
    Crash("paging history", "later", Point(_CALL, about="history.list", nth=2)),
    Crash("sweeping labels", "expired", Point(_CALL, about="messages.list", nth=3), long=True),
    Crash("spooling states", "first", Point(_SPOOL, about="message_states", when="after")),
    Crash("spooling events", "later", Point(_SPOOL, about="label_events", when="after"), long=True),
    # loading state
    *_both(
        "extracting states", "first", Point("dlt.extract.extractors:ArrowExtractor.write_items", nth=2), long_lost=True
    ),
    *_both("states extracted", "later", Point(_EXTRACTED), long=True),
    *_both("states extracted and kept", "later", Point(_EXTRACTED, when="after"), long_lost=True),
    *_both("normalizing states", "later", Point("dlt.normalize.normalize:Normalize.spool_files"), long_lost=True),
    *_both("states normalized", "later", Point(_NORMALIZED), long=True),
    *_both("states normalized and kept", "later", Point(_NORMALIZED, when="after"), long=True),
    *_both("preparing the tables", "first", Point(f"{_LOAD}.initialize_package", when="after"), long=True),
    *_both("copying states", "later", Point(_COPY, about="message_states", when="after"), long=True),
    *_both(
        "states merged, events not",
        "later",
        Point(_MERGE, about="message_states", first="message_states", when="after"),
    ),
    *_both(
        "events merged, states not",
        "later",
        Point(_MERGE, about="label_events", first="label_events", when="after"),
        long=True,
    ),
    *_both("account merged, states not", "later", Point(_MERGE, about="accounts", first="accounts", when="after")),
    *_both(
        "states merged, events not",
        "first",
        Point(_MERGE, about="message_states", first="message_states", when="after"),
        long=True,
    ),
    *_both(
        "states merged, events not",
        "expired",
        Point(_MERGE, about="message_states", first="message_states", when="after"),
    ),
    *_both("labels merged, states not", "label", Point(_MERGE, about="labels", first="labels", when="after")),
    *_both("events landed, states not", "label", Point(_LOADED, when="after"), long=True),
    *_both("events landed, states not", "expired", Point(_LOADED, when="after"), long_lost=True),
    *_both("inside a merge of state", "later", Point(_COMMIT, nth=3), long_lost=True),
    *_both("states loaded, load not noted", "first", Point(_LOADED)),
    *_both("states loaded, load not noted", "later", Point(_LOADED), long=True),
    *_both("states loaded, load not noted", "expired", Point(_LOADED), long=True),
    *_both("states loaded, load noted", "later", Point(_LOADED, when="after"), long_lost=True),
    *_both("states loaded, package not closed", "first", Point(_DONE), long=True),
    # buying content
    Crash("fetching", "first", Point(_CALL, about="messages.get", nth=45)),
    Crash("fetching", "later", Point(_CALL, about="messages.get", nth=10), long=True),
    Crash("spooling contents", "first", Point(_SPOOL, about="message_recipients", when="after"), long=True),
    Crash("writing a pack", "first", Point(f"{_PACK}.add", nth=40)),
    Crash("pack written, not closed", "first", Point(f"{_PACK}.close", nth=2), long=True),
    Crash("pack closed, not renamed", "first", Point(_MOVE, nth=2)),
    Crash("pack renamed", "first", Point(_MOVE, nth=2, when="after")),
    Crash("packs archived, nothing loaded", "first", Point("mail_ingest.ingest.content:ContentDrain._load", nth=2)),
    # loading content
    *_both(
        "extracting contents",
        "first",
        Point("dlt.extract.extractors:ArrowExtractor.write_items", nth=8),
        long_lost=True,
    ),
    *_both("contents extracted", "first", Point(_EXTRACTED, nth=2), long=True),
    *_both("contents extracted and kept", "first", Point(_EXTRACTED, nth=2, when="after"), long_lost=True),
    *_both(
        "normalizing contents", "first", Point("dlt.normalize.normalize:Normalize.spool_files", nth=2), long_lost=True
    ),
    *_both("contents normalized and kept", "first", Point(_NORMALIZED, nth=2, when="after"), long=True),
    *_both("copying contents", "first", Point(_COPY, about="messages", when="after"), long_lost=True),
    *_both("messages merged, recipients not", "first", Point(_MERGE, about="messages", first="messages", when="after")),
    *_both(
        "recipients merged, messages not",
        "first",
        Point(_MERGE, about="message_recipients", first="message_recipients", when="after"),
        long=True,
    ),
    *_both(
        "attachments merged, messages not",
        "later",
        Point(_MERGE, about="attachments", first="attachments", when="after"),
        long=True,
    ),
    *_both(
        "messages merged, recipients not",
        "later",
        Point(_MERGE, about="messages", first="messages", when="after"),
        long=True,
    ),
    *_both("inside a merge of contents", "first", Point(_COMMIT, nth=5, first="messages"), long_lost=True),
    *_both("contents loaded, load not noted", "first", Point(_LOADED, nth=2)),
    *_both("contents loaded, load noted", "first", Point(_LOADED, nth=2, when="after"), long_lost=True),
    *_both("second package, load not noted", "first", Point(_LOADED, nth=3), long=True),
    *_both("contents loaded, package not closed", "first", Point(_DONE, nth=2), long=True),
    # after the load
    *_both(
        "loaded, control database not told",
        "later",
        Point("mail_ingest.accounts.registry:Registry.sync_finished"),
        long_lost=True,
    ),
    Crash("all loaded, analyst tables not built", "later", Point("mail_ingest.warehouse.builds:AnalystTables.build")),
    Crash("inside the build", "later", Point(_BUILD, nth=4)),
    Crash("analyst tables built", "first", Point("mail_ingest.warehouse.builds:AnalystTables.build", when="after")),
]
