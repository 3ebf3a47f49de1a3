import pytest

from fedrec.evaluation.protocol import RankingRules, protocol_fingerprint


def test_the_same_split_and_rules_have_the_same_fingerprint():
    assert protocol_fingerprint("abc") == protocol_fingerprint("abc", RankingRules())


@pytest.mark.parametrize("rules", [RankingRules(ties="by item id"), RankingRules(seen="not masked")])
def test_other_rules_have_another_fingerprint(rules):
    assert protocol_fingerprint("abc", rules) != protocol_fingerprint("abc")


def test_another_split_has_another_fingerprint():
    assert protocol_fingerprint("abd") != protocol_fingerprint("abc")
