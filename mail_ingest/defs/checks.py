"""The asset checks: those of the warehouse (`ingest.checks`), and one that asks Gmail, the audit.

The checks of a group of assets are one step, of which any part can be run alone: a step costs a process's start-up of
connections, and there are fifty checks.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from mail_ingest.accounts import Account
from mail_ingest.defs.outcomes import markdown_table
from mail_ingest.defs.resources import MailIngest
from mail_ingest.defs.specs import asset_key, table_name
from mail_ingest.errors import MailIngestError, stack_of
from mail_ingest.ingest.audit import Audit, AuditOptions, audit_account
from mail_ingest.ingest.checks import all_checks, check_warehouse
from mail_ingest.ingest.engine import Engine
from mail_ingest.sources.tables import ACCOUNTS, DATASET, STATE_TABLES
from mail_ingest.warehouse.checks import Broken, Check

logger = logging.getLogger(__name__)

EQUALS_THE_MAILBOX = "equals_the_mailbox"
_STATE = frozenset(table_name(table) for table in STATE_TABLES)

#: What the nightly audit may spend on each account. The check's own default is nothing: Dagster also runs it whenever
#: somebody materializes its asset, which should cost what it says.
AUDIT_UNITS = 5_000
AUDIT_SAMPLE = 5


class AuditConfig(dg.Config):
    """What an audit takes."""

    accounts: list[str] = Field(default=[], description="Addresses to audit; all active accounts if there are none.")
    max_units: int = Field(
        default=0, ge=0, description="Quota units for each account; with 0 only warehouse and archive are compared."
    )
    sample: int = Field(
        default=0, ge=0, description="Messages of each account to be read at Gmail again, 20 units each."
    )


def audit_run_config(check: dg.AssetChecksDefinition) -> dict[str, Any]:
    """The run config with which the job audits against Gmail."""
    return {"ops": {check.op.name: {"config": {"max_units": AUDIT_UNITS, "sample": AUDIT_SAMPLE}}}}


def audit_check() -> dg.AssetChecksDefinition:
    """`mail-ingest verify` as a check: drift is an error, an account that could not be audited a warning."""

    @dg.asset_check(
        asset=asset_key(table_name(ACCOUNTS)),
        name=EQUALS_THE_MAILBOX,
        description=(
            "Catches drift: messages, labels and deletions that differ from the mailbox though nothing changed there since "
            "the last sync, stored content that its archived bytes do not give, and packs that are lost. Costs quota "
            "units, within a budget; the metadata says what it did not reach."
        ),
    )
    def run(config: AuditConfig, mail_ingest: MailIngest) -> dg.AssetCheckResult:
        options = AuditOptions(sample=config.sample, max_units=config.max_units, purpose="scheduled")
        audits: list[Audit] = []
        failed: dict[str, str] = {}
        with mail_ingest.engine() as engine:
            for account in engine.accounts(config.accounts):
                audit = _audit(engine, account, options)
                if isinstance(audit, Audit):
                    audits.append(audit)
                else:
                    failed[account.account_id] = audit
        return _audit_result(audits, failed)

    return run


def _audit(engine: Engine, account: Account, options: AuditOptions) -> Audit | str:
    """The audit of one account, or why there is none: the others must have theirs."""
    try:
        return audit_account(engine, account, options)
    except MailIngestError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  its message may quote mail, its stack does not
        stack = stack_of(error)
        logger.error("unexpected %s in the audit of %s\n%s", type(error).__name__, account.account_id, stack)
        return f"unexpected {type(error).__name__}; the log has the stack"


def _audit_result(audits: Sequence[Audit], failed: dict[str, str]) -> dg.AssetCheckResult:
    drift, undecided = sum(audit.drift for audit in audits), sum(audit.undecided for audit in audits)
    rows = [
        (f"`{audit.account_id}`", audit.drift, audit.pending, audit.undecided, audit.units, "; ".join(audit.left_out))
        for audit in sorted(audits, key=lambda audit: -audit.drift)
    ]
    head = ("account", "drift", "changed since the last sync", "undecided", "units", "not reached")
    return dg.AssetCheckResult(
        passed=not drift and not undecided and not failed,
        severity=dg.AssetCheckSeverity.ERROR if drift else dg.AssetCheckSeverity.WARN,
        metadata={
            "drift": drift,
            "undecided": undecided,
            "accounts": len(audits),
            "accounts_failed": len(failed),
            "quota_units": sum(audit.units for audit in audits),
            "by_account": dg.MetadataValue.md(markdown_table(head, rows) if rows else "none"),
            "drifted": dg.MetadataValue.md(
                "\n".join(line for audit in audits if audit.drift for line in audit.lines()) or "none"
            ),
            "failures": dg.MetadataValue.md(
                "\n\n".join(f"`{account}`: {why}" for account, why in list(failed.items())[:10]) or "none"
            ),
        },
    )


def check_key(check: Check) -> dg.AssetCheckKey:
    """The claim alone: Dagster shows a check below its asset, so the table need not be named twice."""
    return dg.AssetCheckKey(asset_key(check.relation), check.claim)


def warehouse_checks() -> list[dg.AssetChecksDefinition]:
    """A check fails (or warns, as its file says) when its query returns rows. One step for each group of assets."""
    groups: dict[str, list[Check]] = {}
    for check in all_checks():
        groups.setdefault(_step_of(check), []).append(check)
    return [_step(name, checks) for name, checks in sorted(groups.items())]


def _step_of(check: Check) -> str:
    if not check.relation.startswith(f"{DATASET}."):
        return "analyst_checks"
    return "state_checks" if check.relation in _STATE else "content_checks"


def _step(name: str, checks: Sequence[Check]) -> dg.AssetChecksDefinition:
    by_key = {check_key(check): check for check in checks}

    @dg.multi_asset_check(name=name, specs=[_check_spec(check) for check in checks], can_subset=True)
    def run(context: dg.AssetCheckExecutionContext, mail_ingest: MailIngest) -> Iterator[dg.AssetCheckResult]:
        with mail_ingest.engine() as engine:
            selected = [by_key[key] for key in sorted(context.selected_asset_check_keys)]
            for check, broken in check_warehouse(engine, selected):
                yield _result(check, broken)

    return run


def _check_spec(check: Check) -> dg.AssetCheckSpec:
    blocking = "\n\nWhere it fails, nothing is built on the table." if check.is_blocking else ""
    return dg.AssetCheckSpec(
        check.claim,
        asset=asset_key(check.relation),
        description=(
            f"Catches {check.description}\n\nWhat to do: {check.remedy}{blocking}\n\n```sql\n{check.text}\n```"
        ),
        blocking=check.is_blocking,
    )


def _result(check: Check, broken: Broken) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=asset_key(check.relation),
        check_name=check.claim,
        passed=broken.rows == 0,
        severity=dg.AssetCheckSeverity.WARN if check.severity == "warn" else dg.AssetCheckSeverity.ERROR,
        metadata={"rows": broken.rows, "examples": "\n".join(broken.examples) or "none"},
    )
