"""A run is made once: what is stored stays, what was cut off begins anew, what another process makes is left to it."""

import fcntl
import json
from pathlib import Path

import pytest

from fedrec.config import parse_scenario
from fedrec.errors import ConfigError
from fedrec.runs.folder import RunFolder
from simulations.benches.origin import Origin
from simulations.benches.quality.matrix import Cell
from simulations.benches.quality.running import row_of, run_cells
from simulations.progress import Silence


def cell_of(variant="fusion", **model):
    return Cell(data="tiny", variant=variant, scenario=parse_scenario({"model": model}))


@pytest.fixture
def made(monkeypatch):
    """Make runs of nothing but their files, and note who made them."""
    noted = []

    def make_by(name):
        def make(scenario, out: Path, *, progress):
            folder = RunFolder.create(out, scenario)
            folder.nodes.mkdir()
            folder.summary_path.write_text("{}")
            noted.append((name, out.name))

        return make

    for name in ("simulate", "run_central"):
        monkeypatch.setattr(f"simulations.benches.quality.running.{name}", make_by(name))
    return noted


def test_runs_are_made_once_each_in_its_own_way(made, tmp_path):
    cells = [cell_of(), cell_of("central")]
    assert run_cells(cells, tmp_path, Silence()) == 2
    assert run_cells(cells, tmp_path, Silence()) == 0
    assert made == [("simulate", "fusion-0"), ("run_central", "central-0")]
    assert not (tmp_path / "tiny" / "fusion-0" / "nodes").exists()


def test_a_run_that_was_cut_off_is_begun_anew(made, tmp_path):
    RunFolder.create(tmp_path / "tiny" / "fusion-0", cell_of().scenario)
    assert run_cells([cell_of()], tmp_path, Silence()) == 1


def test_what_another_process_is_at_is_passed_over(made, tmp_path):
    (tmp_path / "tiny").mkdir()
    with (tmp_path / "tiny" / ".fusion-0.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert run_cells([cell_of(), cell_of("central")], tmp_path, Silence()) == 1
    assert made == [("run_central", "central-0")]


def test_a_stored_run_of_other_settings_is_refused(made, tmp_path):
    run_cells([cell_of()], tmp_path, Silence())
    with pytest.raises(ConfigError, match="holds a run with other settings"):
        run_cells([cell_of(dim=8)], tmp_path, Silence())


def test_settings_that_a_stored_run_did_not_know_have_their_defaults_and_unknown_ones_are_refused(made, tmp_path):
    run_cells([cell_of()], tmp_path, Silence())
    origin = tmp_path / "tiny" / "fusion-0" / "origin.json"
    told = json.loads(origin.read_text())
    del told["scenario"]["model"]["dropout"]
    told["scenario"]["run"]["name"] = "another"
    origin.write_text(json.dumps(told))
    assert run_cells([cell_of()], tmp_path, Silence()) == 0
    told["scenario"]["model"]["wings"] = 2
    origin.write_text(json.dumps(told))
    with pytest.raises(ConfigError, match="what no scenario says any more"):
        run_cells([cell_of()], tmp_path, Silence())


def test_a_run_keeps_where_it_is_from(made, tmp_path, monkeypatch):
    origin = Origin(code="abc", date="2026-11-22", machine="a machine")
    monkeypatch.setattr("simulations.benches.quality.running.Origin.here", lambda: origin)
    run_cells([cell_of()], tmp_path, Silence())
    told = json.loads((tmp_path / "tiny" / "fusion-0" / "origin.json").read_text())
    assert told["origin"] == {"code": "abc", "date": "2026-11-22", "machine": "a machine"}
    assert told["scenario"]["run"]["seed"] == 0


def test_of_a_run_that_has_not_ended_there_is_no_row(tmp_path):
    assert row_of(cell_of(), tmp_path) is None
