import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.aggregation.defences import Defence, Known
from fedrec.config.robustness import RobustnessConfig
from simulations.attacks.bounding import bounded_sum

TABLES = frozenset({"vectors", "bias"})
BOUND = st.one_of(st.none(), st.floats(0.05, 3.0))


@settings(max_examples=40, deadline=None)
@given(rows=BOUND, items=BOUND, whole=BOUND, seed=st.integers(0, 1000), clients=st.integers(1, 6))
def test_the_sum_of_many_bounded_clients_is_that_of_the_rule_that_servers_use(
    rows: float | None, items: float | None, whole: float | None, seed: int, clients: int
) -> None:
    config = RobustnessConfig(row_clip_norm=rows, items_clip_norm=items, clip_norm=whole)
    generator = torch.Generator().manual_seed(seed)
    shapes = {"vectors": (7, 3), "bias": (7,), "weight": (2, 2)}
    updates = {name: torch.randn(clients, *shape, generator=generator) for name, shape in shapes.items()}
    template = {name: value[0] for name, value in updates.items()}
    rule = Defence(config=config).rule(Known(item_tables=TABLES, template=template))
    for client in range(clients):
        rule.add(str(client), {name: value[client] for name, value in updates.items()}, 1)
    summed, found = rule.close().total, bounded_sum(updates, TABLES, config)
    for name in shapes:
        torch.testing.assert_close(found[name].double(), summed[name].double(), rtol=1e-4, atol=1e-5)
