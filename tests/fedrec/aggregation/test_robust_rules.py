from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedrec.aggregation.kept import Kept
from fedrec.aggregation.robust import GeometricMedian, Krum, Median, TrimmedMean
from tests.fedrec.aggregation.kept_sum import KeptSum

RULES: dict[str, Callable[[], Kept]] = {
    "sum": KeptSum,
    "trimmed-mean": lambda: TrimmedMean(share=0.2),
    "median": Median,
    "krum": lambda: Krum(share=0.2),
    "multi-krum": lambda: Krum(share=0.2, chosen=None),
    "geometric-median": GeometricMedian,
}
ROBUST = sorted(set(RULES) - {"sum"})


def replies(nodes: int, seed: int = 0, offset: float = 0.0) -> dict[str, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"node {i:03d}": {
            "table": torch.randn(6, 3, generator=generator) + offset,
            "bias": torch.randn(6, generator=generator) + offset,
        }
        for i in range(nodes)
    }


def estimate(rule: Kept, those: dict[str, dict[str, Tensor]], users: int = 1) -> dict[str, Tensor]:
    for key, total in those.items():
        rule.add(key, {name: value * users for name, value in total.items()}, users)
    made = rule.close()
    return {name: value / (users * len(those)) for name, value in made.total.items()}


def stacked(those: dict[str, dict[str, Tensor]]) -> np.ndarray:
    rows = [torch.cat([one[name].reshape(-1) for name in sorted(one)]) for _, one in sorted(those.items())]
    return torch.stack(rows).double().numpy()


def flat(state: dict[str, Tensor]) -> np.ndarray:
    return torch.cat([state[name].reshape(-1) for name in sorted(state)]).numpy()


def naive_krum(rows: np.ndarray, liars: int) -> np.ndarray:
    scores = []
    for i in range(len(rows)):
        distances = sorted(float(((rows[i] - rows[j]) ** 2).sum()) for j in range(len(rows)) if j != i)
        scores.append(sum(distances[: len(rows) - liars - 2]))
    return np.array(scores)


def test_the_trimmed_mean_is_that_of_a_plain_loop() -> None:
    those = replies(11)
    rows = stacked(those)
    expected = [np.mean(sorted(column)[2:-2]) for column in rows.T]
    np.testing.assert_allclose(flat(estimate(TrimmedMean(share=0.2), those)), expected, rtol=1e-12)


@pytest.mark.parametrize("nodes", [1, 2, 8, 9])
def test_the_median_is_numpys(nodes: int) -> None:
    those = replies(nodes)
    np.testing.assert_allclose(flat(estimate(Median(), those)), np.median(stacked(those), axis=0), rtol=1e-12)


def test_krum_chooses_the_reply_of_the_least_score_of_a_plain_loop() -> None:
    those = replies(10)
    rows = stacked(those)
    chosen = rows[int(np.argmin(naive_krum(rows, 2)))]
    np.testing.assert_allclose(flat(estimate(Krum(share=0.2), those)), chosen, rtol=1e-12)


def test_multi_krum_is_the_mean_of_the_replies_of_least_scores() -> None:
    those = replies(10)
    rows = stacked(those)
    chosen = rows[np.argsort(naive_krum(rows, 2))[:8]]
    found = estimate(Krum(share=0.2, chosen=None), those)
    np.testing.assert_allclose(flat(found), chosen.mean(axis=0), rtol=1e-12)


def test_the_geometric_median_is_where_unit_vectors_to_all_replies_cancel() -> None:
    those = replies(9)
    rows, point = stacked(those), flat(estimate(GeometricMedian(), those))
    ways = rows - point
    pull = (ways / np.linalg.norm(ways, axis=1, keepdims=True)).sum(axis=0)
    assert np.linalg.norm(pull) < 1e-6


def test_the_geometric_median_of_a_majority_at_one_point_is_that_point() -> None:
    one = {"table": torch.ones(6, 3), "bias": torch.ones(6)}
    those = {**{f"same {i}": one for i in range(4)}, **replies(3)}
    np.testing.assert_allclose(flat(estimate(GeometricMedian(), those)), 1.0, atol=1e-4)


@pytest.mark.parametrize("name", sorted(RULES))
@settings(max_examples=12, deadline=None)
@given(order=st.permutations(range(7)), seed=st.integers(0, 1000))
def test_the_order_of_replies_changes_no_bit(name: str, order: list[int], seed: int) -> None:
    those = replies(7, seed)
    keys = list(those)
    one, other = RULES[name](), RULES[name]()
    for key in keys:
        one.add(key, those[key], 2)
    for i in order:
        other.add(keys[i], those[keys[i]], 2)
    first, second = one.close().total, other.close().total
    assert all(torch.equal(first[part], second[part]) for part in first)


@pytest.mark.parametrize("name", sorted(RULES))
@settings(max_examples=10, deadline=None)
@given(scale=st.floats(0.01, 100.0), shift=st.floats(-10.0, 10.0))
def test_a_rule_follows_scale_and_shift_of_all_replies(name: str, scale: float, shift: float) -> None:
    those = replies(9)
    changed = {key: {k: v.double() * scale + shift for k, v in one.items()} for key, one in those.items()}
    plain, moved = flat(estimate(RULES[name](), those)), flat(estimate(RULES[name](), changed))
    np.testing.assert_allclose(moved, plain * scale + shift, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("size", [10.0, 1e6, 1e30])
def test_a_fifth_of_liars_cannot_move_a_robust_rule_beyond_what_honest_nodes_say(name: str, size: float) -> None:
    honest = replies(16)
    liars = {f"liar {i}": {k: torch.full_like(v, size) for k, v in honest["node 000"].items()} for i in range(4)}
    found = flat(estimate(RULES[name](), {**honest, **liars}))
    rows = stacked(honest)
    assert np.all(np.abs(found - rows.mean(axis=0)) <= np.ptp(rows, axis=0) + 1e-6)


def test_half_of_liars_break_the_trimmed_mean() -> None:
    honest = replies(4)
    liars = {f"liar {i}": {k: torch.full_like(v, 1e6) for k, v in honest["node 000"].items()} for i in range(4)}
    assert np.abs(flat(estimate(TrimmedMean(share=0.2), {**honest, **liars}))).max() > 1e4


def test_the_plain_sum_is_moved_by_one_liar() -> None:
    honest = replies(9)
    liar = {"liar": {k: torch.full_like(v, 1e6) for k, v in honest["node 000"].items()}}
    assert np.abs(flat(estimate(KeptSum(), {**honest, **liar}))).max() > 1e4


def test_krum_names_whom_it_left_out() -> None:
    rule = Krum(share=0.2, chosen=None)
    for key, total in {**replies(8), "odd": {k: v + 1e3 for k, v in replies(1)["node 000"].items()}}.items():
        rule.add(key, total, 1)
    assert "odd" in rule.close().left_out


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_node_of_many_users_weighs_by_its_mean_and_the_total_by_all_users(name: str) -> None:
    those = replies(7)
    alone, many = estimate(RULES[name](), those), estimate(RULES[name](), those, users=4)
    np.testing.assert_allclose(flat(alone), flat(many), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", sorted(RULES))
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_refused_and_not_sorted(name: str, bad: float) -> None:
    total = replies(1)["node 000"]
    total["bias"][2] = bad
    with pytest.raises(ValueError, match="not of finite numbers"):
        RULES[name]().add("node", total, 1)


def test_a_node_counts_once() -> None:
    rule, total = Median(), replies(1)["node 000"]
    rule.add("node", total, 1)
    with pytest.raises(ValueError, match="count it once"):
        rule.add("node", total, 1)


def test_replies_of_other_tensors_are_refused() -> None:
    rule, total = Median(), replies(1)["node 000"]
    rule.add("one", total, 1)
    with pytest.raises(ValueError, match="other tensors"):
        rule.add("other", {"bias": total["bias"]}, 1)


def test_a_reply_that_changes_after_it_was_added_changes_nothing() -> None:
    rule, total = Median(), replies(1)["node 000"]
    before = total["bias"].clone().double()
    rule.add("one", total, 1)
    total["bias"] += 1
    assert torch.equal(rule.close().total["bias"], before)


def test_no_reply_has_no_aggregate() -> None:
    with pytest.raises(ValueError, match="no reply"):
        Median().close()


@pytest.mark.parametrize("share", [-0.1, 0.5, 0.7])
def test_a_share_of_liars_is_below_half(share: float) -> None:
    with pytest.raises(ValueError, match="share must be"):
        TrimmedMean(share=share)
    with pytest.raises(ValueError, match="share must be"):
        Krum(share=share)


@pytest.mark.parametrize("nodes", [1, 2, 3])
@pytest.mark.parametrize("name", sorted(RULES))
def test_few_nodes_still_have_an_aggregate(name: str, nodes: int) -> None:
    found = flat(estimate(RULES[name](), replies(nodes)))
    assert np.isfinite(found).all()


def test_a_node_without_users_has_no_mean() -> None:
    with pytest.raises(ValueError, match="'a' speaks for 0 users"):
        Median().add("a", replies(1)["node 000"], 0)
