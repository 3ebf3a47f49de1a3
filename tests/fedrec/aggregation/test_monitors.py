import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.aggregation.exposure import exposures, probe_histories, standing_out
from fedrec.aggregation.growth import band_medians, within_band
from fedrec.aggregation.monitors import Drift, growth_beside, popularity_alignment, uniformity
from fedrec.aggregation.watch import Watch
from fedrec.data.histories import Histories
from fedrec.models.split import SharedState

ITEMS, DIM, TARGET = 120, 8, 7
POPULARITY = torch.arange(ITEMS).float()
TABLES = frozenset({"vectors", "bias"})


def vectors(seed: int = 0) -> Tensor:
    return torch.randn(ITEMS, DIM, generator=torch.Generator().manual_seed(seed))


def shared(table: Tensor, bias: Tensor | None = None) -> SharedState:
    return SharedState({"vectors": table, "bias": POPULARITY / 4 if bias is None else bias})


def shown(state: SharedState, histories: Histories) -> NDArray[np.float32]:
    """A user's wish is the mean of what it has met; popular items are shown first of all."""
    wishes = torch.stack(
        [state["vectors"][list(map(int, histories[user]))].mean(dim=0) for user in range(len(histories))]
    )
    scores: NDArray[np.float32] = (wishes @ state["vectors"].T + state["bias"]).numpy()
    return scores


def watch() -> Watch:
    return Watch(vectors=lambda state: state["vectors"], scores=shown)


def test_the_uniformity_of_spread_rows_is_far_below_that_of_collapsed_ones() -> None:
    collapsed = torch.ones(ITEMS, DIM) + 0.01 * vectors()
    assert uniformity(vectors()) < -2 < -0.01 < uniformity(collapsed) <= 0


def test_uniformity_is_the_log_mean_potential_of_all_pairs() -> None:
    rows = torch.nn.functional.normalize(vectors(), dim=1).double()
    potential = (-2 * torch.cdist(rows, rows).square()).exp()
    expected = float((potential.sum() - ITEMS) / (ITEMS * (ITEMS - 1)))
    assert uniformity(vectors(), pairs=200_000) == pytest.approx(np.log(expected), abs=0.03)


def test_alignment_is_the_cosine_with_the_head() -> None:
    table = vectors()
    head = torch.nn.functional.normalize(table[-20:], dim=1).sum(dim=0)
    table[TARGET] = 3 * head
    assert float(popularity_alignment(table, POPULARITY)[TARGET]) == pytest.approx(1.0)


def test_growth_is_beside_items_of_like_popularity() -> None:
    table = torch.nn.functional.normalize(vectors(), dim=1) * (1 + POPULARITY)[:, None]
    table[TARGET] *= 10 * 9 / 8  # its band's median is the next item
    beside = growth_beside(table, POPULARITY, window=5)
    assert float(beside[TARGET]) == pytest.approx(10, rel=0.01)
    assert float(beside[60]) == pytest.approx(1, rel=0.01)


def test_band_medians_are_those_of_a_plain_loop() -> None:
    values, order = vectors()[:, 0].double(), POPULARITY.flip(0).argsort(stable=True)
    found = band_medians(values, order, 5)
    for place, item in enumerate(order.tolist()):
        first = min(max(place - 2, 0), ITEMS - 5)
        assert float(found[item]) == pytest.approx(float(values[order[first : first + 5]].median()))


def test_a_row_that_grows_out_of_its_kind_is_shrunk_and_others_are_not_touched() -> None:
    table = torch.nn.functional.normalize(vectors(), dim=1)
    bias = POPULARITY.log1p()
    grown, lifted = table.clone(), bias.clone()
    grown[TARGET] *= 30
    lifted[TARGET] += 30
    held = within_band(shared(grown, lifted), POPULARITY, TABLES, growth=1.5)
    others = torch.arange(ITEMS) != TARGET
    assert float(held["vectors"][TARGET].norm()) == pytest.approx(1.5, rel=1e-5)
    assert float(held["bias"][TARGET]) < 10
    assert torch.equal(held["vectors"][others], table[others])
    assert torch.equal(held["bias"][others], bias[others])


def test_holding_twice_is_holding_once() -> None:
    once = within_band(shared(vectors() ** 3), POPULARITY, TABLES, growth=1.5)
    again = within_band(once, POPULARITY, TABLES, growth=1.5)
    over = float((again["vectors"].norm(dim=1) / once["vectors"].norm(dim=1)).min())
    assert over > 0.8  # medians of held rows are a little lower


def test_a_small_catalogue_is_left_alone() -> None:
    state = SharedState({"vectors": vectors()[:20] ** 3, "bias": torch.zeros(20)})
    assert within_band(state, POPULARITY[:20], TABLES, growth=1.0) is state


def test_made_up_users_are_drawn_by_popularity_and_meet_no_item_twice() -> None:
    counts = np.zeros(ITEMS, np.float32)
    counts[:40] = np.arange(40)
    counts[50] = -3
    found = probe_histories(counts, users=200, length=10, seed=1)
    met = np.bincount(found.items, minlength=ITEMS)
    assert all(len(set(found[user])) == 10 for user in range(200))
    assert met[0] == 0 == met[40:].sum()
    assert met[39] > 3 * met[5]


def test_exposure_counts_those_who_have_not_met_the_item() -> None:
    histories = Histories.from_lists([[0], [1], [2]])
    scores = np.array([[9, 1, 0, 2], [9, 8, 0, 1], [3, 1, 9, 0]], np.float32)
    np.testing.assert_allclose(exposures(scores, histories, k=1), [1.0, 0.0, 0.0, 1 / 3])


def test_an_item_that_is_shown_unlike_its_kind_stands_out_and_a_popular_kind_does_not() -> None:
    counts, shown_to = np.arange(200, dtype=np.float32), np.zeros(200)
    shown_to[180:] = 0.6
    shown_to[10] = 0.2
    assert standing_out(shown_to, counts, 0.05).tolist() == [10]


def test_an_honest_walk_raises_no_alarm() -> None:
    look, generator, table = watch(), torch.Generator().manual_seed(3), vectors()
    table[-30:] *= 2  # what is popular has longer rows
    for _ in range(40):
        moved = table + 0.05 * torch.randn(table.shape, generator=generator)
        assert look.inspect(shared(table), shared(moved), POPULARITY) == ()
        table = moved


@pytest.mark.abuse
def test_an_item_that_is_suddenly_shown_to_all_raises_the_exposure_alarm_and_names_it_to_the_operator() -> None:
    before, lifted = vectors(), POPULARITY / 4
    lifted[TARGET] = 50.0
    found = watch().inspect(shared(before), shared(before, lifted), POPULARITY)
    assert [alarm.kind for alarm in found] == ["exposure"]
    assert found[0].items[0] == TARGET
    assert found[0].value > 0.7
    assert f" {TARGET} " not in str(found[0])


@pytest.mark.abuse
def test_item_vectors_that_are_drawn_together_raise_the_uniformity_alarm() -> None:
    before = vectors()
    found = watch().inspect(shared(before), shared(0.5 * before + 2 * torch.ones(ITEMS, DIM)), POPULARITY)
    assert "uniformity" in {alarm.kind for alarm in found}


@pytest.mark.abuse
def test_a_rare_item_that_turns_to_the_popular_ones_raises_the_popularity_alarm() -> None:
    before = vectors()
    before[-20:] += 2.0
    after = before.clone()
    after[TARGET] = before[-20:].mean(dim=0)
    found = {alarm.kind: alarm for alarm in watch().inspect(shared(before), shared(after), POPULARITY)}
    assert found["popularity"].items[0] == TARGET


@pytest.mark.abuse
def test_d53_a_row_that_is_pushed_at_the_bound_every_round_is_found_within_thirty_rounds() -> None:
    """200 rounds at the very bound of a row's step: no single one stands out from what honest rows do."""
    generator = torch.Generator().manual_seed(5)
    table, drift, bound = vectors(), Drift(), 0.05 * DIM**0.5
    way = torch.nn.functional.normalize(torch.ones(DIM), dim=0)
    alarmed, others = None, 0
    for round in range(1, 201):
        step = torch.nn.functional.normalize(torch.randn(table.shape, generator=generator), dim=1) * bound
        step[TARGET] = way * bound
        sums = drift.step(table, table + step, POPULARITY)
        table = table + step
        if alarmed is None and float(sums[TARGET]) > 20:
            alarmed = round
        others += int((sums > 20).sum() - (sums[TARGET] > 20).long())
    print(f"drift alarm in round {alarmed} of 200, {others} alarms for other items")
    assert alarmed is not None
    assert alarmed <= 30
    assert others == 0


def test_made_up_users_are_drawn_from_all_items_alike_where_too_few_are_popular() -> None:
    popularity = np.zeros(50, dtype=np.float32)
    popularity[:3] = 5.0
    drawn = probe_histories(popularity, users=400, length=10, seed=0)
    assert {len(set(drawn[user].tolist())) for user in range(400)} == {10}
    counts = np.bincount(drawn.distinct()[1], minlength=50)
    assert counts.min() > 40  # of 80 each, if all are alike
    assert counts[:3].max() < 120


def test_a_single_direction_has_no_spread_to_speak_of() -> None:
    alone = torch.zeros(6, 3)
    alone[2] = 1.0
    assert uniformity(alone) == uniformity(torch.zeros(6, 3)) == 0.0


def test_drift_that_has_seen_nothing_remembers_nothing_and_goes_on_from_what_it_remembers() -> None:
    drift, twin = Drift(), Drift()
    assert drift.state() == {}
    twin.load(drift.state())
    before, after, last = vectors(0), vectors(1), vectors(2)
    drift.step(before, after, POPULARITY)
    twin.load(drift.state())
    torch.testing.assert_close(drift.step(after, last, POPULARITY), twin.step(after, last, POPULARITY))
