"""Profiles: operators and our own functions by cost, and a trace that a browser reads."""

import gzip
import json

import pytest
import torch

from fedrec.data.histories import Histories
from fedrec.errors import ConfigError
from simulations.benches.profiling import profile_run


def work() -> None:
    Histories.from_lists([[1, 2], [3]])
    torch.ones(64, 64) @ torch.ones(64, 64)


def test_a_profile_names_operators_and_functions_of_the_house_alone(tmp_path):
    found = profile_run(work, tmp_path / "trace.json")
    operators = {cost.name: cost for cost in found.operators}
    assert operators["aten::mm"].calls == 1
    functions = {cost.name: cost for cost in found.functions}
    assert functions["fedrec.data.histories.from_lists"].calls == 1
    assert {name.split(".")[0] for name in functions} <= {"clients", "fedrec", "server", "simulations"}
    assert [cost.own for cost in found.operators] == sorted((cost.own for cost in found.operators), reverse=True)


@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
def test_the_trace_holds_the_operators(name, tmp_path):
    profile_run(work, tmp_path / name)
    raw = (tmp_path / name).read_bytes()
    events = json.loads(gzip.decompress(raw) if name.endswith(".gz") else raw)["traceEvents"]
    assert "aten::mm" in {event.get("name") for event in events}


@pytest.mark.parametrize("name", ["trace.txt", "missing/trace.json"])
def test_a_trace_that_cannot_be_written_is_refused_before_anything_runs(name, tmp_path):
    ran: list[int] = []
    with pytest.raises(ConfigError, match=r"ends in \.json"):
        profile_run(lambda: ran.append(1), tmp_path / name)
    assert ran == []
