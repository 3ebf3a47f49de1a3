"""Optimisers of many users at once: every user has its own parameters, its own state and its own number of steps.

Parameters, gradients and state have a leading user axis. Users who sit a step out keep all three as they were.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

State = dict[str, Tensor]

OptimizerName = Literal["sgd", "adam", "adagrad"]

SQUARES, FIRST, SECOND, STEPS = "#squares", "#first", "#second", "#steps"
"""Suffixes of what an optimiser remembers beside each parameter."""

_MEMORY: dict[OptimizerName, tuple[str, ...]] = {"sgd": (), "adagrad": (SQUARES,), "adam": (FIRST, SECOND, STEPS)}
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


def initial_memory(optimizer: OptimizerName, parameters: Mapping[str, Tensor]) -> State:
    """Return what the optimiser remembers before its first step, by parameter name and suffix."""
    memory = {}
    for name, value in parameters.items():
        for suffix in _MEMORY[optimizer]:
            memory[name + suffix] = value.new_zeros(len(value)) if suffix == STEPS else torch.zeros_like(value)
    return memory


def parameters_of(state: Mapping[str, Tensor]) -> State:
    """Return the parameters of a state without what optimisers remember."""
    return {name: value for name, value in state.items() if "#" not in name}


def moves(
    optimizer: OptimizerName, memory: State, gradients: Mapping[str, Tensor], rate: float, active: Tensor
) -> tuple[State, State]:
    """Return by how much each parameter moves, and the new memory.

    SGD; Adagrad (Duchi et al., 2011, section 1.1); Adam (Kingma and Ba, 2015, algorithm 1). ``gradients``: float
    ``[U, ...]``; ``active``: bool ``[U]``, users that take the step.
    """
    moved: State = {}
    updated = dict(memory)
    everybody = bool(active.all())
    for name, gradient in gradients.items():
        step, changed = _STEPS[optimizer](name, memory, gradient, rate)
        if everybody:
            moved[name] = step
            updated |= changed
        else:
            moved[name] = torch.where(_column(active, step), step, 0)
            updated |= {key: torch.where(_column(active, value), value, memory[key]) for key, value in changed.items()}
    return moved, updated


def _sgd(name: str, memory: State, gradient: Tensor, rate: float) -> tuple[Tensor, State]:
    return gradient * -rate, {}


def _adagrad(name: str, memory: State, gradient: Tensor, rate: float) -> tuple[Tensor, State]:
    squares = torch.addcmul(memory[name + SQUARES], gradient, gradient)
    return gradient * -rate / (squares.sqrt() + _EPSILON), {name + SQUARES: squares}


def _adam(name: str, memory: State, gradient: Tensor, rate: float) -> tuple[Tensor, State]:
    steps = memory[name + STEPS] + 1
    first = torch.lerp(gradient, memory[name + FIRST], _BETA1)
    second = torch.lerp(gradient.square(), memory[name + SECOND], _BETA2)
    of_first, of_second = (_column(1 - beta**steps, first) for beta in (_BETA1, _BETA2))
    move = -rate * (first / of_first) / ((second / of_second).sqrt() + _EPSILON)
    return move, {name + STEPS: steps, name + FIRST: first, name + SECOND: second}


_STEPS = {"sgd": _sgd, "adagrad": _adagrad, "adam": _adam}


def _column(users: Tensor, like: Tensor) -> Tensor:
    return users.reshape(-1, *[1] * (like.dim() - 1))
