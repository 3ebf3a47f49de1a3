from dataclasses import replace
from datetime import datetime

import pytest

from clients.device.settings import EligibilitySettings
from clients.supervisor.eligibility import Power, Probes, obstacles
from clients.supervisor.metrics import OBSTACLES

STRICT = EligibilitySettings(windows=("22:00-06:00",), min_separation_seconds=3600.0)
FIT = Probes(
    now=lambda: datetime(2026, 11, 22, 23, 0),
    power=lambda: Power(on_mains=True),
    others_busy=lambda: 0.1,
    metered=lambda: False,
    free_disk=lambda: 1 << 40,
    free_memory=lambda: 1 << 40,
    temperature=lambda: 40.0,
    new_events=lambda: 9,
    since_training=lambda: 7200.0,
)
UNFIT = {
    "owner": {"objection": lambda: "no"},
    "budget": {"budget_spent": lambda: "epsilon 8 of 8"},
    "clock": {"clock_doubt": lambda: "it is 1970"},
    "power": {"power": lambda: Power(on_mains=False, battery=0.79)},
    "metered": {"metered": lambda: True},
    "busy": {"others_busy": lambda: 0.51},
    "temperature": {"temperature": lambda: 75.1},
    "disk": {"free_disk": lambda: 1},
    "memory": {"free_memory": lambda: 1},
    "window": {"now": lambda: datetime(2026, 11, 22, 12, 0)},
    "events": {"new_events": lambda: 0},
    "separation": {"since_training": lambda: 3599.0},
}


def names(probes: Probes, *, training: bool = False) -> list[str]:
    return [obstacle.name for obstacle in obstacles(STRICT, probes, training=training)]


def test_a_device_that_all_conditions_hold_for_may_train():
    assert names(FIT) == []


def test_what_cannot_be_measured_does_not_count_against_a_device():
    assert obstacles(EligibilitySettings(), Probes()) == []


@pytest.mark.parametrize("name", UNFIT)
def test_each_condition_alone_keeps_a_device_from_training(name):
    assert names(replace(FIT, **UNFIT[name])) == [name]


@pytest.mark.parametrize("name", ["owner", "clock", "power", "metered", "busy", "temperature", "disk", "window"])
def test_c39_a_condition_that_is_lost_ends_training(name):
    """Case C39: unplugged, metered, the user active, and the like."""
    assert names(replace(FIT, **UNFIT[name]), training=True) == [name]


@pytest.mark.parametrize("name", ["budget", "memory", "events", "separation"])
def test_what_only_keeps_more_from_beginning_does_not_end_what_has_begun(name):
    assert names(replace(FIT, **UNFIT[name]), training=True) == []


def test_a_full_battery_trains_off_the_mains_and_a_device_without_one_does_not():
    assert names(replace(FIT, power=lambda: Power(on_mains=False, battery=0.8))) == []
    assert names(replace(FIT, power=lambda: Power(on_mains=False))) == ["power"]


@pytest.mark.parametrize(("hour", "inside"), [(22, True), (23, True), (0, True), (5, True), (6, False), (21, False)])
def test_a_window_may_go_over_midnight(hour, inside):
    assert (names(replace(FIT, now=lambda: datetime(2026, 11, 22, hour, 0))) == []) is inside


def test_the_owner_s_word_stands_first():
    assert names(replace(FIT, **UNFIT["power"], **UNFIT["owner"]))[0] == "owner"


def test_settings_that_look_at_nothing_leave_owner_budget_clock_and_window():
    probes = Probes(**{key: value for entry in UNFIT.values() for key, value in entry.items()})
    found = [obstacle.name for obstacle in obstacles(EligibilitySettings.whenever_asked(), probes)]
    assert found == ["owner", "budget", "clock"]


def test_every_obstacle_has_its_series_in_the_metrics():
    assert set(UNFIT) | {"link"} == set(OBSTACLES)
