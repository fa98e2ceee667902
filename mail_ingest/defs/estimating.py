"""What backfills would cost, shown in Dagster: with every partition of the messages, run or not, and as one table."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from pydantic import Field

from mail_ingest.defs.partitions import content_partitions
from mail_ingest.defs.queue import ASKED, queue_tags
from mail_ingest.defs.resources import MailIngest
from mail_ingest.defs.specs import asset_key, table_name
from mail_ingest.ingest.estimate import AccountPrice, Price
from mail_ingest.ingest.estimating import estimate_backfill
from mail_ingest.settings import Settings
from mail_ingest.sources.tables import MESSAGES

#: Partitions that are told of, the newest ones that hold messages: an event costs 10 ms and 5 KB.
_PARTITIONS_TOLD = 400
_MAX_RUNTIME_S = 3600


class EstimateConfig(dg.Config):
    """Whose messages are counted."""

    accounts: list[str] = Field(default=[], description="Addresses to take; all active accounts if there are none.")


def price_metadata(price: Price) -> Mapping[str, dg.MetadataValue[Any]]:
    """What is known, stored and failed, and what the rest costs."""
    entries: dict[str, dg.MetadataValue[Any]] = {
        "messages_known": dg.MetadataValue.int(price.counts.known),
        "messages_stored": dg.MetadataValue.int(price.counts.stored),
        "messages_failed": dg.MetadataValue.int(price.counts.failed),
        "messages_to_buy": dg.MetadataValue.int(price.to_buy),
        "price_units": dg.MetadataValue.int(price.units),
    }
    if price.minutes is not None:
        entries["price_minutes"] = dg.MetadataValue.float(round(price.minutes, 2))
    if price.share_of_day is not None:
        entries["price_share_of_the_day"] = dg.MetadataValue.float(round(price.share_of_day, 6))
    return entries


def estimate_job(settings: Settings) -> dg.JobDefinition:
    """Observes the messages: the price of every partition that holds any."""

    @dg.op(
        description="Counts what is known, stored and missing by partition. Asks Gmail nothing.",
        out=dg.Out(dg.Nothing),
    )
    def estimate_content(
        config: EstimateConfig, mail_ingest: MailIngest
    ) -> Iterator[dg.AssetObservation | dg.Output[None]]:
        key = asset_key(table_name(MESSAGES))
        partitions = content_partitions(settings).get_partition_keys()[::-1]
        with mail_ingest.engine() as engine:
            found = estimate_backfill(engine, engine.accounts(config.accounts), partitions)
        known = {name: price for name, price in found.partitions.items() if price.counts.known}
        told = dict(list(known.items())[:_PARTITIONS_TOLD])
        for partition, price in told.items():
            yield dg.AssetObservation(key, partition=partition, metadata=price_metadata(price))
        total = _sum(known)
        about = {**price_metadata(total), **_when(found.total), "partitions": _table(told)}
        yield dg.AssetObservation(key, metadata=about)
        yield dg.Output(None, metadata=about)

    @dg.job(
        name="estimate_backfill",
        description=(
            "Shows what a backfill of content would cost, among the events of gmail/messages: an observation for each partition "
            "that holds messages, and one with a table of all. Costs no quota."
        ),
        executor_def=dg.in_process_executor,
        # somebody waits for it, and it is over soon
        tags=queue_tags(ASKED, max_runtime_s=_MAX_RUNTIME_S),
    )
    def job() -> None:
        estimate_content()

    return job


def _sum(prices: Mapping[str, Price]) -> Price:
    """Without the list pages of partitions that hold nothing."""
    total = Price()
    for price in prices.values():
        total.add(price)
    return total


def _when(total: AccountPrice) -> Mapping[str, dg.MetadataValue[Any]]:
    moments = {"done_at": total.done_at, "done_at_measured_pace": total.done_at_measured_pace}
    return {name: dg.MetadataValue.timestamp(moment) for name, moment in moments.items() if moment is not None}


def _table(prices: Mapping[str, Price]) -> dg.TableMetadataValue:
    columns = {"partition": "string", "known": "int", "stored": "int", "failed": "int", "to buy": "int", "units": "int"}
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord(
                {
                    "partition": partition,
                    "known": price.counts.known,
                    "stored": price.counts.stored,
                    "failed": price.counts.failed,
                    "to buy": price.to_buy,
                    "units": price.units,
                    "minutes": round(price.minutes or 0.0, 1),
                }
            )
            for partition, price in prices.items()
        ],
        schema=dg.TableSchema(
            [dg.TableColumn(name, kind) for name, kind in columns.items()] + [dg.TableColumn("minutes", "float")]
        ),
    )
