"""``audit.json``: stable, strict, and never better than its checks."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from fedrec.audit.findings import Findings
from fedrec.audit.report.record import AuditReport, schema_text, verdict_of
from tests.fedrec.audit.example_reports import NOT_RUN, PASSED, VIOLATED, WARNED, example, violated

SCHEMA = Path(__file__).resolve().parents[3] / "docs" / "audit-schema.json"


def test_the_schema_in_the_documents_is_that_of_the_code():
    assert SCHEMA.read_text("utf-8") == schema_text(), f"write it anew: python -m fedrec.audit.report > {SCHEMA}"


@pytest.mark.parametrize("report", [example(), violated()])
def test_a_report_reads_back_as_it_was_written(report):
    assert AuditReport.model_validate_json(report.to_json()) == report
    assert json.loads(report.to_json())["schema"] == 1


def test_the_fields_of_the_first_schema_are_all_there():
    assert list(json.loads(example().to_json())) == [
        "schema", "subject", "created", "fedrec", "code", "claims", "verdict", "checks", "bounds", "attacks",
        "not_tested", "unfinished", "significance", "confidence", "tests", "false_alarm", "levels", "quick", "seconds",
        "seed", "repeat", "head", "entries",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"checks": (PASSED, VIOLATED)},
        {"verdict": "violation found"},
        {"verdict": "private"},
        {"checks": (NOT_RUN, WARNED)},
        {"checks": ()},
        {"schema": 2},
        {"surprise": 1},
    ],
)
def test_a_report_that_contradicts_itself_is_refused(changes):
    with pytest.raises(ValidationError):
        example(**changes)


@pytest.mark.parametrize(
    ("checks", "verdict"),
    [
        ((PASSED, WARNED), "no violation found"),
        ((PASSED, VIOLATED), "violation found"),
        ((NOT_RUN, WARNED), "nothing to audit"),
        ((), "nothing to audit"),
    ],
)
def test_a_verdict_is_never_better_than_the_checks(checks, verdict):
    assert verdict_of(Findings(checks=checks)) == verdict


def test_infinity_and_nan_are_refused_and_not_written_as_something_else():
    with pytest.raises(ValidationError):
        example(seconds=float("nan"))
