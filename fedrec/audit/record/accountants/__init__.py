"""Accountants of the auditor's own: they share no code with the run, which counts with dp-accounting."""
