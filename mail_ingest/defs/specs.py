"""Every convention of keys, groups, kinds, owners and descriptions of assets, decided once."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from mail_ingest.sources.tables import DATASET, Table
from mail_ingest.warehouse.marts import Relation

OWNERS = ["team:data-engineering"]
STATE_GROUP = "gmail_state"
CONTENT_GROUP = "gmail_content"
_GROUPS = {"mail_staging": "staging", "mail": "analyst_tables"}
RELATION_GROUPS = tuple(_GROUPS.values())
_DAGSTER_TYPES = {"text": "text", "json": "json", "int": "bigint", "bool": "boolean", "time": "timestamptz", "float": "double"}


def asset_key(relation: str) -> dg.AssetKey:
    """The key of a table or view: its schema and its name."""
    return dg.AssetKey(relation.split("."))


def landing_spec(
    table: Table,
    *,
    group: str,
    deps: tuple[str, ...] = (),
    partitions_def: dg.PartitionsDefinition[str] | None = None,
) -> dg.AssetSpec:
    """The asset of a landing table."""
    return dg.AssetSpec(
        asset_key(f"{DATASET}.{table.name}"),
        deps=[asset_key(name) for name in deps],
        description=f"{table.description}\n\nKey: {', '.join(table.key)}.",
        group_name=group,
        owners=OWNERS,
        kinds={"dlt", "duckdb", "table"},
        metadata={
            "dagster/column_schema": dg.TableSchema(
                columns=[
                    dg.TableColumn(
                        column.name,
                        _DAGSTER_TYPES[column.kind],
                        description=column.description,
                        constraints=dg.TableColumnConstraints(nullable=column.name not in table.key),
                    )
                    for column in table.columns
                ]
            ),
            "dagster/relation_identifier": f"{DATASET}.{table.name}",
        },
        partitions_def=partitions_def,
    )


def relation_spec(relation: Relation) -> dg.AssetSpec:
    """The asset of an analyst relation, or of the staging view below it."""
    key = f"\n\nKey: {', '.join(relation.key)}." if relation.key else ""
    metadata: Mapping[str, object] = {
        "dagster/relation_identifier": relation.name,
        **(
            {
                "dagster/column_schema": dg.TableSchema(
                    columns=[
                        dg.TableColumn(name, description=description) for name, description in relation.columns.items()
                    ]
                )
            }
            if relation.columns
            else {}
        ),
    }
    return dg.AssetSpec(
        asset_key(relation.name),
        deps=[asset_key(name) for name in relation.reads],
        description=f"{relation.description}{key}",
        group_name=_GROUPS[relation.schema],
        owners=OWNERS,
        kinds={"sql", "duckdb", "view"},
        metadata=metadata,
    )
