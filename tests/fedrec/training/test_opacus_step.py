"""One step of the cohort engine against Opacus, whose samples are the users."""

import pytest
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from fedrec.config import LocalConfig
from fedrec.training.sample_losses import SampleLosses
from tests.fedrec.training.cohorts import (
    CONFIGS,
    ITEMS,
    LISTS,
    LOSSES,
    USERS,
    assert_near,
    catalogue_of,
    settings_of,
    trained,
    user_of,
    warm,
)
from tests.fedrec.training.reference import (
    SAMPLED,
    PlainRecommender,
    State,
    position_losses,
)


class SteppedGRU(nn.Module):
    """``nn.GRU`` out of products that Opacus can take apart a sample: the fused one has no batching rule."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        for name, parameter in nn.GRU(dim, dim).named_parameters():
            self.register_parameter(name, nn.Parameter(parameter.detach().double()))

    def forward(self, inputs: Tensor) -> tuple[Tensor, None]:
        state, states = torch.zeros_like(inputs[0]), []
        for row in inputs:
            ahead = F.linear(row, self.weight_ih_l0, self.bias_ih_l0).chunk(3)
            back = F.linear(state, self.weight_hh_l0, self.bias_hh_l0).chunk(3)
            reset, update = torch.sigmoid(ahead[0] + back[0]), torch.sigmoid(ahead[1] + back[1])
            state = update * state + (1 - update) * torch.tanh(ahead[2] + reset * back[2])
            states.append(state)
        return torch.stack(states), None


class OpacusCohort:
    """One local step of all users under Opacus, a user as one sample: a row holds all that is its own."""

    def __init__(self, name: str, local: LocalConfig) -> None:
        _, shared, private = warm(name, local)
        self.config, self.local = CONFIGS[name], local
        self.plain = PlainRecommender(self.config, torch.from_numpy(catalogue_of(name).features).double()).double()
        self.plain.load({tensor: value.double() for tensor, value in shared.items()})
        if "seq" in self.config.branches:
            self.plain.sequence["encoder"].cell = SteppedGRU(self.config.dim)
        self.own = {tensor: value for tensor, value in private.items() if "#" not in tensor}
        trained = self.plain.parts()[0]
        self.losses = SampleLosses({tensor: shared[tensor].double() for tensor in trained}, self._loss)
        self.module = GradSampleModule(self.losses, loss_reduction="mean")

    def clipped_mean(self, clip_norm: float) -> State:
        """Return the mean over users of their clipped gradients, as Opacus' optimiser makes it."""
        optimizer = DPOptimizer(
            torch.optim.SGD(self.losses.parameters(), lr=1.0),
            noise_multiplier=0.0,
            max_grad_norm=clip_norm,
            expected_batch_size=USERS,
        )
        self.module(torch.stack([self._row(user) for user in range(USERS)])).mean().backward()
        optimizer.pre_step()
        return {tensor: value.grad.clone() for tensor, value in self.losses.named().items()}

    def _row(self, user: int) -> Tensor:
        length, count = self.config.history_length, self.local.num_negatives
        window = user_of(user).drawn_window(self.config, (0,), self.config.dropout)
        positions = len(window.target)
        padding = (0, length - positions)
        negatives, mask = torch.zeros(count), torch.ones(positions)
        if self.local.loss in SAMPLED:
            negatives = user_of(user).negatives((0,), self.local, ITEMS)
        history = F.pad(window.history[:positions], padding)
        met = torch.tensor([len(set(LISTS[user]))])
        parts = [history, F.pad(window.target, padding), F.pad(window.ratings, padding), F.pad(mask, padding), met]
        own = [value[user].flatten() for value in self.own.values()]
        return torch.cat([part.double() for part in [*parts, negatives, window.keep.flatten(), *own]])

    def _loss(self, shared: State, row: Tensor) -> Tensor:
        length, dim = self.config.history_length, self.config.dim
        sizes = [value[0].numel() for value in self.own.values()]
        parts = row.split([*[length] * 4, 1, self.local.num_negatives, 4 * dim, *sizes])
        history, target, ratings, mask, met, negatives, keep = parts[:7]
        own = {
            tensor: part.reshape(value.shape[1:])
            for part, (tensor, value) in zip(parts[7:], self.own.items(), strict=True)
        }
        names = {ours: theirs for theirs, ours in self.plain.product_names().items()}
        state = {names[tensor]: value for tensor, value in {**shared, **own}.items()}
        scores = functional_call(self.plain, state, (history.long(), keep.reshape(4, dim)))
        odds = (ITEMS - met) / self.local.num_negatives
        losses = position_losses(self.local.loss, scores, target.long(), negatives.long(), odds, ratings)
        return (losses * mask).sum() / mask.sum().clamp(min=1.0)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")  # a row of codes needs no gradient
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", CONFIGS)
def test_one_step_is_that_of_opacus_with_users_as_samples(name: str, loss: str) -> None:
    local = settings_of(loss, learning_rate=1.0)
    total = trained(name, local, 0.3).total
    expected = OpacusCohort(name, local).clipped_mean(0.3)
    assert_near({tensor: -value / USERS for tensor, value in total.items()}, expected)
