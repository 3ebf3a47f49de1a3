"""Which runs the page is made of, and what each is told."""

import pytest

from fedrec.config.named import read_scenario
from fedrec.errors import ConfigError
from simulations.benches.quality.matrix import DATA, FOLDS, PRESETS, cells


def test_each_data_set_has_the_variants_that_apply_to_it(tmp_path):
    found = list(cells(read_scenario, DATA, [], [0, 1]))
    names = {data: [cell.name for cell in found if cell.data == data] for data in DATA}

    everywhere = [
        f"{variant}-{seed}" for variant in ("fusion", "central", "trio", "cf", "mf", "seq") for seed in (0, 1)
    ]
    alone = [f"{variant}-{seed}" for variant in ("with-dp", "cold-items", *FOLDS) for seed in (0, 1)]
    private = [f"dp-{epsilon}-{seed}" for epsilon in (1, 2, 4, 8) for seed in (0, 1)]
    assert names["amazon-toys"] == everywhere
    assert names["movietweetings"] == [*everywhere, *private]
    assert names["ml-100k"][: len(everywhere)] == everywhere
    assert set(names["ml-100k"]) >= {
        *alone,
        *private,
        "lstm-hybrid-0",
        "sasrec-private-1",
        "tasks-learned-0",
        "ratings-alone-1",
    }
    assert found[0].folder(tmp_path) == tmp_path / "ml-100k" / "fusion-0"


def test_a_variant_is_told_what_its_name_says():
    told = {cell.variant: cell.scenario for cell in cells(read_scenario, ["ml-100k"], [], [3])}

    assert {one.run.seed for one in told.values()} == {3}
    assert {name for name, one in told.items() if one.privacy.enabled} == {"with-dp", *PRESETS}
    assert [told[name].privacy.epsilon for name in PRESETS] == [1.0, 2.0, 4.0, 8.0]
    assert told["dp-4"].model.members == ("nearby", "content", "recent-popularity")
    assert (told["mf"].model.branches, told["mf"].model.members) == (("mf",), ())
    assert (told["trio"].model.branches, told["trio"].model.members) == (told["fusion"].model.branches, ())
    assert told["central"] == told["fusion"]
    assert told["fusion"].model.members
    assert (told["cnn-hybrid"].model.sequence_encoder, told["cnn-hybrid"].model.sequence_scope) == ("cnn", "hybrid")
    assert told["tasks-fixed"].model.rating_head
    assert told["ratings-alone"].training.local.loss == "mse"
    assert (told["cold-items"].data.split, told["cold-items"].model.id_dropout) == ("cold-items", 0.3)
    assert [(told[name].data.user_folds, told[name].data.user_fold) for name in FOLDS] == [(5, n) for n in range(5)]


def test_a_part_of_the_matrix_is_named_by_hand_with_settings_of_all_its_runs():
    (cell,) = cells(read_scenario, ["./simulations/scenarios/tiny.toml"], ["neumf"], [0], ["model.dim=4"])

    assert (cell.data, cell.name) == ("tiny", "neumf-0")
    assert (cell.scenario.model.branches, cell.scenario.model.dim) == (("neumf",), 4)
    assert [cell.variant for cell in cells(read_scenario, DATA, ["with-dp"], [0])] == ["with-dp"]


def test_an_unknown_variant_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match="no variant 'fused' of a quality run: take fusion, central, trio"):
        list(cells(read_scenario, DATA, ["fused"], [0]))
