"""Scenarios by name, and the ones that come with fedrec."""

import pytest

from fedrec.cli.scenarios import fresh_run_folder, read_scenario, scenario_names
from fedrec.errors import ConfigError


def test_the_scenarios_that_the_documents_name_are_there():
    assert {"ml-100k", "synthetic", "tiny"} <= set(scenario_names())


@pytest.mark.parametrize("name", scenario_names())
def test_every_scenario_is_valid_and_bears_its_file_name(name):
    assert read_scenario(name, []).run.name == name


@pytest.mark.parametrize("name", scenario_names())
def test_every_scenario_can_be_run_without_privacy(name):
    assert not read_scenario(name, ["privacy.enabled=false"]).privacy.enabled


def test_a_file_is_read_by_its_path_and_overrides_apply_in_order(tmp_path):
    (tmp_path / "mine.toml").write_text('[run]\nname = "mine"\nseed = 1\n')
    scenario = read_scenario(str(tmp_path / "mine.toml"), ["run.seed=2", "run.seed=3"])
    assert (scenario.run.name, scenario.run.seed) == ("mine", 3)


def test_a_typo_in_the_name_gets_the_nearest_name_and_the_list():
    with pytest.raises(ConfigError, match=r"did you mean 'ml-100k'\? Known: .*tiny"):
        read_scenario("ml100k", [])


def test_two_runs_started_one_after_the_other_have_two_folders():
    assert fresh_run_folder("a") != fresh_run_folder("a")
