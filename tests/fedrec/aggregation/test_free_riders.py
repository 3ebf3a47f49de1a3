import pytest
import torch
from torch import Tensor

from fedrec.aggregation.free_riders import FreeRiders
from tests.fedrec.aggregation.kept_sum import KeptSum


def update(seed: int, size: float = 1.0) -> dict[str, Tensor]:
    return {"vectors": size * torch.randn(20, 4, generator=torch.Generator().manual_seed(seed))}


@pytest.mark.abuse
def test_d55_zero_and_echo_updates_of_a_third_of_the_nodes_are_all_named_and_no_honest_one() -> None:
    step = update(1000)
    rule = FreeRiders(inner=KeptSum(), last_step=step)
    for i in range(70):
        rule.add(f"honest {i}", update(i), 1)
    for i in range(15):
        rule.add(f"zero {i}", update(i, 0.0), 1)
        rule.add(f"echo {i}", {"vectors": step["vectors"] * (-1) ** i * (1 + i) / 7 + 0.05 * update(i)["vectors"]}, 1)
    expected = {**{f"zero {i}": "zero" for i in range(15)}, **{f"echo {i}": "echo" for i in range(15)}}
    found = {key: kind for key, kind in rule.suspects.items() if not key.startswith("honest")}
    alarms = len(rule.suspects) - len(found)
    share = len(found) / len(expected)
    print(f"named {share:.0%} of free-riders, {alarms} of 70 honest nodes")
    assert all(found[key] == expected[key] for key in found)
    assert alarms == 0
    assert share >= 0.9


def test_what_the_rule_makes_of_them_is_unchanged() -> None:
    plain, watched = KeptSum(), FreeRiders(inner=KeptSum(), last_step=update(5))
    for i in range(5):
        plain.add(f"node {i}", update(i), 1)
        watched.add(f"node {i}", update(i), 1)
    assert torch.equal(plain.close().total["vectors"], watched.close().total["vectors"])


def test_a_first_round_has_no_echo() -> None:
    rule = FreeRiders(inner=KeptSum())
    rule.add("node", update(0), 1)
    assert rule.suspects == {}
