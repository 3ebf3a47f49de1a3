"""The bench of a device's inference, on a catalogue that takes no time."""

import json

import pytest

from fedrec.cli.main import run
from simulations.benches import device_inference
from simulations.benches.device_inference import Work, measure


@pytest.mark.process
@pytest.mark.slow  # a process of its own beside one that imports everything
def test_it_measures_a_process_that_holds_no_torch() -> None:
    found = measure("cf, mf, gru", Work(items=200, dim=4, events=5, lists=20))
    assert found.after_event.p50 > 0
    assert found.peak_mib < 80  # torch alone takes more than twice that


@pytest.mark.process
@pytest.mark.slow  # two more of them
def test_the_command_tells_every_model(monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]  # pytest's own
    monkeypatch.setattr(device_inference, "MODELS", {"mf": {"branches": ("mf",)}})
    monkeypatch.setattr("fedrec.cli.bench_device.MODELS", {"mf": {"branches": ("mf",)}})
    arguments = ["bench", "device-inference", "--items", "200", "--dim", "4", "--events", "5", "--lists", "20"]
    assert run(arguments) == 0
    assert "milliseconds a list of 10, 200 items" in capsys.readouterr().out
    assert run([*arguments, "--json"]) == 0
    assert [one["model"] for one in json.loads(capsys.readouterr().out)["models"]] == ["mf"]
