"""Data at rest: logs, readers, item tables, splits, a synthetic population."""
