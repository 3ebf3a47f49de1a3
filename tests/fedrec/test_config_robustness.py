import pytest
from pydantic import ValidationError

from fedrec.config import RobustnessConfig, Scenario

ROBUST = ("trimmed-mean", "median", "krum", "multi-krum", "geometric-median")


def scenario(placement: str | None, **robustness: object) -> Scenario:
    privacy: dict[str, object] = {"enabled": placement is not None}
    if placement is not None:
        privacy["placement"] = placement
    if placement == "distributed":
        privacy["noise"] = "skellam"
    return Scenario.model_validate({"privacy": privacy, "robustness": robustness})


@pytest.mark.parametrize("placement", ["central", "distributed"])
@pytest.mark.parametrize("rule", ROBUST)
def test_noise_for_a_sum_takes_no_rule_that_chooses(placement: str, rule: str) -> None:
    with pytest.raises(ValidationError, match=r"no bounded sum.*privacy\.placement=device"):
        scenario(placement, rule=rule)


@pytest.mark.parametrize("placement", ["central", "distributed"])
def test_noise_for_a_sum_takes_no_minimum_of_supporters(placement: str) -> None:
    with pytest.raises(ValidationError, match=r"supporters=5.*bring a row to life"):
        scenario(placement, supporters=5)


def test_replies_that_are_summed_unseen_are_not_weighed() -> None:
    with pytest.raises(ValidationError, match="owner_quota"):
        scenario("distributed", owner_share=0.1)


@pytest.mark.parametrize("placement", [None, "device"])
@pytest.mark.parametrize("rule", ROBUST)
def test_what_each_device_has_made_private_may_be_aggregated_in_any_way(placement: str | None, rule: str) -> None:
    assert scenario(placement, rule=rule, supporters=5, owner_share=0.1).robustness.rule == rule


def test_caps_and_growth_go_with_central_noise() -> None:
    found = scenario("central", owner_share=0.1, growth=1.2)
    assert found.robustness.growth == 1.2


@pytest.mark.parametrize(
    "wrong", [{"liars": 0.5}, {"liars": -0.1}, {"growth": 0.5}, {"growth": "nan"}, {"clip_norm": 0}, {"supporters": -1}]
)
def test_nonsense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RobustnessConfig.model_validate(wrong)


def test_the_guarded_preset_fills_what_is_not_set_and_leaves_what_is() -> None:
    config = RobustnessConfig.model_validate({"preset": "guarded", "growth": None, "clip_norm": 9.0})
    assert (config.growth, config.clip_norm) == (None, 9.0)
    assert config.items_clip_norm == RobustnessConfig.guarded().items_clip_norm is not None
    assert RobustnessConfig.model_validate(config.model_dump(exclude_none=True)) == config  # as files keep it
    assert RobustnessConfig().row_clip_norm is None
