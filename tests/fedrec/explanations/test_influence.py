"""Leave-one-out influence against a closed form and against a naive loop."""

import numpy as np
import pytest

from fedrec.config import ModelConfig
from fedrec.data.histories import Histories
from fedrec.explanations import influence
from fedrec.explanations.influence import deletion_influence, lift_without
from fedrec.explanations.scorer import folding_scorer, lift, total
from fedrec.models import build_model
from fedrec.training.scoring import branch_scores, fold_in

HISTORY = np.array([3, 1, 4, 1, 5], np.int32)


def test_of_a_linear_scorer_it_is_the_events_own_row_less_its_mean(linear, weights):
    rows = sum(weights.values())
    items = np.array([0, 7])
    expected = [(rows[event] - rows[event].mean())[items] for event in HISTORY]
    np.testing.assert_allclose(deletion_influence(linear, HISTORY, items), expected, atol=1e-5)


def test_batches_do_not_show(linear, monkeypatch):
    whole = deletion_influence(linear, HISTORY, np.array([2]))
    monkeypatch.setattr(influence, "BATCH_EVENTS", 2)
    np.testing.assert_array_equal(deletion_influence(linear, HISTORY, np.array([2])), whole)


@pytest.mark.parametrize("history", [[2], [2, 5, 1, 7, 7, 3, 0, 9]])
def test_it_is_what_a_loop_finds_that_fits_and_scores_without_each_event(history, tiny_dataset):
    model = build_model(ModelConfig(dim=4, history_length=3), tiny_dataset.catalogue, 0)
    shared = model.shared_state()
    codes = np.array(history, np.int32)

    def alone(events):
        one = Histories.from_lists([events])
        private = fold_in(model, shared, one)
        return lift(total(branch_scores(model, shared, private, one)))[0]

    whole = alone(codes)
    expected = [whole - alone(np.delete(codes, position)) for position in range(len(codes))]
    found = deletion_influence(folding_scorer(model, shared, None), codes, np.arange(model.num_items))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_events_are_taken_out_together(linear, weights):
    found = lift_without(linear, HISTORY, [np.array([0, 3]), np.array([], np.int64)])
    rows = sum(weights.values())
    left = rows[[1, 4, 5]].sum(axis=0)
    np.testing.assert_allclose(found[0], left - left.mean(), atol=1e-5)
    whole = rows[HISTORY].sum(axis=0)
    np.testing.assert_allclose(found[1], whole - whole.mean(), atol=1e-5)
