"""Which pipelines an account's rows go through."""

from __future__ import annotations

from mail_ingest.accounts import Account
from mail_ingest.warehouse.pipeline import pipeline_name


def state_pipeline(account: Account) -> str:
    """The pipeline that holds the account's cursor: one per shard."""
    return f"state_{account.shard}"


def content_pipeline(account: Account, *, is_backfill: bool) -> str:
    """The pipeline of the account's content: the shard's for new mail, one of its own for backfills."""
    return pipeline_name("content", account.account_id) if is_backfill else f"content_{account.shard}"


def replacing_pipeline(account_id: str) -> str:
    """The pipeline of content that takes the place of stored content: by a newer parser, or bought again."""
    return pipeline_name("reparse", account_id)


def content_pipelines(account: Account) -> list[str]:
    """Every pipeline that may hold a package with content of the account."""
    return [content_pipeline(account, is_backfill=False), *own_pipelines(account)]


def own_pipelines(account: Account) -> list[str]:
    """The pipelines that serve this account alone."""
    return [content_pipeline(account, is_backfill=True), replacing_pipeline(account.account_id)]
