"""Level 1 of an audit: what is written down, taken at nobody's word. Ledgers are read and epsilon is computed anew."""

from fedrec.audit.record.record import BurnDown, RecordAudit, RecordClaim, ReleaseKind, record_findings

__all__ = ["BurnDown", "RecordAudit", "RecordClaim", "ReleaseKind", "record_findings"]
