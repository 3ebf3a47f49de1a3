"""Scenarios by name, and the ones that come with fedrec."""

from pathlib import Path

import pytest

from fedrec.config.named import read_scenario
from fedrec.errors import ConfigError
from fedrec.privacy.planning.run import plan_run

FOLDER = Path(__file__).parents[2] / "simulations" / "scenarios"
NAMES = sorted(path.stem for path in FOLDER.glob("*.toml"))
PRESETS = sorted(path.stem for path in (FOLDER / "presets").glob("*.toml"))


def test_the_scenarios_that_the_documents_name_are_there():
    assert {"ml-100k", "synthetic", "tiny"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_scenario_is_valid_and_bears_its_file_name(name):
    assert read_scenario(name, []).run.name == name


@pytest.mark.parametrize("name", NAMES)
def test_every_scenario_can_be_run_without_privacy(name):
    assert not read_scenario(name, ["privacy.enabled=false"]).privacy.enabled


def test_a_file_is_read_by_its_path_and_overrides_apply_in_order(tmp_path):
    (tmp_path / "mine.toml").write_text('[run]\nname = "mine"\nseed = 1\n')
    scenario = read_scenario(str(tmp_path / "mine.toml"), ["run.seed=2", "run.seed=3"])
    assert (scenario.run.name, scenario.run.seed) == ("mine", 3)


def test_a_typo_in_the_name_gets_the_nearest_name_and_the_list():
    with pytest.raises(ConfigError, match=r"did you mean 'ml-100k'\? Known: .*tiny"):
        read_scenario("ml100k", [])


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("scenario", ["ml-100k", "movietweetings", "tiny"])
def test_every_preset_can_be_laid_over_a_scenario_and_is_planned_within_its_epsilon(scenario, name):
    chosen = read_scenario(scenario, [], name)
    epsilon = float(name.removeprefix("epsilon-"))
    plan = plan_run(chosen.privacy, chosen.played, 943)
    assert chosen.privacy.enabled
    assert (plan.epsilon_budget, plan.delta) == (epsilon, pytest.approx(943**-1.1))
    assert plan.popularity is not None
    assert 0.98 * epsilon <= plan.epsilon_after() <= epsilon


def test_what_is_set_by_hand_wins_over_a_preset_which_wins_over_the_scenario():
    chosen = read_scenario("ml-100k", ["model.head_items=77"], "epsilon-4")
    assert (chosen.model.head_items, chosen.training.rounds, chosen.data.source) == (77, 0, "ml-100k")


def test_a_preset_without_privacy_or_by_an_unknown_name_is_refused():
    with pytest.raises(ConfigError, match="a preset is of a run under a budget"):
        read_scenario("tiny", ["privacy.enabled=false"], "epsilon-4")
    with pytest.raises(ConfigError, match=r"unknown preset 'epsilon4'; did you mean 'epsilon-4'\? Known: epsilon-1"):
        read_scenario("tiny", [], "epsilon4")
