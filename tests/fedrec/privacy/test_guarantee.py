import pytest

from fedrec.privacy.guarantee import INTERACTION_LEVEL, USER_LEVEL, Guarantee


@pytest.mark.parametrize("field", ["unit", "adjacency", "adversary"])
def test_a_word_that_is_not_defined_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} must be one of .* got 'everything'"):
        Guarantee(**{field: "everything"})


def test_the_default_claim_is_one_users_whole_data_against_the_models_receivers() -> None:
    assert str(USER_LEVEL) == "user, add-or-remove-one, broadcast"
    assert Guarantee() == USER_LEVEL != INTERACTION_LEVEL


@pytest.mark.parametrize("guarantee", [USER_LEVEL, INTERACTION_LEVEL])
def test_a_claim_is_told_with_unit_adjacency_adversary_and_assumptions(guarantee: Guarantee) -> None:
    assert guarantee.unit in guarantee.unit_text
    assert guarantee.unit in guarantee.adjacency_text
    assert guarantee.adversary in guarantee.adversary_text
    assert any("Poisson" in assumption for assumption in guarantee.assumptions)
