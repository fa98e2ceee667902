"""dlt pipelines into the warehouse: one load at a time per pipeline, pending loads first.

Pipelines share the dataset `gmail`; each has its own working folder and its own staging dataset, because concurrent
pipelines on one staging dataset lose rows without an error (dlt issue 4297). A pipeline's name is `state_<shard>`,
`content_<shard>` or `content_<account>`.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mail_ingest.errors import MailIngestError, PackageRefusedError, WarehouseError
from mail_ingest.folders import make_private
from mail_ingest.settings import Settings
from mail_ingest.warehouse.connection import Connection, Warehouse
from mail_ingest.warehouse.loader_log import keep_mail_out
from mail_ingest.warehouse.locks import Locks
from mail_ingest.warehouse.unfinished import remove_early_events, remove_unfinished
from mail_ingest.warehouse.working_folder import mend_working_folder

if TYPE_CHECKING:
    from dlt import Pipeline
    from dlt.extract import DltSource

DATASET = "gmail"


def pipeline_name(prefix: str, suffix: str) -> str:
    """A name that dlt, file systems and SQL take, distinct for distinct accounts."""
    readable = re.sub(r"[^a-z0-9]+", "_", suffix.lower()).strip("_")[:24]
    if readable == suffix.lower():
        return f"{prefix}_{readable}"
    return f"{prefix}_{readable}_{hashlib.sha256(suffix.encode()).hexdigest()[:8]}"


def staging_dataset(name: str) -> str:
    """The staging dataset of a pipeline, as merge guards have to spell it."""
    return f"{DATASET}_staging_{name}"


class Pipelines:
    """Loads sources through dlt and reads pipelines' state."""

    def __init__(self, settings: Settings, warehouse: Warehouse, locks: Locks) -> None:
        self._folder = settings.home / "dlt"
        self._warehouse = warehouse
        self._locks = locks

    def load(
        self,
        name: str,
        build_source: Callable[[str], DltSource],
        *,
        size_bytes: int = 0,
        more_follow: bool = False,
        keeps_refused: bool = True,
    ) -> None:
        """Loads one package; what an earlier, killed process left pending is loaded before it.

        `build_source` gets the name of the staging dataset and returns the source to load. Returns once the package
        is in the warehouse; after an error it stays pending in the working folder and the next call finishes it.
        `size_bytes` is the size of its rows; `more_follow`: another large package comes next, so the warehouse need not
        be tidied up after this one. Raises PackageRefusedError where another try cannot help; with `keeps_refused` off such a
        package does not stay pending, where it would keep all others of the pipeline from being loaded: the working folder
        goes, and dlt restores the state of the last completed load.
        """
        with self._pipeline(name) as pipeline:
            self._finish(pipeline)
            self._warehouse.expect_load(size_bytes, more_follow=more_follow)
            self._locks.check()
            try:
                pipeline.run(build_source(staging_dataset(name)), loader_file_format="parquet")
            except Exception as error:
                told = _load_error(name, error, is_kept=keeps_refused)
                if not keeps_refused and isinstance(told, PackageRefusedError):
                    shutil.rmtree(pipeline.working_dir, ignore_errors=True)
                raise told from error

    def merge_row_groups(self) -> None:
        """Makes up for the merging that loads with `more_follow` have put off."""
        self._warehouse.merge_row_groups()

    def finish_pending(self, *names: str) -> None:
        """Loads what an earlier process left pending. Costs one look into the warehouse where there is nothing."""
        if not self._warehouse.exists:
            return
        folder = self._folder / self._warehouse.identity()
        for name in names:
            if any(folder.glob(f"{name}/load/normalized/*")) or any(folder.glob(f"{name}/normalize/extracted/*")):
                with self._pipeline(name) as pipeline:
                    self._finish(pipeline)

    def remove_unfinished(self, account_id: str, table: str, parts: Sequence[str]) -> int:
        """Takes back an account's rows of loads whose working folder is gone; see `unfinished`."""
        if not self._warehouse.exists:
            return 0
        self._locks.check()
        return remove_unfinished(self._warehouse, DATASET, account_id, table, parts)

    def remove_early_events(self, account_id: str) -> None:
        """Takes back an account's events of a sweep whose states never landed; see `unfinished`."""
        self._locks.check()
        remove_early_events(self._warehouse, DATASET, account_id)

    def forget_earlier_states(self, name: str) -> None:
        """Deletes the states of a pipeline before its last, which nothing reads any more, in the working folder as well."""
        with self._locks.hold(f"pipeline:{name}"), self._warehouse.open() as connection:
            for package in (self._folder / self._warehouse.identity() / name / "load" / "loaded").glob("*"):
                shutil.rmtree(package)
            if _has_states(connection):
                connection.execute(
                    f"delete from {DATASET}._dlt_pipeline_state where pipeline_name = ? and version < "
                    f"(select max(version) from {DATASET}._dlt_pipeline_state where pipeline_name = ?)",
                    [name, name],
                )

    def erase(self, name: str) -> None:
        """Takes away all that a pipeline has left behind: working folder, staging tables, states. Not what it loaded."""
        with self._locks.hold(f"pipeline:{name}"), self._warehouse.open() as connection:
            connection.execute(f"drop schema if exists {staging_dataset(name)} cascade")
            if _has_states(connection):
                connection.execute(f"delete from {DATASET}._dlt_pipeline_state where pipeline_name = ?", [name])
                # stored schemas hold the merge guards, which name the staging dataset; dlt stores the next one anew
                connection.execute(
                    f'delete from {DATASET}._dlt_version where strpos("schema", ?) > 0', [staging_dataset(name)]
                )
            shutil.rmtree(self._folder / self._warehouse.identity() / name, ignore_errors=True)

    def empty_staging(self, name: str) -> None:
        """Takes away the rows that a killed load has left in a pipeline's staging tables, once it was finished."""
        if not self._warehouse.exists:
            return
        self.finish_pending(name)
        with self._locks.hold(f"pipeline:{name}"), self._warehouse.open() as connection:
            tables = connection.execute(
                "select table_name from information_schema.tables where table_schema = ? and table_type = 'BASE TABLE'",
                [staging_dataset(name)],
            ).fetchall()
            for (table,) in tables:
                if not table.startswith("_dlt"):
                    connection.execute(f"truncate table {staging_dataset(name)}.{table}")

    def read_state(self, name: str, source: str) -> dict[str, Any]:
        """A copy of the source's state as of the last completed load, restored from the warehouse where the working
        folder is gone or behind."""
        if not self._warehouse.exists:
            return {}
        with self._pipeline(name) as pipeline:
            self._finish(pipeline)
            pipeline.sync_destination()
            state = pipeline.state.get("sources", {}).get(source, {})
            return dict(state)

    def _finish(self, pipeline: Pipeline) -> None:
        if not pipeline.has_pending_data:
            return
        _put_away_loaded(pipeline)
        pending = sum(path.stat().st_size for path in Path(pipeline.working_dir).glob("*/*/**/*") if path.is_file())
        self._warehouse.expect_load(pending)
        self._locks.check()
        try:
            pipeline.run()
        except Exception as error:
            raise _load_error(pipeline.pipeline_name, error) from error
        # the package may have brought a newer state than the folder has, and dlt looks once per pipeline object
        pipeline.sync_destination()

    @contextmanager
    def _pipeline(self, name: str) -> Iterator[Pipeline]:
        with self._locks.hold(f"pipeline:{name}"), self._warehouse.open():
            dlt = _import_dlt()
            # kept per thread, and emptied only by the trace that is left out: a megabyte more with every load
            _resolved_traces().logging_enabled = False
            destination = self._warehouse.destination(f"%s_staging_{name}")
            # a folder per warehouse: what was pending for, or known of, another file must not reach this one
            folder = self._folder / self._warehouse.identity()
            make_private(folder)
            mend_working_folder(folder / name)
            with self._warehouse.alone_at_first(DATASET):
                yield dlt.pipeline(
                    pipeline_name=name,
                    pipelines_dir=str(folder),
                    destination=_remembering(destination),
                    dataset_name=DATASET,
                )


def _has_states(connection: Connection) -> bool:
    """Whether dlt has made its tables yet."""
    found = connection.execute(
        "select 1 from information_schema.tables where table_schema = ? and table_name = '_dlt_pipeline_state'",
        [DATASET],
    )
    return found.fetchone() is not None


def _put_away_loaded(pipeline: Pipeline) -> None:
    """Puts away packages that are in the warehouse and still among the pending ones.

    dlt writes a mark into a package that is loaded, and then moves its folder. A process killed between the two leaves a
    package that dlt loads again, only to refuse it at the end (LoadPackageAlreadyCompleted), again and again.
    """
    packages = pipeline._get_load_storage()
    for load_id in pipeline.list_normalized_load_packages():
        if packages.normalized_packages.is_package_completed(load_id):
            packages.storage.rename_tree(
                packages.get_normalized_package_path(load_id), packages.get_loaded_package_path(load_id)
            )
            packages.maybe_remove_completed_jobs(load_id)


def _remembering(destination: Any) -> Any:
    """The destination, asked once for what it can do.

    dlt asks thirty times a load, and resolves its whole configuration each time: a fifth of the fixed cost of a load.
    """
    ask = destination.capabilities
    known: dict[type, Any] = {}

    def capabilities(config: Any = None, naming: Any = None) -> Any:
        if config is not None:
            return ask(config, naming)
        if type(naming) not in known:
            known[type(naming)] = ask(None, naming)
        # dlt changes what it gets
        return known[type(naming)].copy()

    destination.capabilities = capabilities
    return destination


def _load_error(name: str, error: BaseException, *, is_kept: bool = True) -> MailIngestError:
    """One sentence, without the values that database errors like to quote: those are people's mail."""
    from dlt.common.destination.exceptions import DestinationTerminalException

    chain: list[BaseException] = []
    while error is not None and error not in chain:
        if isinstance(error, MailIngestError):
            return error
        chain.append(error)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    for link in chain:
        if type(link).__name__ == "DataValidationError":
            # dlt's text quotes the rows
            place = f"{link.table_name}.{link.column_name}" if link.column_name else link.table_name  # type: ignore[attr-defined]
            return PackageRefusedError(
                f"Pipeline {name} refused a package whose rows do not fit their table ({place} is not defined, or of another "
                "type). This is a mistake in mail_ingest: please report it. Nothing of the package was loaded, and no table "
                "was changed."
            )
    text = " ".join(str(link) for link in chain)
    if "No space left" in text or "could not write" in text.lower():
        cause = "the disk is full"
    elif "Out of Memory" in text:
        cause = "DuckDB ran out of memory"
    else:
        cause = " from ".join(type(link).__name__ for link in chain[:3])
    is_refused = any(isinstance(link, DestinationTerminalException) for link in chain)
    if is_refused and not is_kept:
        return PackageRefusedError(
            f"The warehouse refused rows of a package of pipeline {name} ({cause}). Nothing of it is kept: the next sync "
            "brings it again, from the raw archive as far as it was bought. Look what the database says of the tables of gmail."
        )
    return (PackageRefusedError if is_refused else WarehouseError)(
        f"Pipeline {name} could not load its package ({cause}). The package is kept in the working folder and the next "
        "sync finishes it before it reads anything new; nothing is lost."
    )


def _resolved_traces() -> Any:
    from dlt.common.configuration.utils import get_resolved_traces

    return get_resolved_traces()


_dlt_module: Any = None


def _import_dlt() -> Any:
    """Imports dlt (slow) and sets what we rely on: no telemetry, load ids in Arrow rows, emptied staging; and leaves
    out what costs time: traces of every step, threads for files that DuckDB takes one after the other, compression of
    files that live for a second."""
    global _dlt_module
    if _dlt_module is None:
        import dlt

        dlt.config["runtime.dlthub_telemetry"] = False
        dlt.config["runtime.log_level"] = "ERROR"
        dlt.config["normalize.parquet_normalizer.add_dlt_load_id"] = True
        dlt.config["load.truncate_staging_dataset"] = True
        # loaded files hold people's mail; a package that was loaded needs them no more
        dlt.config["load.delete_completed_jobs"] = True
        dlt.config["data_writer.buffer_max_items"] = 500
        dlt.config["data_writer.compression"] = "none"
        dlt.config["enable_runtime_trace"] = False
        dlt.config["load.workers"] = 1
        keep_mail_out()
        _dlt_module = dlt
    return _dlt_module
