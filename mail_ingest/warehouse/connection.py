"""What a warehouse offers, whichever database it is: a DuckDB file (`embedded`) or a Postgres database (`postgres`).

One SQL text serves both: `?` for parameters, lists as `cast(? as varchar[])` with `unnest`, times as aware UTC.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

Dialect = Literal["duckdb", "postgres"]


class Result(Protocol):
    """The rows of a query, as DB-API gives them."""

    @property
    def description(self) -> Sequence[Any] | None: ...
    def fetchone(self) -> Any: ...
    def fetchmany(self, size: int = ..., /) -> list[Any]: ...
    def fetchall(self) -> list[Any]: ...


class Cursor(Result, Protocol):
    """A query that is read in portions, with memory for one portion at a time."""

    def execute(self, query: str, parameters: Any = ..., /) -> object: ...
    def close(self) -> None: ...


class Connection(Protocol):
    """An open warehouse. Every statement commits by itself outside of `begin` and `commit`."""

    def execute(self, query: str, parameters: Any = ..., /) -> Result: ...
    def cursor(self) -> Cursor: ...
    def begin(self) -> object: ...
    def commit(self) -> object: ...
    def rollback(self) -> object: ...


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Commits what the block did at its end; takes it back, and goes on raising, where it raises."""
    connection.begin()
    try:
        yield
        connection.commit()
    except BaseException:
        connection.rollback()
        raise


class Prepare(Protocol):
    """Creates what is missing in a warehouse; runs once per process and warehouse."""

    def __call__(self, connection: Connection, dialect: Dialect, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Room:
    """The room that a warehouse's file takes, what of it is free for other rows, and what is free on its disk, in bytes."""

    size: int
    free: int
    disk_free: int


class Warehouse(ABC):
    """A warehouse named by the settings. Building one opens nothing."""

    dialect: ClassVar[Dialect]

    @property
    @abstractmethod
    def exists(self) -> bool:
        """Whether anything was ever written to it; looking creates nothing."""

    @abstractmethod
    def open(self) -> AbstractContextManager[Connection]:
        """A connection that reads and writes, let go at the end of the outermost block; may be nested within a thread.

        The first opening of a process creates what is missing. Raises BusyError when another process keeps the warehouse
        from being opened, WarehouseError when it cannot be opened, read or written, ConfigError when it belongs to
        another deployment.
        """

    @abstractmethod
    def keep_open(self) -> AbstractContextManager[None]:
        """Within the block this thread keeps a connection from one opening to the next, until somebody calls `let_go`."""

    @abstractmethod
    def shared(self) -> AbstractContextManager[None]:
        """Within the block many threads of this process use the warehouse, and keep connections among them.

        Nobody but the thread that entered the block may hold one while it waits for another thread.
        """

    @abstractmethod
    def let_go(self) -> None:
        """Closes what is kept open and not in use; to be called before anything that takes long. From any thread.

        Raises WarehouseError where closing fails, as on a full disk; what was committed stays.
        """

    @abstractmethod
    def destination(self, staging_layout: str) -> Any:
        """The dlt destination that loads into the warehouse; to be used while the warehouse is open."""

    @abstractmethod
    def alone_at_first(self, dataset: str) -> AbstractContextManager[None]:
        """Keeps other processes from loading until dlt has made its own tables in a dataset."""

    @abstractmethod
    def identity(self) -> str:
        """The id that the warehouse was given when it was made: another one in its place has another id."""

    @abstractmethod
    def expect_load(self, size_bytes: int, *, more_follow: bool = False) -> None:
        """Prepares for a package of this size; to be called while the warehouse is open, and in force until it closes.

        `more_follow`: another large package comes next, so tidying up after this one may wait (see `merge_row_groups`).
        """

    @abstractmethod
    def merge_row_groups(self) -> None:
        """Makes up for the tidying that loads with `more_follow` have put off."""

    @abstractmethod
    def write_anew(self, tables: Sequence[str]) -> list[str]:
        """Takes away the bytes of rows that were deleted; returns, in words, what it could not reach.

        `tables` (named with their schemas) are those that lost rows. May be killed at any point and run again. Raises
        BusyError where another process keeps it from being done, WarehouseError where it fails; then all is as it was.
        """

    @abstractmethod
    def room(self) -> Room | None:
        """How full its file is, once what a killed `write_anew` has left is taken away; None where a server sees to that."""

    @abstractmethod
    def search(self, query: str, write: Callable[[bytes], None]) -> None:
        """Hands over the rows of a query as text, in bytes, as they come."""

    @abstractmethod
    def all_tables(self) -> list[str]:
        """Every table that can be read, in every schema, quoted as SQL takes it."""

    @abstractmethod
    def text_of(self, table: str) -> str:
        """A query of all values of a table, for `search`."""

    @abstractmethod
    def files(self) -> list[Path]:
        """The files that hold it, as far as this process can read them."""

    @abstractmethod
    def close(self) -> None:
        """Lets connections go that were kept for the next opening."""
