"""One asset check per file in `sql/checks`."""

import dagster as dg

from mail_ingest.defs.resources import MailIngest
from mail_ingest.defs.specs import asset_key
from mail_ingest.warehouse.marts import Check, load_checks, run_check


def sql_checks() -> list[dg.AssetChecksDefinition]:
    """A check fails (or warns, as its file says) when its query returns rows."""
    return [_check(check) for check in load_checks()]


def _check(check: Check) -> dg.AssetChecksDefinition:
    severity = dg.AssetCheckSeverity.WARN if check.severity == "warn" else dg.AssetCheckSeverity.ERROR

    @dg.asset_check(
        asset=asset_key(check.relation),
        name=check_name(check),
        description=f"Catches {check.description}\n\n```sql\n{check.text}\n```",
    )
    def run(mail_ingest: MailIngest) -> dg.AssetCheckResult:
        with mail_ingest.engine() as engine, engine.warehouse.open() as connection:
            broken, examples = run_check(connection, check)
        return dg.AssetCheckResult(
            passed=broken == 0,
            severity=severity,
            metadata={"rows": broken, "examples": "\n".join(examples) or "none"},
        )

    return run


def check_name(check: Check) -> str:
    """The claim alone: Dagster shows a check below its asset, so the table need not be named twice."""
    return check.name.split("__", 1)[1]
