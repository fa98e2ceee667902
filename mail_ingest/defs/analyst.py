"""The analyst relations as assets: one per file of `sql/staging` and `sql/marts`.

Tables are built together, because a reader should see one state of them all: whichever is materialized first renews the rows
that changed in every one, and those that follow find nothing left to do. A sync builds them as well.
"""

import dagster as dg

from mail_ingest.defs.resources import MailIngest
from mail_ingest.defs.specs import relation_spec
from mail_ingest.warehouse.builds import Build
from mail_ingest.warehouse.marts import Relation, create_views, load_relations


def analyst_assets() -> list[dg.AssetsDefinition]:
    """One asset per relation, in the order of their lineage."""
    return [_asset(relation) for relation in load_relations()]


def _asset(relation: Relation) -> dg.AssetsDefinition:
    @dg.multi_asset(name=relation.name.replace(".", "__"), specs=[relation_spec(relation)])
    def build(mail_ingest: MailIngest) -> dg.MaterializeResult[None]:
        with mail_ingest.engine() as engine:
            done = Build()
            if relation.is_table:
                done = engine.build_analyst_tables()
            else:
                with engine.warehouse.open() as connection:
                    create_views(connection, [relation])
            counts = engine.queries.row_counts([relation.name])
        metadata: dict[str, int | bool] = {"dagster/row_count": counts[relation.name]}
        if relation.is_table:
            metadata["built_in_full"] = relation.name in done.full
            metadata["changed_keys"] = done.changed.get(relation.name, 0)
        return dg.MaterializeResult(metadata=metadata)

    return build
