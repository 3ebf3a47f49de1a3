"""What every place of execution owes the server app: all nodes, numbered; its errors; the same model.

A place runs in a process of its own, because Ray leaves files open behind it. One process answers all questions.
"""

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import pytest

from fedrec.config import Place

ROOT = Path(__file__).resolve().parent.parent.parent

QUESTIONS = """
import json, sys, tempfile, time
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from clients.app import make_client_app
from fedrec.config import DataConfig, parse_scenario
from fedrec.data.load import load_dataset
from fedrec.errors import RoundFailedError
from fedrec.models.split import state_digest
from server.app import make_server_app
from server.federation import Federation
from simulations.places import run_in
from simulations.population import locate_in, willing, write_nodes

place, answers = sys.argv[1], {}

folder = Path(tempfile.mkdtemp())
dataset = load_dataset(DataConfig(synthetic_users=12, synthetic_items=30), 0)
scenario = parse_scenario({
    "model": {"dim": 4}, "training": {"rounds": 2, "sample_rate": 1.0},
    "privacy": {"epsilon": 50.0, "delta": 1e-3, "noise_seed": 1},
})
dataset.catalogue.save(folder / "catalogue")
train, keys, policy = dataset.splits.final.train, dataset.log.user_ids, willing(scenario.privacy, 943)
write_nodes(folder / "nodes", train, folder / "catalogue", num_nodes=3, user_keys=keys, policy=policy)
outcomes = []
federation = Federation(
    scenario=scenario, catalogue=dataset.catalogue, ledger=folder / "ledger.jsonl", minimum_nodes=3
)
training = make_server_app(lambda context: federation, outcomes.append)
client, server = make_client_app(locate_in(folder / "nodes")), ServerApp()

@client.query("name")
def name(message, context):
    return Message(RecordDict({"card": ConfigRecord(dict(context.node_config))}), reply_to=message)

@server.main()
def main(grid, context):
    # which nodes there are
    while len(list(grid.get_node_ids())) < 3:  # some places start the server app before its nodes
        time.sleep(0.1)
    calls = [Message(RecordDict(), node, "query.name") for node in grid.get_node_ids()]
    replies = list(grid.send_and_receive(calls, timeout=120.0))
    answers["partitions"] = sorted(int(reply.content["card"]["partition-id"]) for reply in replies)
    # which model comes out, with privacy
    training(grid, context)
    # what becomes of an error
    raise RoundFailedError("void")

try:
    run_in(place, server, client, 3)
except RoundFailedError as error:
    answers["error"] = str(error)
answers["rounds"] = outcomes[0].state.round
answers["model"] = state_digest(outcomes[0].state.shared)
print("ANSWERS", json.dumps(answers))
"""


@lru_cache
def answers(place: Place) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FLWR_TELEMETRY_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", QUESTIONS, place],
        env=environment,
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "DEPRECATED FEATURE" not in done.stdout + done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("ANSWERS "))
    return dict(json.loads(line.removeprefix("ANSWERS ")))


SLOW = {"ray": pytest.mark.slow}  # its processes take longer to start than all else here


@pytest.mark.process
@pytest.mark.parametrize("place", [pytest.param(place, marks=SLOW.get(place, ())) for place in get_args(Place)])
def test_a_place_has_all_nodes_numbered_raises_the_server_s_errors_and_ends_with_the_same_model(place: Place) -> None:
    """One test and one start, because some places take a while to start."""
    answered = answers(place)
    assert answered["partitions"] == [0, 1, 2]
    assert answered["error"] == "void"
    assert answered["rounds"] == 2
    assert answered["model"] == answers("in-process")["model"]
