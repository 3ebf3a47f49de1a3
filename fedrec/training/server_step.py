"""What the server does with a released mean update: its optimiser."""

import math

import torch
from torch import Tensor

from fedrec.config import TrainingConfig
from fedrec.errors import ModelMismatchError
from fedrec.models.split import SharedState


class ServerOptimizer:
    """SGD with momentum or Adam over the mean update as a pseudo-gradient (Reddi et al., 2021, algorithm 2).

    ``state`` and ``load_state`` make a resumed run equal to an uninterrupted one.
    """

    def __init__(self, config: TrainingConfig) -> None:
        self._config = config
        self._moments: dict[str, Tensor] = {}
        self._steps = 0

    def step(self, shared: SharedState, mean_update: SharedState, round: int) -> SharedState:
        """Return the shared parameters after one step; ``round`` counts from 1 and sets the learning rate.

        Parameters that ``mean_update`` does not name stay as they are.
        """
        self._steps += 1
        rate = self.learning_rate(round)
        stepped = {name: shared[name] + rate * self._direction(name, update) for name, update in mean_update.items()}
        return SharedState({**shared, **stepped})

    def learning_rate(self, round: int) -> float:
        """Return the rate of ``round``: constant, or a half cosine from the full rate to a hundredth of it."""
        config = self._config
        if config.server_schedule == "constant":
            return config.server_learning_rate
        total = max(config.schedule_rounds or config.rounds, 1)
        progress = min((round - 1) / total, 1.0)
        return config.server_learning_rate * max(0.5 * (1 + math.cos(math.pi * progress)), 0.01)

    def _direction(self, name: str, update: Tensor) -> Tensor:
        beta1, beta2 = self._config.server_momentum, 0.99
        first = self._moments.get(f"first.{name}", torch.zeros_like(update))
        if self._config.server_optimizer == "sgd":
            self._moments[f"first.{name}"] = first = beta1 * first + update
            return first
        second = self._moments.get(f"second.{name}", torch.zeros_like(update))
        self._moments[f"first.{name}"] = first = beta1 * first + (1 - beta1) * update
        self._moments[f"second.{name}"] = second = beta2 * second + (1 - beta2) * update**2
        corrected = second / (1 - beta2**self._steps)
        return first / (1 - beta1**self._steps) / (corrected.sqrt() + 1e-8)

    def state(self) -> dict[str, Tensor]:
        """Return the moments and the number of steps taken, as tensors to be checkpointed."""
        return {**self._moments, "steps": torch.tensor(self._steps)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from what ``state`` returned; raise ``ModelMismatchError`` if it is not of this kind."""
        if "steps" not in state:
            raise ModelMismatchError("the checkpoint holds no server optimiser state: it was not written by fedrec")
        self._steps = int(state["steps"])
        self._moments = {name: value for name, value in state.items() if name != "steps"}
