"""The report of an audit: ``audit.json`` for machines and ``audit.html`` for people."""
