"""What is read off an audit of a record, and lines of a ledger to forge."""

import json

from fedrec.audit.record import record_findings


def lines_of(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def verdicts(audit):
    """The worst verdict by name of check."""
    worst = ["passed", "not run", "warned", "violated"]
    found = {}
    for check in audit.findings.checks:
        found[check.name] = max(found.get(check.name, "passed"), check.verdict, key=worst.index)
    return found


def violations(path, **given):
    return {check.name: check.found for check in record_findings(path, **given).findings.violations}


def charges(lines):
    return [line for line in lines if line["kind"] == "charge"]


def reforge(run, forge, change):
    path = run / "ledger.jsonl"
    lines = lines_of(path)
    change(lines)
    forge(path, lines)


def set_mechanism(**values):
    def change(lines):
        for line in charges(lines):
            line["mechanism"].update(values)

    return change


def set_event(**values):
    def change(lines):
        for line in charges(lines):
            line["event"].update(values)

    return change


def set_line(**values):
    def change(lines):
        for line in charges(lines):
            line.update(values)

    return change


def other_setting(old, new):
    def change(run):
        path = run / "config.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change
