"""Where the processes of a deployment share the budgets of Google projects: the control database's server, or a file beside it.

Each project is one row, which holds what pyrate-limiter calls a state: a few numbers, whatever was spent. A step reads and
writes it in one transaction that keeps others out of the row, so no two processes are given the same units.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pyrate_limiter import Decision, Rate, StateAlgorithm, StateStore, WallClock
from sqlalchemy import Connection, Engine, delete, make_url, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from mail_ingest.accounts.database import open_budget_file
from mail_ingest.accounts.tables import project_budgets
from mail_ingest.errors import BudgetStoreError, MailIngestError

BUDGET_FILE = "budget.sqlite"
"""Beside a control database that is a file; made when the first units are leased."""

#: What a process waits for another one that holds a row. A lease takes milliseconds.
_LOCK_TIMEOUT = text("set local lock_timeout = '5s'")

State = tuple[float, ...]


class BudgetStores:
    """Hands out the stores of projects. Building it opens nothing; `close` lets connections go."""

    def __init__(self, control: str, control_engine: Callable[[], Engine]) -> None:
        self._path = _file_beside(control)
        self._control_engine = control_engine
        self._lock = threading.Lock()
        self._file: Engine | None = None

    def of(self, project: str) -> StateStore:
        """Where one project's budget is kept."""
        return BudgetStore(project, self._engine)

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.dispose()
                self._file = None

    def _engine(self) -> Engine:
        if self._path is None:
            return self._control_engine()
        with self._lock:
            if self._file is None:
                self._file = open_budget_file(self._path)
            return self._file


class BudgetStore(StateStore):
    """The row of one project. Raises BudgetStoreError where it cannot be read or written."""

    default_clock = WallClock()

    def __init__(self, project: str, engine: Callable[[], Engine]) -> None:
        self._project = project
        self._engine = engine
        self._is_this = project_budgets.c.project == project

    def check(self, algorithm: StateAlgorithm, rates: list[Rate], now: int, weight: int) -> Decision:
        """Takes one step of the algorithm; `now` is in epoch milliseconds."""
        with self._transaction() as connection:
            stored = self._stored(connection, for_update=True)
            if stored is None:
                # what is not there cannot be held, and two processes may find it missing at once
                connection.execute(self._insert(connection, algorithm.initial(rates), now).on_conflict_do_nothing())
                stored = self._stored(connection, for_update=True) or ""
            before = _state(algorithm, stored, rates)
            after, decision = algorithm.step(rates, before, now, weight)
            if after != before:
                row = self._insert(connection, after, now)
                changed = {name: row.excluded[name] for name in ("state", "changed_at")}
                connection.execute(row.on_conflict_do_update(index_elements=["project"], set_=changed))
        return decision

    def read(self, algorithm: StateAlgorithm, rates: list[Rate]) -> State:
        with self._transaction() as connection:
            stored = self._stored(connection)
        return _state(algorithm, stored, rates)

    def reset(self) -> None:
        with self._transaction() as connection:
            connection.execute(delete(project_budgets).where(self._is_this))

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine().begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(_LOCK_TIMEOUT)
                yield connection
        except (SQLAlchemyError, MailIngestError, OSError) as error:
            raise BudgetStoreError(
                f"the shared budget of project {self._project} cannot be read or written ({type(error).__name__})"
            ) from error

    def _stored(self, connection: Connection, *, for_update: bool = False) -> str | None:
        stored = select(project_budgets.c.state).where(self._is_this)
        return connection.execute(stored.with_for_update() if for_update else stored).scalar()

    def _insert(self, connection: Connection, state: State, now: int) -> postgresql.Insert | sqlite.Insert:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        row: postgresql.Insert | sqlite.Insert = dialect.insert(project_budgets)
        return row.values(
            project=self._project,
            state=" ".join(f"{number:.0f}" for number in state),
            changed_at=datetime.fromtimestamp(now / 1000, UTC),
        )


def _state(algorithm: StateAlgorithm, stored: str | None, rates: list[Rate]) -> State:
    """The stored state; what is none counts as if nothing had been leased."""
    nothing: State = tuple(algorithm.initial(rates))
    try:
        state: State = tuple(algorithm.decode((stored or "").split()))
    except ValueError:
        return nothing
    return state if len(state) == len(nothing) else nothing


def _file_beside(control: str) -> Path | None:
    """None where the control database is a server. A URL that is none is told by whoever opens it."""
    try:
        url = make_url(control)
    except ArgumentError:
        return None
    if url.get_backend_name() != "sqlite" or not url.database:
        return None
    return Path(url.database).absolute().with_name(BUDGET_FILE)
