"""The same apps, nodes and seeds in Flower's deployment runtime and in this process: the same model."""

from pathlib import Path

import pytest
import torch

from clients.app import make_client_app
from fedrec.config import Scenario, parse_scenario
from fedrec.data.load import Dataset
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.runs.folder import RunFolder
from server.app import make_server_app
from server.checkpoint import read_checkpoint
from server.federation import Federation, Outcome
from simulations.places import run_in
from simulations.population import locate_in, willing, write_nodes

pytestmark = [pytest.mark.process, pytest.mark.timeout(420)]

NODES = 2
SCENARIO = {
    "model": {"dim": 4, "history_length": 8},
    "training": {"rounds": 2, "sample_rate": 0.5, "popularity_start": False},
    "privacy": {"epsilon": 20.0, "delta": 1e-3, "noise_seed": 7},
    "federation": {
        "nodes": NODES,
        "round_timeout": 250.0,
        "minimum_replies": 1.0,
        "codec": {"name": "low-rank", "rank": 2},  # both ends must come to the same directions
    },
}
ENVELOPES = 10_000
"""Bytes that a message's envelope, the ids of its objects and a node's enrolment take at most."""


@pytest.fixture
def scenario() -> Scenario:
    return parse_scenario(SCENARIO)


def write_run(folder: Path, scenario: Scenario, dataset: Dataset) -> RunFolder:
    """Write a run folder with its catalogue, and its nodes beside their users' histories."""
    run = RunFolder.create(folder, scenario)
    dataset.catalogue.save(run.catalogue)
    train, keys = dataset.splits.final.train, dataset.log.user_ids
    policy = willing(scenario.privacy, len(train))
    assert write_nodes(run.nodes, train, run.catalogue, num_nodes=NODES, user_keys=keys, policy=policy) == NODES
    return run


def train_in_process(run: RunFolder, scenario: Scenario, dataset: Dataset) -> Outcome:
    outcomes: list[Outcome] = []
    federation = Federation(scenario=scenario, catalogue=dataset.catalogue, ledger=run.ledger_path, minimum_nodes=NODES)
    server_app = make_server_app(lambda context: federation, outcomes.append)
    run_in("in-process", server_app, make_client_app(locate_in(run.nodes)), NODES)
    return outcomes[0]


def test_a_deployment_on_several_nodes_ends_with_the_model_of_the_in_process_run(
    tmp_path, tiny_dataset, scenario, deployment
):
    expected = train_in_process(write_run(tmp_path / "twin", scenario, tiny_dataset), scenario, tiny_dataset)
    run = write_run(tmp_path / "run", scenario, tiny_dataset)

    deployment.start_superlink()
    for node in sorted(run.nodes.iterdir()):
        deployment.start_supernode(node.name, node)
    last = run.checkpoints / "round-000002.safetensors"
    ended = deployment.run(run.path, until=last.exists)

    assert ended["status"] == "finished:completed", f"{ended}\n{deployment.tails()}"
    state, _ = read_checkpoint(last)
    assert state.roster == expected.state.roster
    for name, tensor in expected.state.shared.items():
        torch.testing.assert_close(state.shared[name], tensor, rtol=0, atol=1e-6)
    assert [charge.round for charge in Ledger(run.ledger_path).charges()] == [1, 2]
    rows = run.metrics()
    assert [row["round"] for row in rows] == [1, 2]
    for way, counted in (("bytes_up", "inbound-bytes"), ("bytes_down", "outbound-bytes")):
        reported, flower = sum(row[way] for row in rows), ended["network-traffic"][counted]
        assert reported <= flower <= reported + 3 * NODES * ENVELOPES, (way, reported, flower)
