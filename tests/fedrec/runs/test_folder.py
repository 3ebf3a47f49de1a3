import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fedrec.config import Scenario, known_keys, load_scenario, parse_scenario
from fedrec.errors import ConfigError, DataError
from fedrec.runs.folder import RunFolder, fresh_run_folder

plain_text = st.text(st.characters(exclude_categories=["Cs"]))
scenarios = st.builds(
    lambda name, source, ks, delta, seed, interaction: parse_scenario(
        {
            "run": {"name": name},
            "data": {"source": source},
            "evaluation": {"ks": ks},
            "privacy": {"delta": delta, "noise_seed": seed, "interaction": interaction},
            "training": {"popularity_start": interaction is None},
        }
    ),
    name=plain_text,
    source=plain_text,
    ks=st.lists(st.integers(1, 9), max_size=4).map(lambda others: [10, *others]),
    delta=st.floats(1e-300, 0.5),
    seed=st.none() | st.integers(0, 2**62),
    interaction=st.none() | st.just({"noise_multiplier": 1.5}),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(scenario=scenarios)
def test_any_scenario_is_read_back_as_it_was(tmp_path_factory, scenario):
    folder = RunFolder.create(tmp_path_factory.mktemp("runs") / "run", scenario)

    assert load_scenario(folder.config_path) == scenario
    assert RunFolder.open(folder.path).scenario() == scenario


def test_a_run_from_before_noise_could_be_left_out_says_nothing_of_it(folder):
    written = folder.config_path.read_text("utf-8")
    folder.config_path.write_text(written.replace("[privacy]\n", "[privacy]\nnoise_multiplier = 0.0\n"))
    assert folder.scenario().privacy.noise_multiplier is None


def test_the_config_names_every_key_that_has_a_value_with_its_default_filled_in(folder):
    text = folder.config_path.read_text()

    without_value = {"data.items", "data.images", "model.recency_end", "privacy.noise_seed"}
    solved = ("adjacency", "adversary", "amplification", "noise_multiplier", "population_epsilon")
    without_value |= {f"privacy.{name}" for name in solved} | {"model.statistic_shares", "model.mixing_weights"}
    bounds = ("preset", "clip_norm", "row_clip_norm", "items_clip_norm", "aggregate_row_norm", "growth")
    without_value |= {f"robustness.{name}" for name in bounds}
    for key in known_keys():
        name = key.rsplit(".", 1)[-1]
        if key not in without_value and not key.startswith("privacy.interaction"):
            assert f"\n{name} = " in text, key


def test_a_folder_that_holds_something_is_not_written_over(folder):
    before = folder.config_path.read_text()

    with pytest.raises(ConfigError, match="exists and is not empty: name another folder with --out, or remove it"):
        RunFolder.create(folder.path, Scenario(run={"name": "other"}))

    assert folder.config_path.read_text() == before


def test_an_empty_folder_may_become_a_run(tmp_path):
    assert RunFolder.create(tmp_path, Scenario()).config_path.exists()


def test_a_file_is_no_place_for_a_run(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="not empty"):
        RunFolder.create(tmp_path / "file", Scenario())


def test_a_folder_without_config_is_no_run(tmp_path):
    with pytest.raises(ConfigError, match=r"is not a run: it has no config\.toml; name a folder"):
        RunFolder.open(tmp_path)


def row(round, phase="final", **more):
    return {"round": round, "phase": phase, **more}


def test_rows_of_metrics_come_back_in_order(folder):
    rows = [row(0, "selection", metrics={"hr@10": 0.1}), row(1, epsilon=0.5, cohort=3), row(2, fusion={"cf": 1.0})]
    for each in rows:
        folder.append_metrics(each)

    assert folder.metrics() == rows


def test_a_resumed_runs_repeated_round_counts_once_as_written_last(folder):
    for each in [row(1, seconds=1.0), row(2, seconds=2.0), row(2, seconds=3.0)]:
        folder.append_metrics(each)

    assert folder.metrics() == [row(1, seconds=1.0), row(2, seconds=3.0)]


def test_no_rows_is_no_error(folder):
    assert folder.metrics() == []


def test_a_line_torn_by_a_crash_is_not_read_and_not_built_upon(folder):
    folder.append_metrics(row(1))
    with folder.metrics_path.open("a") as file:
        file.write('{"round": 2, "pha')

    assert folder.metrics() == [row(1)]
    folder.append_metrics(row(2))
    assert folder.metrics() == [row(1), row(2)]


@pytest.mark.parametrize("bad", [row(-1), row(1, "test"), row(1, losses=3), row(1, metrics={"hr@10": float("nan")})])
def test_what_is_not_a_row_is_not_written(folder, bad):
    with pytest.raises(ValidationError):
        folder.append_metrics(bad)

    assert not folder.metrics_path.exists()


def test_a_damaged_row_is_named_by_file_and_line(folder):
    folder.append_metrics(row(1))
    with folder.metrics_path.open("a") as file:
        file.write("nonsense\n")

    with pytest.raises(DataError, match=r"metrics\.jsonl, line 2 is not a row of metrics"):
        folder.metrics()


def test_a_summary_is_read_back(folder, summary):
    folder.write_summary(summary)

    assert folder.summary() == summary
    assert json.loads(folder.summary_path.read_text())["metrics"]["hr@10"] == 0.112


def test_a_run_that_has_not_ended_has_no_summary(folder):
    with pytest.raises(ConfigError, match=r"has no summary\.json: the run has not ended"):
        folder.summary()


@pytest.mark.parametrize(("text", "complaint"), [("{", "not valid JSON"), ('{"schema_version": 7}', "schema_version")])
def test_a_damaged_summary_is_named(folder, text, complaint):
    folder.summary_path.write_text(text)

    with pytest.raises(DataError, match=rf"summary\.json.*{complaint}"):
        folder.summary()


def test_per_user_values_are_read_back_without_pickle(folder, result):
    folder.write_per_user({"model": result, "dp-popularity": result})

    found = folder.per_user()

    assert list(found) == ["model", "dp-popularity"]
    np.testing.assert_array_equal(found["model"].users, result.users)
    assert found["model"].means() == result.means()


def test_missing_per_user_values_are_an_error_that_says_why(folder):
    with pytest.raises(ConfigError, match=r"has no per_user\.npz: the run has not ended"):
        folder.per_user()


@pytest.mark.parametrize("content", [b"", b"not a zip file", b"PK\x03\x04 torn"])
def test_damaged_per_user_values_are_named(folder, result, content):
    folder.write_per_user({"model": result})
    folder.per_user_path.write_bytes(content)

    with pytest.raises(DataError, match=r"per_user\.npz is damaged"):
        folder.per_user()


def test_two_runs_started_one_after_the_other_have_two_folders():
    assert fresh_run_folder("a") != fresh_run_folder("a")
