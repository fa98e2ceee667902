"""The analyst relations as assets: one per file of `sql/staging` and `sql/marts`.

The tables are one step, because a build is one transaction over all of them: a reader sees one state of them all, and a
check that blocks one of them has to keep all from being built. Each view is a step of its own.

A sync builds the tables as well, and makes no checks: they take seconds for a million messages, a quiet build a third of one.
"""

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from mail_ingest.defs.checks import check_key
from mail_ingest.defs.resources import MailIngest
from mail_ingest.defs.specs import STAGING, asset_key, column_lineage, relation_spec
from mail_ingest.ingest.checks import blocking_checks, check_warehouse
from mail_ingest.ingest.engine import Engine
from mail_ingest.warehouse.marts import Relation, create_views, load_relations


class BuildConfig(dg.Config):
    """What a build of the analyst tables takes."""

    rebuild: bool = Field(
        default=False,
        description="Build every table in full, as is needed after landing rows were changed by hand.",
    )


def analyst_assets() -> list[dg.AssetsDefinition]:
    """The assets of all relations, in the order of their lineage."""
    relations = load_relations()
    views = [_view(relation) for relation in relations if not relation.is_table]
    return [*views, _tables([relation for relation in relations if relation.is_table])]


def _tables(relations: list[Relation]) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name="build_analyst_tables",
        specs=[relation_spec(relation) for relation in relations],
        can_subset=True,
        description="Renews the rows that changed in every analyst table, whichever of them are selected.",
    )
    def build(
        context: dg.AssetExecutionContext, config: BuildConfig, mail_ingest: MailIngest
    ) -> Iterator[dg.MaterializeResult[None]]:
        with mail_ingest.engine() as engine:
            if not _comes_after_checks(context):
                _refuse_broken_landing(engine)
            done = engine.build_analyst_tables(is_full=config.rebuild)
            counts = engine.queries.row_counts([relation.name for relation in relations])
        for relation in relations:
            if asset_key(relation.name) in context.selected_asset_keys:
                yield dg.MaterializeResult(
                    asset_key=asset_key(relation.name),
                    metadata={
                        "dagster/row_count": counts[relation.name],
                        "built_in_full": relation.name in done.full,
                        "changed_keys": done.changed.get(relation.name, 0),
                        "dagster/column_lineage": column_lineage(relation),
                    },
                )

    return build


def _comes_after_checks(context: dg.AssetExecutionContext) -> bool:
    """Whether the run makes every blocking check, and this step waits for them, as it does through the staging views."""
    graph = context.job_def.asset_layer.asset_graph
    staging = {asset_key(relation.name) for relation in load_relations() if relation.schema == STAGING}
    checks = {check_key(check) for check in blocking_checks()}
    return staging <= graph.executable_asset_keys and checks <= graph.asset_check_keys


def _refuse_broken_landing(engine: Engine) -> None:
    """Makes the blocking checks for a build that is asked for alone: seconds for a million messages."""
    found = check_warehouse(engine, blocking_checks())
    broken = [f"{check.relation}: {check.claim}" for check, rows in found if rows.rows]
    if broken:
        raise dg.Failure(
            description=(
                f"The analyst tables were not built, because checks that block them fail: {', '.join(broken)}. "
                "Run these checks in the job `analyst_tables` to see the rows, and what to do about them."
            ),
            allow_retries=False,
        )


def _view(relation: Relation) -> dg.AssetsDefinition:
    @dg.multi_asset(name=relation.name.replace(".", "__"), specs=[relation_spec(relation)])
    def create(mail_ingest: MailIngest) -> dg.MaterializeResult[None]:
        with mail_ingest.engine() as engine:
            with engine.warehouse.open() as connection:
                create_views(connection, [relation], engine.warehouse.dialect)
            counts = engine.queries.row_counts([relation.name])
        return dg.MaterializeResult(
            metadata={"dagster/row_count": counts[relation.name], "dagster/column_lineage": column_lineage(relation)}
        )

    return create
