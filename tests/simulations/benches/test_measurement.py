"""A stored measurement comes back whole, and what is none is refused."""

import json

import pytest

from fedrec.errors import DataError
from simulations.benches.machine import Machine
from simulations.benches.measurement import Measurement, read_measurements


@pytest.fixture
def stored():
    return Measurement.ending_now("fedrec bench scale", Machine.here(threads=1), found={"laps": {"a": [1.5]}})


def test_a_measurement_comes_back_as_it_was_stored(stored, tmp_path):
    stored.write(tmp_path / "deep" / "scale.json")
    assert read_measurements(tmp_path / "deep") == {"scale": stored}
    assert read_measurements(tmp_path / "none") == {}


def test_its_origin_names_code_day_and_load(stored):
    loads = f"load {stored.machine.load:g} to {stored.load_after:g}"
    assert stored.origin == f"{stored.code}, {stored.machine.date[:10]}, {loads}"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"command": "rm"}, "command"),
        ({"failed": "no network"}, "either found something or failed"),
        ({"machine": {"cpu": "x"}}, "machine"),
        ({"host": "a"}, "host"),
    ],
)
def test_a_file_that_is_no_measurement_is_named_with_what_is_wrong(stored, change, place, tmp_path):
    path = tmp_path / "scale.json"
    stored.write(path)
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **change}), "utf-8")
    with pytest.raises(DataError, match=rf"scale.json is no stored measurement \(.*{place}"):
        Measurement.read(path)
