"""A model goes to 1 %, 10 %, all; what does worse is halted at its share and taken back by itself."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.errors import ConfigError
from fedrec.serving.package import ARRAYS, TABLE, FoldIn, ServedHead, write_model
from fedrec.signing.orders import Orders
from server.door.served import oddity
from server.operations.rollout import Bounds, Figures, Rollouts, published_oddity, trouble

DIGEST = "d" * 64
DEVICES = [f"device-{number}" for number in range(2000)]
NAN = math.nan


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def model(published, tmp_path):
    """Publish a model of one file with these bytes."""

    def publish(content, permille=1000):
        path = tmp_path / "model.bin"
        path.write_bytes(content)
        return published.publish("model", DIGEST, {"model.bin": path}, permille=permille).version

    return publish


@pytest.fixture
def rollouts(published, store, clock, model):
    """A server whose devices all have model 1, and 1 % of them are to have model 2."""
    model(b"good")
    model(b"new", permille=10)
    return Rollouts(publications=published, store=store, clock=clock, bounds=Bounds(soak_seconds=100.0))


def had(published, wanted):
    """Return how many devices the orders tell to have a version."""
    orders = published.orders()
    return sum(orders.model_for(key) == wanted for key in DEVICES)


def test_about_one_device_in_a_hundred_has_the_new_model_and_all_others_the_old(published, rollouts):
    few = had(published, 2)
    assert 5 <= few <= 45
    assert had(published, 1) == len(DEVICES) - few


def test_a_model_that_is_as_good_goes_on_by_itself_stage_by_stage(published, rollouts, clock, store):
    rollouts.record(Figures(version=1, devices=500, latency_ms=10.0, quality=0.30))
    stages = []
    for _ in range(3):
        rollouts.record(Figures(version=2, devices=20, latency_ms=11.0, quality=0.29))
        assert rollouts.look() is None  # not before its time
        clock.now += 100.0
        view = rollouts.look()
        if view is None:
            break
        stages.append(view.permille)
    assert stages == [100, 1000]
    assert published.orders().model_version == 2
    assert (had(published, 2), store.alarms()) == (len(DEVICES), [])


def test_without_figures_a_model_goes_no_further_by_itself(rollouts, clock, published):
    clock.now = 1e9
    assert rollouts.look() is None
    assert published.orders().canary_permille == 10
    assert rollouts.advance().permille == 100


@pytest.mark.fault
@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"latency_ms": 12.0}, "20% longer"),
        ({"quality": 0.27}, "10% lower"),
        ({"quality": NAN}, "not a number"),
    ],
)
def test_e66_a_worse_model_is_halted_at_1_percent_and_taken_back_by_itself(
    rollouts, published, store, clock, figures, said
):
    rollouts.record(Figures(version=1, devices=500, latency_ms=10.0, quality=0.30))
    before = had(published, 2)
    rollouts.record(Figures(version=2, devices=20, **figures))
    view = rollouts.look()
    assert (view.standing, view.permille) == ("taken-back", 10)
    assert said in view.why
    assert before <= 45
    orders = published.orders()
    assert (orders.model_version, orders.canary_version, had(published, 3)) == (3, 0, len(DEVICES))
    assert dict(published.manifest("model", 3).files) == dict(published.manifest("model", 1).files)
    (alarm,) = store.alarms()
    assert (alarm.kind, "model 2 is taken back from 1 %" in alarm.text) == ("canary", True)
    assert rollouts.look() is None


@pytest.mark.fault
def test_e66_a_model_of_nan_is_taken_back_whatever_devices_say(published, store, clock, tmp_path):
    settings = {"branches": ["mf"], "members": []}
    head = ServedHead(
        run="ab", round=1, catalogue_digest=DIGEST, num_items=2, settings=settings, fold_in=FoldIn(), files={}
    )
    for version, value in ((1, 1.0), (2, NAN)):
        folder = tmp_path / str(version)
        table = np.full((4, 2), value, dtype=np.float32)
        write_model(folder, head, ("a", "b"), {TABLE + "mf": table}, {})
        files = {path.name: path for path in folder.iterdir()}
        assert (oddity(folder) is None) == (version == 1)
        published.publish("model", DIGEST, files, permille=1000 if version == 1 else 10)
    looked = []

    def look_at(version):
        looked.append(version)
        return published_oddity(published, version)

    rollouts = Rollouts(publications=published, store=store, clock=clock, look_at=look_at)
    view = rollouts.look()
    assert (view.standing, view.permille, looked) == ("taken-back", 10, [2])
    assert "not finite" in view.why
    assert (published.orders().model_version, published.orders().canary_version) == (3, 0)
    assert ARRAYS in published.manifest("model", 3).files


def test_while_a_model_is_rolled_out_no_other_is_published(rollouts, model):
    with pytest.raises(ConfigError, match=r"model 2 is being rolled out, to 1 % so far"):
        model(b"third")
    rollouts.take_back("an operator's wish")
    assert model(b"third") == 4


def test_a_share_only_grows_and_the_first_devices_stay_in_it(published, rollouts):
    orders = published.orders()
    first = {key for key in DEVICES if orders.is_canary(key)}
    orders = published.roll_out(100)
    tenth = {key for key in DEVICES if orders.is_canary(key)}
    assert first < tenth
    assert 140 <= len(tenth) <= 260
    with pytest.raises(ConfigError, match="5 of 1000 devices cannot"):
        published.roll_out(5)


def test_figures_of_few_devices_are_not_taken():
    with pytest.raises(ConfigError, match="at least 20"):
        Figures(version=1, devices=19, quality=0.5)


def test_a_roll_out_whose_note_was_lost_is_known_by_the_orders(rollouts, store, published):
    assert rollouts.all() == []
    assert rollouts.current().base == 1
    assert [view.standing for view in rollouts.all()] == ["going"]


@given(
    latency=st.floats(0.1, 1e3), quality=st.floats(0.01, 1.0), slower=st.floats(0.0, 0.19), worse=st.floats(0.0, 0.09)
)
def test_what_is_within_the_bounds_is_never_taken_back(latency, quality, slower, worse):
    rest = Figures(version=1, devices=20, latency_ms=latency, quality=quality)
    canary = Figures(version=2, devices=20, latency_ms=latency * (1 + slower), quality=quality * (1 - worse))
    assert trouble(canary, rest, Bounds()) is None


@given(key=st.text(max_size=20), version=st.integers(1, 99), permille=st.integers(1, 999))
def test_a_device_s_share_is_its_own_for_each_version_and_grows_with_the_permille(key, version, permille):
    orders = Orders(sequence=1, model_version=1, canary_version=version, canary_permille=permille)
    more = Orders(sequence=1, model_version=1, canary_version=version, canary_permille=permille + 1)
    assert not orders.is_canary(key) or more.is_canary(key)
    assert orders.model_for(key) == (version if orders.is_canary(key) else 1)
