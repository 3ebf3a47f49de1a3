"""What trackers may be told: an allow-list of aggregates, nothing of one user, nothing of where things lie."""

import math

from fedrec.config import known_keys, parse_scenario
from fedrec.tracking.tracker import plain_name, tracked_config, tracked_row


def test_only_numbers_that_are_known_aggregates_pass():
    row = {
        "round": 3,
        "phase": "final",
        "epsilon": 0.5,
        "cohort": 17,
        "seconds": math.nan,
        "metrics": {"ndcg@10": 0.1, "user 17": 1.0, "u17": 1.0, "hr@10": [0.0, 1.0]},
        "fusion": {"recent-popularity": 0.4},
        "users": [1, 2],
        "histories": {"alice": 3.0},
    }
    seen = tracked_row(row)
    assert (seen.round, seen.phase) == (3, "final")
    assert seen.values == {"epsilon": 0.5, "metrics/ndcg@10": 0.1, "fusion/recent-popularity": 0.4}


def test_metrics_can_be_held_back():
    row = {"round": 1, "phase": "final", "metrics": {"ndcg@10": 0.1}, "fusion": {"cf": 1.0}}
    assert set(tracked_row(row, measured=False).values) == {"fusion/cf"}


def test_settings_are_the_scenarios_without_paths():
    scenario = parse_scenario({"data": {"source": "/home/alice/ratings"}, "federation": {"ray_address": "10.0.0.1:9"}})
    config = tracked_config(scenario)
    assert set(config) <= set(known_keys())
    assert config["data.source"] == "ratings"
    assert config["model.branches"] == ", ".join(scenario.model.branches)
    assert not any("alice" in str(value) or "/" in str(value) for value in config.values())


def test_names_are_written_in_letters_that_all_take():
    assert plain_name("metrics/ndcg@10") == "metrics/ndcg_at_10"
