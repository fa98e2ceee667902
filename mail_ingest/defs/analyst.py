"""The analyst relations as assets: one per file of `sql/staging` and `sql/marts`."""

import dagster as dg

from mail_ingest.defs.resources import MailIngest
from mail_ingest.defs.specs import relation_spec
from mail_ingest.warehouse.marts import Relation, create_views, load_relations


def analyst_assets() -> list[dg.AssetsDefinition]:
    """One asset per relation, in the order of their lineage."""
    return [_asset(relation) for relation in load_relations()]


def _asset(relation: Relation) -> dg.AssetsDefinition:
    @dg.multi_asset(name=relation.name.replace(".", "__"), specs=[relation_spec(relation)])
    def build(mail_ingest: MailIngest) -> dg.MaterializeResult[None]:
        with mail_ingest.engine() as engine:
            # the SQL of some relations differs between warehouses; their names and columns do not
            here = [each for each in load_relations(engine.warehouse.dialect) if each.name == relation.name]
            with engine.warehouse.open() as connection:
                create_views(connection, here)
            counts = engine.queries.row_counts([relation.name])
        return dg.MaterializeResult(metadata={"dagster/row_count": counts[relation.name]})

    return build
