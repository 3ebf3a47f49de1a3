"""Users fitted on the device, against torch's fold-in."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from clients.inference.folding import EMBEDDING, FITTED, Folding
from clients.inference.queries import History
from clients.inference.scoring import Scorer
from fedrec.config import LocalConfig
from fedrec.data.histories import Histories
from fedrec.serving.export import fold_in_of
from fedrec.serving.package import FoldIn
from fedrec.training.scoring import fold_in

Make = Callable[..., Any]

SHORT = Histories.from_lists([[1, 2, 3, 4, 2, 9], [5], [], [6, 7, 8]])
"""No longer than a window, where torch and device read the same events."""

LOCALS = {
    "usual": None,
    "adagrad": LocalConfig(private_start="rebuilt", private_steps=3),
    "sgd": LocalConfig(private_start="rebuilt", private_steps=3, private_optimizer="sgd"),
    "adam": LocalConfig(private_start="rebuilt", private_steps=4, private_optimizer="adam"),
    "ridge": LocalConfig(private_start="ridge", ridge=0.5, ridge_unobserved=0.05),
}


def folding(made: Any, rule: FoldIn) -> Folding:
    model = made.scorer.model
    return Folding(Scorer(replace(model, head=replace(model.head, fold_in=rule))))


MODELS: list[dict[str, Any]] = [
    {"branches": ("cf", "mf", "seq")},
    {"branches": ("mf",), "item_embeddings": False},
    {"branches": ("mf", "neumf", "neighbours", "siamese", "autoencoder")},
    {"branches": ("seq", "mf"), "sequence_scope": "hybrid"},
    {"branches": ("seq",), "sequence_scope": "hybrid", "sequence_encoder": "sasrec"},
]
SOLVED_ALIKE = [(settings, way) for settings in MODELS for way in LOCALS if way != "ridge" or "mf" in str(settings)]
"""The closed form is of the mf branch alone."""


@pytest.mark.parametrize(("settings", "way"), SOLVED_ALIKE, ids=str)
def test_a_folded_in_user_is_torchs(twin: Make, settings: dict[str, Any], way: str) -> None:
    made, local = twin(**settings), LOCALS[way]
    expected = fold_in(made.model, made.shared, SHORT, local)
    fitted = folding(made, fold_in_of(local or LocalConfig()))
    for user in range(len(SHORT)):
        private = fitted.fit(History(items=SHORT[user].astype(np.int64)))
        for name in FITTED:
            if name in expected:
                np.testing.assert_allclose(private[name], expected[name][user], rtol=1e-3, atol=1e-4, err_msg=name)


def test_an_encoder_of_ones_own_is_left_as_it_is_until_the_trainer_trained_it(twin: Make) -> None:
    made = twin(branches=("cf", "seq"), sequence_scope="private")
    template = made.scorer.template
    private = Folding(made.scorer).fit(History(items=np.array([1, 2, 3])))
    assert all(np.array_equal(private[name], template[name]) for name in template)


def test_fitting_twice_gives_the_same(twin: Make) -> None:
    fitted = Folding(twin().scorer)
    history = History(items=np.arange(20))
    np.testing.assert_array_equal(fitted.fit(history)[EMBEDDING], fitted.fit(history)[EMBEDDING])


def test_long_histories_are_fitted_by_their_latest_window(twin: Make) -> None:
    made = twin()
    fitted = Folding(made.scorer)
    whole, latest = np.arange(20), np.arange(20)[-made.scorer.asking.length - 1 :]
    np.testing.assert_array_equal(
        fitted.fit(History(items=whole))[EMBEDDING], fitted.fit(History(items=latest))[EMBEDDING]
    )


def test_blocks_of_events_add_up(twin: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = Folding(twin().scorer)
    history = History(items=np.arange(13))
    whole = fitted.fit(history)[EMBEDDING]
    monkeypatch.setattr("clients.inference.folding.POSITIONS", 5)
    np.testing.assert_allclose(fitted.fit(history)[EMBEDDING], whole, rtol=1e-4, atol=1e-6)
