"""The server's optimiser against PyTorch's."""

import pytest
import torch

from fedrec.config import TrainingConfig
from fedrec.errors import ModelMismatchError
from fedrec.models.split import SharedState
from fedrec.training.server_step import ServerOptimizer

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


def test_parameters_that_no_update_names_stay_as_they_are() -> None:
    shared = SharedState({"w": torch.zeros(2), "released.x": torch.ones(3)})
    stepped = ServerOptimizer(config("adam")).step(shared, SharedState({"w": torch.ones(2)}), 1)
    assert torch.equal(stepped["released.x"], torch.ones(3))
    assert stepped["w"].all()
