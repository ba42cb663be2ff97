"""The auditor: every invariant of the booking saga, checked against what is stored, published and traced."""

from saga.audit.audit import audit
from saga.audit.options import AuditOptions
from saga.audit.report import AuditReport, Checked, Violation

__all__ = ["AuditOptions", "AuditReport", "Checked", "Violation", "audit"]
