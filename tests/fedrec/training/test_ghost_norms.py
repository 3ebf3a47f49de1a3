"""Norms from thin matrices in float32 never fall below what float64 makes of the gradients written out."""

import numpy as np
import pytest
import torch

from fedrec.config import LocalConfig, ModelConfig
from fedrec.data.catalogue import Catalogue
from fedrec.data.histories import Histories
from fedrec.models import build_model
from fedrec.models.fusion import FusedRecommender
from fedrec.models.split import PrivateState, SharedState
from fedrec.privacy.clipping import user_norms
from fedrec.training.common_step import _ask, clipped_gradients
from fedrec.training.draws import draw_steps
from fedrec.training.examples import Examples
from fedrec.training.factor_steps import train_factors
from fedrec.training.ghost_norms import GhostNorms
from fedrec.training.odds import Odds, Workspace
from fedrec.training.own_copies import train_copies
from fedrec.training.private_start import initial_private

ITEMS, USERS = 800, 6
RNG = np.random.default_rng(0)
CATALOGUE = Catalogue(
    item_ids=tuple(f"i{n}" for n in range(ITEMS)),
    titles=tuple(f"Item {n}" for n in range(ITEMS)),
    features=RNG.integers(0, 2, (ITEMS, 6)).astype(np.float32),
    feature_names=tuple("abcdef"),
)
HISTORIES = Histories.from_lists([RNG.integers(0, 30 if user % 2 else ITEMS, 60) for user in range(USERS)])
SEEDS = np.arange(USERS, dtype=np.uint64)


def warm(config: ModelConfig, scale: float) -> tuple[FusedRecommender, SharedState, PrivateState]:
    model, generator = build_model(config, CATALOGUE, 0), torch.Generator().manual_seed(1)
    state = {n: v + scale * torch.randn(v.shape, generator=generator) for n, v in model.shared_state().items()}
    own = initial_private(model, USERS, LocalConfig(private_optimizer="sgd"))
    private = {n: v + scale * torch.randn(v.shape, generator=generator) for n, v in own.items()}
    return model, SharedState(state), PrivateState(private)


def double(batch: Examples) -> Examples:
    fields = {n: getattr(batch, n) for n in ("history", "target", "mask", "keep", "negatives", "met")}
    return Examples(**{n: v.double() if v is not None and v.is_floating_point() else v for n, v in fields.items()})


def norms_in_float64(
    model: FusedRecommender, shared: SharedState, private: PrivateState, batches: list[Examples], local: LocalConfig
) -> torch.Tensor:
    shared = SharedState({name: value.double() for name, value in shared.items()})
    private = PrivateState({name: value.double() for name, value in private.items()})
    exact = build_model(model.config, CATALOGUE, 0).double()  # its features too
    moved = train_copies(exact, shared, private, list(map(double, batches)), local).moved
    return user_norms(moved)


@pytest.fixture(params=["gradients written out", "odds kept"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Keep one or the other of each user, whatever the shapes favour."""
    monkeypatch.setattr("fedrec.training.odds.WIDEST", 0.0 if request.param == "odds kept" else 1e9)
    return str(request.param)


@pytest.mark.parametrize("scale", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("item_embeddings", [True, False])
def test_ghost_norms_are_upper_bounds_and_tight(scale: float, item_embeddings: bool, kept: str) -> None:
    assert_upper_bounds_and_tight(
        ModelConfig(dim=16, history_length=40, dropout=0.2, item_embeddings=item_embeddings), scale
    )


@pytest.mark.parametrize("scope", ["shared", "hybrid"])
@pytest.mark.parametrize("encoder", ["lstm", "sasrec", "cnn"])
def test_ghost_norms_bound_every_sequence_encoder(encoder: str, scope: str) -> None:
    changes = {"dim": 16, "history_length": 40, "sequence_encoder": encoder, "sequence_scope": scope}
    assert_upper_bounds_and_tight(ModelConfig.model_validate(changes), 0.1)


def assert_upper_bounds_and_tight(config: ModelConfig, scale: float) -> None:
    local = LocalConfig(private_optimizer="sgd")
    model, shared, private = warm(config, scale)
    batches = draw_steps(model, HISTORIES, SEEDS, 1, local)
    asked = _ask(model, shared, private, batches[0], per_user=True, private_moves=True)
    odds = Odds(asked.queries, asked.tables, batches[0], Workspace(), kept=True)
    norms = GhostNorms(model, shared, batches[0], odds)
    for block in odds.blocks():
        odds.work(block)
        norms.see(block)
    gradients = asked.backward(odds.of_queries)
    got = norms.close(gradients.shared, gradients.events)
    exact = norms_in_float64(model, shared, private, batches, local)
    assert bool((got >= exact).all()), (got / exact - 1).min()
    torch.testing.assert_close(got, exact, rtol=2e-5, atol=0)


@pytest.mark.parametrize("tiny", [1e-20, 1e-24, 1e-30])
def test_norms_too_small_to_be_squared_in_float32_are_bounded_all_the_same(tiny: float, kept: str) -> None:
    model, shared, private = warm(ModelConfig(dim=16, history_length=40, dropout=0.0, branches=("cf",)), 0.3)
    shared = SharedState({name: value * tiny for name, value in shared.items()})
    local = LocalConfig(private_optimizer="sgd")
    batches = draw_steps(model, HISTORIES, SEEDS, 1, local)
    bound = 1e-30
    summed = clipped_gradients(model, shared, private, batches[0], Workspace(), bound).summed
    total = user_norms({name: value[None].double() for name, value in summed.items()})
    assert float(total) <= USERS * bound


def test_small_odds_beside_large_queries_are_bounded_all_the_same() -> None:
    # One item's score is 53 nats above all others': its odd is 0 in float32, theirs are 1e-23 and square to 0.
    model, shared, private = warm(ModelConfig(dim=16, history_length=40, branches=("mf",)), 0.3)
    table, user = torch.zeros(ITEMS, 16), torch.zeros(USERS, 16)
    table[0, 0], user[:, 0] = 53e-17, 1e17
    shared = SharedState({**shared, "factors.embedding": table, "factors.bias": torch.zeros(ITEMS)})
    histories = Histories.from_lists([[0, 0, 0]] * USERS)
    batch = draw_steps(model, histories, SEEDS, 1, LocalConfig())[0]
    private = PrivateState({**private, "user.embedding": user})
    summed = clipped_gradients(model, shared, private, batch, Workspace(), 1e-9).summed
    total = user_norms({name: value[None].double() for name, value in summed.items()})
    assert float(total) <= USERS * 1e-9 * (1 + 1e-6)


@pytest.mark.parametrize("loss", ["softmax", "bce"])
def test_rank_one_steps_too_small_to_be_squared_in_float32_are_bounded_all_the_same(loss: str) -> None:
    model, shared, private = warm(ModelConfig(dim=16, history_length=40, branches=("mf",)), 0.3)
    local = LocalConfig(loss=loss, steps=2, learning_rate=1e-25, private_optimizer="sgd")
    batches = draw_steps(model, HISTORIES, SEEDS, 1, local)
    exact = norms_in_float64(model, shared, private, batches, local)
    assert float(exact.min()) > 1e-30  # or else there is nothing to lose
    assert bool((train_factors(model, shared, private, batches, local).norms() >= exact).all())


def test_sums_do_not_depend_on_what_is_kept_of_each_user(monkeypatch: pytest.MonkeyPatch) -> None:
    model, shared, private = warm(ModelConfig(dim=16, history_length=40), 0.3)
    batch = draw_steps(model, HISTORIES, SEEDS, 1, LocalConfig())[0]
    found = []
    for widest in (0.0, 1e9):
        monkeypatch.setattr("fedrec.training.odds.WIDEST", widest)
        found.append(clipped_gradients(model, shared, private, batch, Workspace(), 0.5))
    one, other = found
    assert bool((one.within == other.within).all())
    for name, value in one.summed.items():
        torch.testing.assert_close(other.summed[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", ["softmax", "bce"])
def test_norms_of_rank_one_steps_are_upper_bounds_and_tight(loss: str) -> None:
    config = ModelConfig(dim=16, history_length=40, branches=("mf",))
    local = LocalConfig(loss=loss, steps=3, private_optimizer="sgd")
    model, shared, private = warm(config, 0.3)
    batches = draw_steps(model, HISTORIES, SEEDS, 1, local)
    got = train_factors(model, shared, private, batches, local).norms()
    exact = norms_in_float64(model, shared, private, batches, local)
    assert bool((got >= exact).all()), (got / exact - 1).min()
    torch.testing.assert_close(got, exact, rtol=2e-5, atol=0)
