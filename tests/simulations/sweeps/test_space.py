"""What a search may vary, and the one sentence that says why not."""

import pytest

from fedrec.config import Scenario
from fedrec.errors import ConfigError
from simulations.sweeps.space import Choices, Range, read_space, with_values


def read(tmp_path, text):
    path = tmp_path / "space.toml"
    path.write_text(text)
    return read_space(path, Scenario())


def test_keys_in_one_piece_and_nested_tables_mean_the_same(tmp_path):
    quoted = read(tmp_path, '"training.local.learning_rate" = { low = 0.1, high = 2, log = true }')
    nested = read(tmp_path, "[training.local]\nlearning_rate = { low = 0.1, high = 2, log = true }")
    assert quoted == nested == (Range(key="training.local.learning_rate", low=0.1, high=2, log=True, whole=False),)


def test_whole_numbers_are_those_of_whole_settings(tmp_path):
    space = read(tmp_path, "model.dim = { low = 4, high = 64 }\nmodel.dropout = { low = 0, high = 0.5 }")
    assert [parameter.whole for parameter in space] == [True, False]


def test_choices_may_be_lists(tmp_path):
    (space,) = read(tmp_path, 'model.branches = { choices = [["mf"], ["cf", "mf"]] }')
    assert space == Choices(key="model.branches", values=(["mf"], ["cf", "mf"]))
    assert with_values(Scenario(), {space.key: space.values[1]}).model.branches == ("cf", "mf")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("training.local.learning_rte = { low = 1, high = 2 }", "training.local.learning_rate"),
        ("modle.dim = { low = 1, high = 2 }", "model.dim"),
        ("model.dim = { low = 0, high = 8 }", "greater than or equal to 1"),
        ("model.dim = { low = 8, high = 2 }", "low < high"),
        ("model.dropout = { low = 0, high = 0.5, log = true }", "above 0"),
        ("model.item_embeddings = { low = 0, high = 1 }", "model.item_embeddings"),
        ("training.local.loss = { choices = ['softmax', 'hinge'] }", "training.local.loss"),
        ("training.local.loss = { choices = [] }", "different values"),
        ("model.dim = 8", "{low, high}"),
        ("run.seed = { low = 0, high = 9 }", "cannot be compared"),
        ("data.k_core = { low = 0, high = 9 }", "cannot be compared"),
        ("privacy.epsilon = { low = 1, high = 9 }", "cannot be compared"),
        ("", "names no key"),
        ("model.dim =", "not valid TOML"),
    ],
)
def test_what_cannot_be_searched_is_refused_by_name(tmp_path, text, said):
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, text)
    assert said in str(refused.value)
    assert "space.toml" in str(refused.value)


def test_how_updates_are_encoded_may_be_searched(tmp_path):
    assert read(tmp_path, "federation.codec.rank = { low = 2, high = 8 }")


def test_a_value_that_only_goes_with_others_is_no_mistake(tmp_path):
    assert read(tmp_path, "training.local.loss = { choices = ['softmax', 'mse'] }")
    with pytest.raises(ConfigError, match="popularity_start"):
        with_values(Scenario(), {"training.local.loss": "mse"})
