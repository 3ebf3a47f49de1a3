"""Hits and exposure against naive counts."""

import pytest
import torch

from simulations.attacks.authors.interactions import Interactions
from simulations.attacks.authors.measures import Judge


def test_exposure_and_recall_are_what_ordered_lists_say(small_events: Interactions, seeded: torch.Generator) -> None:
    target = 11
    judge = Judge.full(small_events, target, 20, every=2)
    scores = torch.randn(60, 600, generator=seeded)
    trained, met = small_events.met(tests=False), small_events.met(tests=True)
    shown, may, recalls = 0, 0, []
    for place, user in enumerate(range(0, 120, 2)):
        order = scores[place].argsort(descending=True).tolist()
        if not met[user, target]:
            may += 1
            shown += target in [item for item in order if not met[user, item]][:10]
        first = [item for item in order if not trained[user, item]][:20]
        tests = small_events.test_items[small_events.test_users == user].tolist()
        recalls.append(sum(item in first for item in tests) / len(tests))
    row = judge.row(4, scores)
    assert row.er10 == pytest.approx(shown / may, abs=1e-4)
    assert row.hr == pytest.approx(sum(recalls) / len(recalls), abs=1e-4)


def test_a_test_item_stands_among_99_that_its_user_never_met(
    small_events: Interactions, seeded: torch.Generator
) -> None:
    judge = Judge.sampled(small_events, None, 10, seeded)
    assert judge.rivals.sum(dim=1).tolist() == [99] * 120
    assert not (judge.rivals & small_events.met(tests=True)).any()
    best = torch.zeros(120, 600)
    best[small_events.test_users, small_events.test_items] = 1
    row = judge.row(0, best)
    assert (row.hr, row.er5) == (1.0, None)
