"""Scenarios: defaults, overrides, and what a typo gets."""

import tomllib
from pathlib import Path

import pytest

from fedrec.config import Scenario, known_keys, load_scenario, parse_scenario
from fedrec.errors import ConfigError

SCENARIOS = Path(__file__).parents[2] / "simulations" / "scenarios"


def test_an_empty_table_is_a_scenario_with_every_default() -> None:
    assert parse_scenario({}) == Scenario()


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.toml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("enabled", ["true", "false"])
def test_every_shipped_scenario_is_valid_with_and_without_privacy(path: Path, enabled: str) -> None:
    assert load_scenario(path, [f"privacy.enabled={enabled}"]).run.name == path.stem


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7", 7), ("1e-6", 1e-6)],
)
def test_an_override_is_read_as_toml(text: str, expected: float) -> None:
    assert parse_scenario({}, [f"privacy.epsilon={text}"]).privacy.epsilon == expected


def test_an_override_that_is_no_toml_is_a_string_and_none_is_none() -> None:
    scenario = parse_scenario({"privacy": {"noise_seed": 3}}, ["data.source=ml-100k", "privacy.noise_seed=none"])
    assert scenario.data.source == "ml-100k"
    assert scenario.privacy.noise_seed is None


def test_later_overrides_win() -> None:
    assert parse_scenario({}, ["run.seed=1", "run.seed=2"]).run.seed == 2


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["training.ronds=3"], r"unknown key 'training.ronds'; did you mean 'training.rounds'"),
        (["privacy.dleta=3"], r"did you mean 'privacy.delta'"),
        (["epsilon=3"], r"unknown key 'epsilon'; did you mean 'privacy.epsilon'"),
        (["training.rounds=many"], r"training.rounds: .*got 'many'"),
        (["privacy.epsilon=-1"], r"privacy.epsilon: .*greater than 0"),
        (["training.rounds"], r"not of the form section.key=value"),
        (["run.seed=1", "run.seed.deep=1"], r"'seed' is a value, not a section"),
        (["run.name.deep=1"], r"run.name"),
        (["model.branches=['cf','cf']"], r"at most once"),
    ],
)
def test_a_bad_override_names_the_key_and_the_remedy(overrides: list[str], match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        parse_scenario({}, overrides)
    assert "\n" not in str(caught.value)


def test_a_file_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("[run\n")
    with pytest.raises(ConfigError, match=r"bad\.toml is not valid TOML"):
        load_scenario(path)
    with pytest.raises(ConfigError, match=r"missing\.toml does not exist"):
        load_scenario(tmp_path / "missing.toml")


CONDITIONAL = {
    "training": {"rounds": 60},
    "model": {"dim": 64, "dropout": 0.4},
    "with_privacy": {"training": {"rounds": 12}, "model": {"dim": 16}},
}


def test_settings_for_privacy_hold_only_where_privacy_is_enabled() -> None:
    private, plain = (parse_scenario(CONDITIONAL, [f"privacy.enabled={value}"]) for value in ("true", "false"))
    assert (private.training.rounds, private.model.dim, private.model.dropout) == (12, 16, 0.4)
    assert (plain.training.rounds, plain.model.dim) == (60, 64)


def test_an_override_by_hand_wins_over_settings_for_privacy() -> None:
    assert parse_scenario(CONDITIONAL, ["training.rounds=5"]).training.rounds == 5


def test_a_typo_in_settings_for_privacy_is_refused_too() -> None:
    with pytest.raises(ConfigError, match=r"training.ronds"):
        parse_scenario({"with_privacy": {"training": {"ronds": 12}}})


def test_choosing_rounds_on_held_out_events_is_refused_under_privacy() -> None:
    with pytest.raises(ConfigError, match=r"selection.enabled.*without noise"):
        parse_scenario({}, ["selection.enabled=true"])
    assert parse_scenario({}, ["selection.enabled=true", "privacy.enabled=false"]).selection.enabled


def test_noise_is_seeded_from_the_system_unless_asked_otherwise() -> None:
    assert parse_scenario({}).noise_seed is None
    assert parse_scenario({}, ["privacy.noise_seed=run", "run.seed=9"]).noise_seed == 9
    assert parse_scenario({}, ["privacy.noise_seed=4", "run.seed=9"]).noise_seed == 4


def test_known_keys_are_exactly_those_a_filled_scenario_has() -> None:
    def leaves(table: dict[str, object], prefix: str = "") -> set[str]:
        found: set[str] = set()
        for key, value in table.items():
            table_of = isinstance(value, dict) and value  # an empty one is a setting without entries
            found |= leaves(value, f"{prefix}{key}.") if table_of else {prefix + key}
        return found

    filled = parse_scenario({"privacy": {"interaction": {}}, "training": {"popularity_start": False}}).model_dump()
    assert set(known_keys()) == leaves(filled)


@pytest.mark.parametrize("setting", ["loss=bce", "epochs=2", "optimizer=adam", "proximal=0.1"])
def test_the_interaction_layer_is_refused_beside_training_that_it_does_not_do(setting: str) -> None:
    table = {"privacy": {"interaction": {}}, "training": {"popularity_start": False}}
    with pytest.raises(ConfigError, match="trains by DP-SGD of its own"):
        parse_scenario(table, [f"training.local.{setting}"])


@pytest.mark.parametrize("branch", ["siamese", "neumf", "autoencoder"])
def test_the_interaction_layer_is_refused_for_branches_whose_gradients_a_sample_are_not_proven(branch: str) -> None:
    table = {"privacy": {"interaction": {}}, "training": {"popularity_start": False}}
    with pytest.raises(ConfigError, match=f"not proven for {branch}: leave"):
        parse_scenario(table, [f"model.branches=['mf', '{branch}']"])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.popularity_start=true", "item counts"),
        ("training.evaluation_share=0.1", "ranks"),
        ("training.local.private_start=ridge", "noise on the private parameters too"),
        ("training.local.private_start=rebuilt", "noise on the private parameters too"),
        ("privacy.interaction.private_noise=false", "contradicts the unit"),
        ("model.rating_head=true", "no ratings"),
        ("model.id_dropout=0.1", "no id embeddings"),
    ],
)
def test_the_interaction_layer_is_refused_where_something_would_be_sent_without_its_noise(
    setting: str, said: str
) -> None:
    table = {"privacy": {"interaction": {}}, "training": {"popularity_start": False}}
    with pytest.raises(ConfigError, match=said):
        parse_scenario(table, [setting])


def test_steps_and_epochs_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="leave one out"):
        parse_scenario({}, ["training.local.steps=3", "training.local.epochs=1"])


def test_the_closed_form_needs_the_branch_that_it_solves_for() -> None:
    with pytest.raises(ConfigError, match="ridge"):
        parse_scenario({}, ["training.local.private_start=ridge", "model.branches=['cf']"])


def test_ratings_are_not_predicted_from_a_bias_of_counts() -> None:
    with pytest.raises(ConfigError, match="popularity_start=false"):
        parse_scenario({}, ["training.local.loss=mse"])


def test_none_can_be_asked_for_by_name() -> None:
    table = {"federation": {"codec": {"name": "int8"}}}
    asked = parse_scenario(table, ["federation.codec.name=none", "privacy.correlation=none"])
    assert (asked.federation.codec.name, asked.privacy.correlation) == ("none", "none")


@pytest.mark.parametrize("setting", ["model.rating_head=false", "training.local.loss=mse"])
def test_weights_of_two_tasks_are_not_learned_for_one(setting: str) -> None:
    table = {"model": {"rating_head": True}, "training": {"local": {"task_weights": "uncertainty"}}}
    with pytest.raises(ConfigError, match="task_weights=uncertainty weighs two tasks"):
        parse_scenario(table, [setting])


def test_a_rating_scale_rises() -> None:
    with pytest.raises(ConfigError, match="rating_scale must be two rising numbers"):
        parse_scenario({}, ["model.rating_scale=[5, 1]"])


def test_the_real_data_sets_have_the_same_settings():
    """What was chosen on one data set is used unchanged on the others.

    But for where they are, how delta is set, and what is declared of where settings were chosen.
    """
    tables = {name: tomllib.loads((SCENARIOS / f"{name}.toml").read_text()) for name in REAL}
    for table in tables.values():
        del table["run"], table["data"], table["evaluation"], table["privacy"]["delta"]
        table["privacy"].pop("tuning", None)
    assert tables["movietweetings"] == tables["ml-100k"]
    assert tables["amazon-toys"] == tables["ml-100k"]


REAL = ("ml-100k", "movietweetings", "amazon-toys")


@pytest.mark.parametrize("rounds", ["training.ials_rounds=2", "training.fusion_rounds=2"])
def test_correlated_noise_is_of_rounds_of_updates_alone(rounds):
    others = {
        "training.ials_rounds=2": "training.fusion_rounds=0",
        "training.fusion_rounds=2": "training.ials_rounds=0",
    }
    settings = ['model.members=["ials"]', rounds, others[rounds], "privacy.correlation=banded"]
    with pytest.raises(ConfigError, match=f"rounds of updates alone, and {rounds} follow"):
        parse_scenario({}, settings)
    parse_scenario({}, [*settings, "privacy.enabled=false"])
    parse_scenario({}, ['model.members=["ials"]', others[rounds], rounds[:-1] + "0", "privacy.correlation=banded"])


@pytest.mark.parametrize("codec", ["low-rank", "row-subset"])
def test_correlated_noise_needs_the_same_directions_in_all_rounds(codec):
    with pytest.raises(ConfigError, match="would not cancel"):
        parse_scenario({}, ["privacy.correlation=tree", f"federation.codec.name={codec}"])
    parse_scenario({}, ["privacy.correlation=tree", "federation.codec.name=int8"])


def test_a_file_that_is_no_text_is_refused_by_name(tmp_path):
    path = tmp_path / "junk.toml"
    path.write_bytes(b"\x80\x00")
    with pytest.raises(ConfigError, match=r"junk\.toml is not valid TOML"):
        load_scenario(path)
