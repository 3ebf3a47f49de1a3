"""Optimisers of many users at once against ``torch.optim``, a user at a time."""

import pytest
import torch

from fedrec.training.optimizers import OptimizerName, initial_memory, moves, parameters_of

USERS, STEPS, RATE = 4, 5, 0.1
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=RATE),
    "adam": lambda p: torch.optim.Adam(p, lr=RATE),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=RATE, eps=1e-8),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_user_moves_as_under_an_optimiser_of_its_own_and_rests_when_it_sits_out(name: OptimizerName) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(USERS, 3, generator=generator)
    gradients = torch.randn(STEPS, USERS, 3, generator=generator)
    active = torch.rand(STEPS, USERS, generator=generator) < 0.6
    values, memory = {"w": start.clone()}, initial_memory(name, {"w": start})
    for gradient, taking in zip(gradients, active, strict=True):
        moved, memory = moves(name, memory, {"w": gradient}, RATE, taking)
        values = {"w": values["w"] + moved["w"]}
    for user in range(USERS):
        own = start[user].clone().requires_grad_()
        optimizer = OPTIMIZERS[name]([own])
        for gradient in gradients[active[:, user], user]:
            own.grad = gradient.clone()
            optimizer.step()
        torch.testing.assert_close(values["w"][user], own.detach(), rtol=1e-5, atol=1e-6)


def test_what_optimisers_remember_is_no_parameter() -> None:
    state = {"a": torch.ones(2, 3)}
    memory = initial_memory("adam", state)
    assert {name: tuple(value.shape) for name, value in memory.items()} == {
        "a#first": (2, 3),
        "a#second": (2, 3),
        "a#steps": (2,),
    }
    assert parameters_of({**state, **memory}) == state
