"""The server's optimiser against PyTorch's, and the popularity start."""

import pytest
import torch

from fedrec.config import TrainingConfig
from fedrec.errors import ModelMismatchError
from fedrec.models.split import SharedState
from fedrec.training.server_step import ServerOptimizer, start_from_popularity

REFERENCES = {
    "sgd": lambda p: torch.optim.SGD([p], lr=0.1, momentum=0.9),
    "adam": lambda p: torch.optim.Adam([p], lr=0.1, betas=(0.9, 0.99)),
}


def config(optimizer: str, schedule: str = "constant") -> TrainingConfig:
    return TrainingConfig.model_validate(
        {"server_optimizer": optimizer, "server_learning_rate": 0.1, "server_schedule": schedule, "rounds": 10}
    )


@pytest.mark.parametrize("name", REFERENCES)
def test_steps_equal_those_of_pytorchs_optimiser_on_the_negated_update(name: str) -> None:
    ours, state = ServerOptimizer(config(name)), SharedState({"w": torch.tensor([1.0, -2.0])})
    theirs = torch.nn.Parameter(state["w"].clone())
    reference = REFERENCES[name](theirs)
    for number in range(1, 6):
        update = torch.tensor([0.3, -0.1]) * number
        state = ours.step(state, SharedState({"w": update}), number)
        theirs.grad = -update
        reference.step()
    torch.testing.assert_close(state["w"], theirs.detach())


@pytest.mark.parametrize("name", REFERENCES)
def test_a_resumed_optimiser_goes_on_as_if_never_stopped(name: str) -> None:
    whole, first = ServerOptimizer(config(name)), ServerOptimizer(config(name))
    one = two = SharedState({"w": torch.zeros(3)})
    for number in range(1, 9):
        update = SharedState({"w": torch.randn(3, generator=torch.Generator().manual_seed(number))})
        one = whole.step(one, update, number)
        if number == 4:
            second = ServerOptimizer(config(name))
            second.load_state(first.state())
            first = second
        two = first.step(two, update, number)
    torch.testing.assert_close(one["w"], two["w"])


def test_a_state_of_something_else_is_refused() -> None:
    with pytest.raises(ModelMismatchError, match="optimiser"):
        ServerOptimizer(config("adam")).load_state({"first.w": torch.zeros(1)})


def test_the_cosine_falls_from_the_full_rate_and_stays_positive() -> None:
    rates = [ServerOptimizer(config("sgd", "cosine")).learning_rate(number) for number in range(1, 15)]
    assert rates[0] == pytest.approx(0.1)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] > 0


def test_the_popularity_start_orders_the_bias_as_the_counts_and_survives_negative_ones() -> None:
    shared = SharedState({"factors.bias": torch.zeros(4), "other": torch.ones(2)})
    started = start_from_popularity(shared, torch.tensor([-3.0, 1.0, 10.0, 5.0]))
    assert started["factors.bias"].argsort().tolist() == [0, 1, 3, 2]
    assert started["factors.bias"].isfinite().all()
    assert torch.equal(started["other"], shared["other"])
    assert not shared["factors.bias"].any()


def test_a_model_without_item_bias_is_left_as_it_is() -> None:
    shared = SharedState({"other": torch.ones(2)})
    assert start_from_popularity(shared, torch.ones(3)) is shared
