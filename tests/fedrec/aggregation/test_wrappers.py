import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedrec.aggregation.wrappers import Capped, Clipped, Supported, item_lengths, owner_weights
from tests.fedrec.aggregation.kept_sum import KeptSum

TABLES = frozenset({"vectors", "bias"})


def reply(seed: int, size: float = 1.0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"vectors": (5, 3), "bias": (5,), "weight": (2, 2)}
    return {name: size * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def length(state: dict[str, Tensor]) -> float:
    return sum(float(value.double().square().sum()) for value in state.values()) ** 0.5


def hierarchy(**bounds: float) -> Clipped:
    return Clipped(inner=KeptSum(), item_tables=TABLES, **bounds)  # type: ignore[arg-type]  # one kind of keyword each


@pytest.mark.abuse
@pytest.mark.parametrize("times", [100.0, 1e4, 1e30])
def test_d50_a_reply_of_a_hundred_times_the_clip_norm_moves_the_mean_by_at_most_clip_over_n(times: float) -> None:
    nodes, clip = 20, 0.5
    honest, attacked = hierarchy(norm=clip), hierarchy(norm=clip)
    for i in range(nodes - 1):
        own = reply(i, 0.01)
        honest.add(f"node {i}", own, 1)
        attacked.add(f"node {i}", own, 1)
    honest.add("last", {name: torch.zeros_like(value) for name, value in reply(0).items()}, 1)
    big = reply(99)
    attacked.add("last", {name: value * (times * clip / length(big)) for name, value in big.items()}, 1)
    one, other = honest.close().total, attacked.close().total
    influence = length({name: (other[name] - one[name]) / nodes for name in one})
    assert influence <= clip / nodes * (1 + 1e-6)


def test_rows_are_bounded_over_all_item_tables_together() -> None:
    rule = hierarchy(row_norm=0.1)
    rule.add("node", reply(0), 1)
    total = rule.close().total
    lengths = item_lengths(total, TABLES)
    assert lengths is not None
    assert float(lengths.max()) <= 0.1 * (1 + 1e-6)
    assert torch.allclose(total["weight"], reply(0)["weight"].double())


def test_item_tables_together_are_bounded_and_nothing_else_shrinks_with_them() -> None:
    rule, own = hierarchy(items_norm=0.3, norm=100.0), reply(0)
    rule.add("node", own, 1)
    total = rule.close().total
    items = {name: total[name] for name in sorted(TABLES)}
    assert length(items) == pytest.approx(0.3, rel=1e-5)
    assert torch.equal(total["weight"], own["weight"].double())
    ratio = total["bias"] / own["bias"].double()
    assert torch.allclose(ratio, ratio[0].expand(5), rtol=1e-6)  # the direction is kept


def test_a_node_of_many_users_has_as_many_bounds() -> None:
    rule, own = hierarchy(norm=1.0), reply(0)
    within = {name: value * (3.0 / length(own)) for name, value in own.items()}
    rule.add("node", within, 3)
    assert all(torch.equal(value, within[name].double()) for name, value in rule.close().total.items())


def test_rows_of_the_aggregate_are_bounded_per_user() -> None:
    rule = hierarchy(aggregate_row_norm=0.2)
    for i in range(4):
        rule.add(f"node {i}", reply(0), 1)
    lengths = item_lengths(rule.close().total, TABLES)
    assert lengths is not None
    assert float(lengths.max()) / 4 <= 0.2 * (1 + 1e-6)


def test_what_is_apart_is_not_clipped() -> None:
    rule = Clipped(inner=KeptSum(), item_tables=TABLES, norm=0.1, apart={"weight"})
    rule.add("node", reply(0), 1)
    assert torch.equal(rule.close().total["weight"], reply(0)["weight"].double())


@settings(max_examples=40, deadline=None)
@given(
    seeds=st.tuples(st.integers(0, 500), st.integers(0, 500)),
    sizes=st.tuples(st.floats(0.01, 5), st.floats(0.01, 5)),
    rows=st.floats(0.05, 2),
    whole=st.floats(0.05, 2),
)
def test_clipping_brings_no_two_replies_further_apart(
    seeds: tuple[int, int], sizes: tuple[float, float], rows: float, whole: float
) -> None:
    """Each clip is a projection onto a convex set: a sum of clipped replies has no larger a sensitivity."""
    pair = [reply(seed, size) for seed, size in zip(seeds, sizes, strict=True)]
    clipped = []
    for one in pair:
        rule = hierarchy(row_norm=rows, items_norm=0.7 * whole, norm=whole, aggregate_row_norm=rows / 2)
        rule.add("node", one, 1)
        clipped.append(rule.close().total)
    apart = length({name: pair[0][name] - pair[1][name] for name in pair[0]})
    assert length({name: clipped[0][name] - clipped[1][name] for name in pair[0]}) <= apart * (1 + 1e-5) + 1e-9


def test_rows_with_too_few_supporters_stay_and_are_counted() -> None:
    rule = Supported(inner=KeptSum(), item_tables=TABLES, minimum=3)
    for i in range(3):
        own = {name: torch.zeros_like(value) for name, value in reply(0).items()}
        own["vectors"][0] = 1.0
        if i == 0:
            own["vectors"][1] = 1.0
            own["bias"][1] = 5.0
        own["weight"] += 1
        rule.add(f"node {i}", own, 1)
    made = rule.close()
    assert made.frozen_rows == 1
    assert made.total["vectors"][1].abs().sum() == 0 == made.total["bias"][1]
    assert made.total["vectors"][0].abs().sum() == 9
    assert (made.total["weight"] == 3).all()


@pytest.mark.abuse
def test_d52_a_cold_item_with_fewer_supporters_than_the_minimum_does_not_move() -> None:
    rule = Supported(inner=hierarchy(row_norm=1.0), item_tables=TABLES, minimum=5)
    for i in range(20):
        honest = reply(i, 0.1)
        honest["vectors"][4], honest["bias"][4] = 0, 0
        rule.add(f"honest {i}", honest, 1)
    for i in range(4):
        pushed = {name: torch.zeros_like(value) for name, value in reply(0).items()}
        pushed["vectors"][4], pushed["bias"][4] = 100.0, 100.0
        rule.add(f"liar {i}", pushed, 1)
    made = rule.close()
    assert made.frozen_rows == 1
    assert made.total["vectors"][4].abs().sum() == 0 == made.total["bias"][4]
    assert made.total["vectors"][:4].abs().sum() > 0


def test_touching_every_row_a_little_supports_none_but_the_notable() -> None:
    rule = Supported(inner=KeptSum(), item_tables=TABLES, minimum=2, notable=0.05)
    for i in range(2):
        own = {name: torch.full_like(value, 1e-3) for name, value in reply(0).items()}
        own["vectors"][i] = 1.0
        rule.add(f"node {i}", own, 1)
    assert rule.close().frozen_rows == 2


@pytest.mark.abuse
def test_d54_ten_devices_of_one_owner_weigh_no_more_than_the_owners_share() -> None:
    honest = {f"honest {i}": 1 for i in range(90)}
    sybils = {f"sybil {i}": 1 for i in range(10)}
    weights = owner_weights({**honest, **sybils}, dict.fromkeys(sybils, "mallory"), share=0.02)
    assert set(weights) == set(sybils)
    rule = Capped(inner=KeptSum(), weights=weights)
    for key in sybils:
        rule.add(key, {"bias": torch.ones(1)}, 1)
    assert float(rule.close().total["bias"]) == pytest.approx(2.0)


def test_an_owner_within_the_share_weighs_as_before() -> None:
    assert owner_weights({"a": 1, "b": 1, "c": 1, "d": 1}, {"a": "anna", "b": "anna"}, share=0.5) == {}


@settings(max_examples=30, deadline=None)
@given(
    users=st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 20), min_size=1),
    owner=st.sampled_from(["x", "y"]),
    share=st.floats(0.05, 1),
)
def test_no_owner_holds_more_than_the_share_of_all_users(users: dict[str, int], owner: str, share: float) -> None:
    owners = {key: owner for key in users if len(key) > 1}
    weights = owner_weights(users, owners, share)
    held = sum(count * weights.get(key, 1.0) for key, count in users.items() if key in owners)
    assert held <= share * sum(users.values()) * (1 + 1e-9)
    assert all(0 < weight < 1 for weight in weights.values())


def test_weights_above_one_are_refused() -> None:
    with pytest.raises(ValueError, match="must be in"):
        Capped(inner=KeptSum(), weights={"node": 1.5})


def test_replies_without_an_item_table_freeze_nothing() -> None:
    rule, plain = Supported(inner=KeptSum(), item_tables=TABLES, minimum=2), KeptSum()
    total = {"weight": torch.ones(2, 2)}
    rule.add("a", total, 1)
    plain.add("a", total, 1)
    made = rule.close()
    assert (made.frozen_rows, made.total["weight"].tolist()) == (0, plain.close().total["weight"].tolist())
    assert item_lengths(total, TABLES) is None


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_an_owner_s_share_is_of_all_users(share: float) -> None:
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\]"):
        owner_weights({"a": 1}, {}, share)
