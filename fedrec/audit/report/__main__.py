"""``python -m fedrec.audit.report`` prints the JSON Schema of ``audit.json``, as ``docs/audit-schema.json`` has it."""

import sys

from fedrec.audit.report.record import schema_text

sys.stdout.write(schema_text())
