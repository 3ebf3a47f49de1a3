"""Federated rounds beside central training: the same steps, or the race would compare two things."""

import pytest
import torch

from simulations.benches.central import (
    OWN_KERNELS,
    PLAIN,
    RATE,
    SECONDS,
    TOLERANCE,
    WITH_DP,
    WITHOUT_DP,
    bench_central,
    profile_central,
)
from simulations.benches.central_model import Batch, CentralRecommender, central_name
from simulations.benches.scenarios import bench_scenario


@pytest.mark.parametrize("model", ["mf", "trio"])
@pytest.mark.parametrize("sample_rate", [1.0, 0.5])
def test_central_rivals_take_the_steps_that_the_federation_takes(model, sample_rate):
    more = {"training": {"sample_rate": sample_rate}}
    found = bench_central(bench_scenario(users=30, rounds=1, model=model, more=more), repeats=1)
    assert found.distances[PLAIN].relative <= TOLERANCE
    assert found.distances[OWN_KERNELS].largest <= 1e-6
    assert found.same_step


@pytest.mark.slow  # a bench's own figures
def test_everybody_is_timed_on_the_same_interactions():
    found = bench_central(bench_scenario(users=20, rounds=2), users=10, repeats=2)
    assert list(found.race.laps) == [WITH_DP, WITHOUT_DP, PLAIN, OWN_KERNELS]
    assert (found.users, found.race.repeats) == (10, 2)
    for laps in found.race.laps.values():
        assert [lap[RATE] * lap[SECONDS] for lap in laps] == pytest.approx([found.interactions] * 2)


def test_a_rival_that_takes_another_step_is_noticed(monkeypatch):
    real = CentralRecommender.loss
    monkeypatch.setattr(CentralRecommender, "loss", lambda self, batch: -real(self, batch))
    assert not bench_central(bench_scenario(users=10, rounds=1), repeats=1).same_step


def test_dropout_of_the_rival_drops_a_coordinate_of_a_whole_sequence():
    model = CentralRecommender(("cf", "mf", "seq"), 2, torch.randn(5, 3), 8, 0.5)
    dropped = model._dropped(torch.ones(2, 4, 8))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))


def test_a_user_without_a_position_adds_nothing_to_the_rival_s_loss():
    model = CentralRecommender(("cf", "mf", "seq"), 2, torch.randn(5, 3), 8, 0.0)
    events = torch.tensor([[1, 2, 3], [0, 0, 0]])
    both = Batch(users=torch.arange(2), history=events, target=events, mask=torch.tensor([[1.0, 1, 0], [0, 0, 0]]))
    one = Batch(users=torch.arange(1), history=events[:1], target=events[:1], mask=both.mask[:1])
    assert model.loss(both).item() == pytest.approx(model.loss(one).item())


def test_shared_parameters_have_names_in_the_rival_and_unknown_ones_are_refused():
    with pytest.raises(KeyError, match="released"):
        central_name("released.neighbours.vectors")
    assert central_name("item_tower.content.0.weight") == "content.0.weight"
    assert central_name("sequence.weight_ih") == "gru.weight_ih_l0"


@pytest.mark.slow
def test_a_profile_shows_the_engine(tmp_path):
    found = profile_central(bench_scenario(users=10, rounds=1), tmp_path / "trace.json")
    assert "fedrec.training.cohort.train_cohort" in {cost.name for cost in found.functions}
