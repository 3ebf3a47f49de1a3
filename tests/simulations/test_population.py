"""Users on nodes: everybody once, in order, however many nodes; and their private parameters back in that order."""

import pytest
import torch
from flwr.app import Context, RecordDict

from clients.policy import Policy
from clients.store import NodeStore
from fedrec.config import ModelConfig, PrivacyConfig
from fedrec.data.histories import Histories
from fedrec.models import build_model
from fedrec.models.split import PrivateState
from fedrec.training.cohort import initial_private
from simulations.population import locate_in, node_folder, read_private, willing, write_nodes


def histories_of(users: int) -> Histories:
    return Histories.from_lists([[user, user + 1] for user in range(users)])


def written(folder, users: int, nodes: int) -> list[NodeStore]:
    keys = [f"user-{user}" for user in range(users)]
    count = write_nodes(
        folder / "nodes",
        histories_of(users),
        folder / "catalogue",
        num_nodes=nodes,
        user_keys=keys,
        policy=Policy(consent=True),
    )
    return [NodeStore.open(node_folder(folder / "nodes", number)) for number in range(count)]


@pytest.mark.parametrize(("users", "nodes"), [(1, 1), (5, 2), (3, 7), (9, 4), (4, 4)])
def test_every_user_is_on_one_node_in_order_and_no_node_is_empty(tmp_path, users, nodes):
    stores = written(tmp_path, users, nodes)
    assert len(stores) == min(users, nodes)
    assert [key for store in stores for key in store.user_keys()] == [f"user-{user}" for user in range(users)]
    first_items = [int(store.histories()[user][0]) for store in stores for user in range(store.num_users)]
    assert first_items == list(range(users))
    sizes = [store.num_users for store in stores]
    assert max(sizes) - min(sizes) <= 1
    assert [store.key for store in stores] == sorted(store.key for store in stores)


def test_nodes_share_the_catalogue_by_a_path_that_moves_with_them(tmp_path):
    store = written(tmp_path, 2, 2)[1]
    assert store.catalogue_folder == tmp_path / "catalogue"
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert NodeStore.open(moved / "nodes" / "node-000001").catalogue_folder == moved / "catalogue"
    moved.rename(tmp_path)


def test_a_client_app_finds_the_node_of_its_partition(tmp_path):
    context = Context(1, 99, {"partition-id": 3}, RecordDict(), {})
    assert locate_in(tmp_path)(context) == tmp_path / "node-000003"


def test_private_parameters_come_back_in_the_order_of_the_users(tmp_path, tiny_dataset):
    model = build_model(ModelConfig(dim=2), tiny_dataset.catalogue, 0)
    stores = written(tmp_path, 5, 2)
    fresh = initial_private(model, 5)
    numbered = {name: torch.arange(3.0).reshape(3, *[1] * (rows.dim() - 1)) + rows[:3] for name, rows in fresh.items()}
    stores[0].save_private("run-1", PrivateState(numbered))
    found = read_private(tmp_path / "nodes", "run-1", model)
    for name, rows in found.items():
        assert torch.equal(rows[:3], numbered[name])
        assert torch.equal(rows[3:], fresh[name][3:])


def test_willing_users_agree_to_their_scenario_and_to_nothing_beyond_its_budget():
    policy = willing(PrivacyConfig(epsilon=3.0, delta=1e-6, clip_norm=20.0))
    assert (policy.consent, policy.epsilon, policy.delta, policy.max_clip_norm) == (True, 3.0, 1e-6, 20.0)
    assert willing(PrivacyConfig(clip_norm=0.1)).max_clip_norm == 1.0  # the popularity release clips at 1
