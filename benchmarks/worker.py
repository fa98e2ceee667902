"""The measured process: `python -m benchmarks.worker VERB JSON` measures one thing and prints it as a line of JSON.

CPU seconds are those of this process with all its threads, from after the imports on: they cost the same however much
mail there is, and are told apart.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.local import ADDRESS, TOKEN_VARIABLE


def sync(content: bool = True, mode: str = "auto") -> dict[str, Any]:
    """One sync of the account, as `mail-ingest sync` runs it; what the analyst tables took of it is told apart too."""
    engine = _engine()
    accounts = engine.accounts()
    built = {"wall_s": 0.0, "cpu_s": 0.0}
    build = engine.keep_analyst_tables

    def timed() -> None:
        began = _before()
        build()
        built.update({name: taken for name, taken in _since(began).items() if name in built})

    engine.keep_analyst_tables = timed
    before = _before()
    from mail_ingest.ingest import SyncOptions

    run = engine.sync(accounts, SyncOptions(mode=mode, content=content))[0]  # type: ignore[arg-type]
    measured = _since(before)
    if run.error:
        raise SystemExit(run.error)
    return {**measured, "build_wall_s": built["wall_s"], "build_cpu_s": built["cpu_s"], **run.as_json()}


def verify() -> dict[str, Any]:
    """Drift between mailbox and warehouse, as `mail-ingest verify` finds it."""
    from mail_ingest.ingest.audit import AuditOptions, audit_account

    engine = _engine()
    return audit_account(engine, engine.accounts()[0], AuditOptions()).as_json()


def build() -> dict[str, Any]:
    """A full build of the analyst tables."""
    engine = _engine()
    before = _before()
    with engine.warehouse.open() as connection:
        engine.analyst_tables.rebuild(connection)
    return _since(before)


def dagster_run(config: dict[str, Any]) -> dict[str, Any]:
    """A run of Dagster's job `sync`, as its launcher starts one: in a process of its own, which loads the definitions."""
    import dagster as dg

    from benchmarks.worker import sync_job

    _definitions()
    before = _before()  # what the process has used until here is its start
    with dg.DagsterInstance.get() as instance:
        run_config = {"ops": {"sync_accounts": {"config": config}}}
        with dg.execute_job(dg.reconstructable(sync_job), instance=instance, run_config=run_config) as result:
            return {**_since(before), "run_id": result.run_id, "succeeded": result.success}


def sync_job() -> Any:
    """The job; Dagster asks for it by the name of this function."""
    return _definitions().resolve_job_def("sync")


@cache
def _definitions() -> Any:
    from mail_ingest.definitions import build_definitions

    return build_definitions()


def floor(folder: str, archive: bool = False, codec: str = "fast", threads: int = 4) -> dict[str, Any]:
    """The hand-written floor over the whole mailbox."""
    _import("pandas", "pytz")
    from benchmarks.floor import Floor

    work = Floor(os.environ["MAIL_INGEST_GMAIL_URL"], os.environ[TOKEN_VARIABLE], Path(folder), archive, codec, threads)
    before = _before()
    messages = work.run()
    return {**_since(before), "messages": messages}


def _engine() -> Any:
    """An engine with the account registered, and everything imported that a sync would import on its way."""
    _import(
        "mail_ingest.ingest",
        "dlt.destinations.impl.duckdb.duck",
        "duckdb",
        "googleapiclient.discovery",
        "pandas",
        "pyarrow.parquet",
    )
    from mail_ingest.accounts import token_env
    from mail_ingest.ingest.engine import Engine
    from mail_ingest.settings import load_settings

    engine = Engine(load_settings())
    if not engine.registry.list():
        engine.registry.add(ADDRESS, token_env(TOKEN_VARIABLE))
    return engine


def _import(*modules: str) -> None:
    """Imports what the libraries would import at first use: pandas, say, when Arrow makes its first array."""
    for module in modules:
        importlib.import_module(module)


def _before() -> tuple[float, float, int]:
    return time.perf_counter(), time.process_time(), _resident_bytes("VmRSS")


def _since(before: tuple[float, float, int]) -> dict[str, Any]:
    wall, cpu, resident = before
    return {
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "imports_cpu_s": cpu,
        "imports_bytes": resident,
        "peak_bytes": _resident_bytes("VmHWM"),
    }


def _resident_bytes(field: str) -> int:
    """Memory of this process, now (`VmRSS`) or at its most (`VmHWM`)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return int(next(line.split()[1] for line in lines if line.startswith(field))) * 1024


if __name__ == "__main__":
    verbs: dict[str, Callable[..., dict[str, Any]]] = {
        "sync": sync,
        "verify": verify,
        "build": build,
        "floor": floor,
        "dagster_run": dagster_run,
    }
    print(json.dumps(verbs[sys.argv[1]](**json.loads(sys.argv[2])), default=str))
