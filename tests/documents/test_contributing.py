"""The recipes of CONTRIBUTING are code that runs, and each is held to the suite that it names."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedrec.data import readers
from fedrec.data.readers import READERS
from fedrec.tracking.tracker import TrackedRow
from simulations.attacks.cells import Setting, rare_target
from simulations.attacks.registry import Kind
from tests.contracts import test_codecs as codec_suite
from tests.fedrec.models import test_sequence as encoder_suite
from tests.simulations.attacks import test_attack_worlds as world_suite

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def recipe(title: str) -> dict[str, Any]:
    """Run the section's code; return its names."""
    section = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section is not None
    (block,) = re.findall(r"```python\n(.*?)```", section[1], re.DOTALL)
    names: dict[str, Any] = {"__name__": "recipe"}
    exec(compile(block, title, "exec"), names)
    names["lines"] = len(block.strip().splitlines())
    return names


def test_the_model_is_of_about_30_lines_and_keeps_to_what_every_encoder_does(monkeypatch: pytest.MonkeyPatch) -> None:
    found = recipe("A new model in 30 lines")
    assert found["lines"] <= 32
    monkeypatch.setattr(encoder_suite, "sequence_encoder", lambda config: found["DecayEncoder"](config.dim))
    encoder_suite.test_later_events_and_padding_change_no_earlier_state.hypothesis.inner_test("gru", 4, 1)
    encoder_suite.test_the_order_of_earlier_events_matters("gru")
    encoder_suite.test_an_untrained_encoder_is_silent("gru")


def test_the_codec_keeps_to_what_every_codec_does() -> None:
    codec = recipe("A new codec")["Brain"]()
    suite = codec_suite
    for seed, scale in ((0, 1.0), (1, 1e-9), (2, 1e4)):
        for test in (
            suite.test_an_encoding_has_the_names_shapes_and_dtypes_of_the_template,
            suite.test_what_is_decoded_has_the_names_shapes_and_dtypes_of_the_update,
        ):
            test.hypothesis.inner_test(codec, seed, scale)
    suite.test_zeros_stay_zeros(codec)
    suite.test_an_update_is_not_changed_by_being_encoded(codec)
    suite.test_a_state_without_tensors_has_an_encoding(codec)
    suite.test_what_is_not_finite_is_refused_by_name(codec, float("nan"))


def test_the_tracker_keeps_what_it_is_told(tmp_path: Path) -> None:
    tracker = recipe("A new tracker")["Table"](tmp_path / "table")
    tracker.begin("a run", {"run.seed": 3})
    tracker.log(TrackedRow(round=1, phase="final", values={"metrics/ndcg@10": 0.25, "epsilon": 0.75}))
    tracker.end({"metrics/hr@10": 0.5})
    assert tracker.path.read_text().splitlines() == [
        "# a run",
        "1\tfinal\tmetrics/ndcg@10\t0.25",
        "1\tfinal\tepsilon\t0.75",
        "end\tfinal\tmetrics/hr@10\t0.5",
    ]


def test_the_reader_reads_events_in_their_order_and_items_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = recipe("A new reader")["BARS"]
    monkeypatch.setattr(readers, "READERS", {**READERS, "bars": bars})
    (tmp_path / "mine.bars").write_text("u1|i2|30\nu2|i1|10\nu1|i1|20\n")
    (tmp_path / "items.csv").write_text("item_id,genre\ni1,Drama\ni2,Comedy\n")
    read = readers.read_interactions(tmp_path / "mine.bars", "bars")
    np.testing.assert_array_equal(read.log.timestamps, [30, 10, 20])
    assert readers.read_items(tmp_path / "items.csv", "bars").table.item_ids == ("i1", "i2")


def test_the_attack_has_power_where_nothing_is_done_and_none_under_the_growth_bound() -> None:
    attack = recipe("A new attack")["Shadow"]
    kind = Kind(goal="promote", source="CONTRIBUTING", granted="popularity", make=attack)
    target = rare_target(world_suite.factors().popularity, 4)

    def promoted(defence: str) -> float:
        rule = world_suite.TRIED[defence]
        setting = Setting(kind=kind, fraction=0.05, defence=rule, seed=4, target=target)
        return world_suite.factors().play(setting, looks=100).last.er

    assert promoted("none") >= 0.5
    assert promoted("growth") <= 0.1


def test_the_suites_that_are_named_are_there() -> None:
    named = set(re.findall(r"`((?:fedrec|tests|docs)/[\w/.]+)`", PAGE))
    assert len(named) > 12
    assert sorted(name for name in named if not (ROOT / name).exists()) == []
