"""The audit: everything that a run's ledger says, derived again from chain and blobs alone."""

from trainer.audit.report import AuditReport, Checked, Difference
from trainer.audit.whole import audit

__all__ = ["AuditReport", "Checked", "Difference", "audit"]
