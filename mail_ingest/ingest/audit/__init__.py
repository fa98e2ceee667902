"""Audits: whether the warehouse and the raw archive still hold what the mailbox and the last sync say. Reads only."""

from __future__ import annotations

from mail_ingest.ingest.audit.report import Audit
from mail_ingest.ingest.audit.run import AuditOptions, audit_account

__all__ = ["Audit", "AuditOptions", "audit_account"]
