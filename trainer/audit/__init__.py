"""The audit: everything that a run's ledger says, derived again from chain and blobs alone."""

from trainer.audit.cursor import CursorError
from trainer.audit.report import AuditReport, Checked, Difference
from trainer.audit.whole import AuditOptions, audit

__all__ = ["AuditOptions", "AuditReport", "Checked", "CursorError", "Difference", "audit"]
