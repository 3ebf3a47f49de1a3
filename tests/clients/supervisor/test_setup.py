"""Making a device: what a try that failed leaves is what the next one goes on with."""

import threading

import pytest

from clients.device.home import DeviceHome
from clients.device.locks import held
from clients.supervisor.roles import run_all
from clients.supervisor.setup import own_name
from fedrec.errors import DataError


def test_a_device_without_a_name_has_the_same_one_at_each_try(tmp_path):
    first, other = DeviceHome(tmp_path / "first"), DeviceHome(tmp_path / "other")
    assert own_name(first) == own_name(first)
    assert own_name(first).startswith("device-")
    assert own_name(first) != own_name(other)


def test_a_folder_that_holds_an_enrolled_device_gives_no_name_for_another(tmp_path):
    home = DeviceHome(tmp_path)
    home.settings.touch()
    with pytest.raises(DataError, match="holds an enrolled device already"):
        own_name(home)


def test_a_device_that_runs_is_not_run_a_second_time(tmp_path):
    home = DeviceHome(tmp_path)
    with held(home.run, "node"), pytest.raises(DataError, match="the node role of"):
        run_all(home, threading.Event())
