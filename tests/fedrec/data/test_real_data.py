"""The public data sets as they are: counts that their publishers and our research state."""

import functools
import hashlib
import time
from dataclasses import dataclass

import numpy as np
import pytest

from fedrec.config import DataConfig
from fedrec.data.filters import k_core
from fedrec.data.inspection import inspect_log
from fedrec.data.load import load_dataset
from fedrec.data.readers import read_interactions
from fedrec.data.recipes import GROUPLENS_FILES
from fedrec.data.shuffling import shuffle_test

pytestmark = pytest.mark.xdist_group("real-data")  # each set is read once


@dataclass(frozen=True, kw_only=True)
class Known:
    counts: tuple[int, int, int]
    five_core: tuple[int, int, int]
    num_features: int


SETS = {
    "ml-100k": Known(counts=(943, 1682, 100_000), five_core=(943, 1349, 99_287), num_features=33),
    "movietweetings-100k": Known(counts=(16_554, 10_506, 100_000), five_core=(4333, 2414, 68_055), num_features=44),
    "amazon-toys": Known(counts=(19_412, 11_924, 167_597), five_core=(19_412, 11_924, 167_597), num_features=1027),
    "gowalla": Known(counts=(29_858, 40_981, 1_027_370), five_core=(29_858, 40_981, 1_027_370), num_features=0),
}


@pytest.fixture(scope="module")
def data_of(shared_data):
    """Return a function that loads a set once."""

    @functools.cache
    def load(name):
        if not (shared_data / name).is_dir():
            pytest.skip(f"{name} is not among the data sets in {shared_data}")
        return load_dataset(DataConfig(source=str(shared_data / name)), seed=0)

    return load


LARGE = {"amazon-toys", "gowalla"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in SETS])
def test_every_set_loads_with_its_known_counts(data_of, name):
    data = data_of(name)
    core = k_core(data.log, 5)
    assert (data.log.num_users, data.log.num_items, data.log.num_events) == SETS[name].counts
    assert (core.num_users, core.num_items, core.num_events) == SETS[name].five_core
    assert data.catalogue.features.shape == (data.log.num_items, SETS[name].num_features)
    assert not [note for note in data.notes if note.startswith("dropped")]


def test_on_ml_100k_44_percent_of_users_tie_at_the_end(data_of):
    facts = inspect_log(data_of("ml-100k").log)
    assert facts.tied_ends == pytest.approx(0.440, abs=0.0005)
    assert facts.span_hours is not None
    assert facts.span_hours[2] == pytest.approx(0.82, abs=0.01)
    assert (facts.events_a_user[0], facts.events_a_user[2], facts.events_a_user[4]) == (20, 65, 737)


def test_movietweetings_has_no_ties_at_the_end(data_of):
    assert inspect_log(data_of("movietweetings-100k").log).tied_ends == 0


def test_on_ml_100k_order_carries_information(data_of):
    test = shuffle_test(data_of("ml-100k").log, np.random.default_rng(0))
    assert test is not None
    assert test.order_matters
    assert test.hit_rate == pytest.approx(0.145, abs=0.002)  # the Markov floor of this set


def test_the_publishers_file_and_recboles_give_one_log(data_of, shared_data, tmp_path):
    ml_100k = data_of("ml-100k").log
    with_header = (shared_data / "ml-100k" / "ml-100k.inter").read_bytes()
    (tmp_path / "u.data").write_bytes(with_header.partition(b"\n")[2])
    log = read_interactions(tmp_path).log
    assert log.digest == ml_100k.digest
    assert log.ratings is not None
    np.testing.assert_array_equal(log.ratings, ml_100k.ratings)
    published = hashlib.sha256((tmp_path / "u.data").read_bytes()).hexdigest()
    assert published == GROUPLENS_FILES["u.data"]


@pytest.mark.slow  # its set is read by the test of known counts
def test_a_million_events_are_read_in_seconds(shared_data):
    if not (shared_data / "gowalla").is_dir():
        pytest.skip(f"gowalla is not among the data sets in {shared_data}")
    begun = time.process_time()
    read_interactions(shared_data / "gowalla")
    assert time.process_time() - begun < 8
