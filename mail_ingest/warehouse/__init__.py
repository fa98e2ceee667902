"""The database side: connections and locks, dlt pipelines, the reads Python needs, analyst tables, the raw archive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read"]


def read(sql: str, parameters: Sequence[Any] = (), *, wait_s: float = 60.0) -> pd.DataFrame:
    """The answer to one SQL statement on the warehouse that the environment names (`MAIL_INGEST_*`), all of it in memory.

    `?` stands for a parameter. The warehouse is opened read-only and closed again before this returns; a load into a
    DuckDB file is waited for, up to `wait_s` seconds. Times are UTC, decimals are doubles.

    Raises ConfigError for SQL that is wrong or writes, and where nothing was ever synced; BusyError after `wait_s`;
    WarehouseError where the warehouse cannot be read.
    """
    # pandas and Arrow take half a second to import, which other users of this package do not need
    from mail_ingest.settings import load_settings
    from mail_ingest.warehouse.reading import ask

    with ask(load_settings(), sql, parameters, wait_s=wait_s) as answer:
        table = answer.table()
    frame: pd.DataFrame = table.to_pandas()
    return frame
