from fedrec.audit.findings import SIGNIFICANCE, Check, Findings, Level


def check(name: str, verdict: str = "passed", tests: int = 0) -> Check:
    return Check(level=Level.RECORD, name=name, asks="Does it?", verdict=verdict, found="It does.", tests=tests)


def test_findings_add_up_and_keep_their_violations():
    together = Findings(checks=(check("a"), check("b", "violated"))) + Findings(checks=(check("c", "warned"),))
    assert [one.name for one in together.checks] == ["a", "b", "c"]
    assert [one.name for one in together.violations] == ["b"]


def test_the_false_alarm_rate_is_the_sum_over_all_tests():
    together = Findings(checks=(check("a", tests=3), check("b", tests=5), check("c")))
    assert together.false_alarm == 8 * SIGNIFICANCE
