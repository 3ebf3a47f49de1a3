"""Where the shells are found: in a checkout, in an installed wheel, nowhere."""

import sys

import pytest

from fedrec.app_directory import SHELLS, enter_app_directory, find_app_directory
from fedrec.errors import FedRecError


def make_shells(folder):
    for shell in SHELLS:
        (folder / shell).mkdir(parents=True)
        (folder / shell / "__init__.py").touch()
    return folder


def test_in_a_checkout_it_is_the_checkout(tmp_path):
    make_shells(tmp_path)
    assert find_app_directory(tmp_path / "fedrec") == tmp_path


def test_in_an_installed_wheel_it_is_inside_the_package_whatever_lies_beside_it(tmp_path):
    make_shells(tmp_path)
    carried = make_shells(tmp_path / "fedrec" / "_app")
    assert find_app_directory(tmp_path / "fedrec") == carried


def test_without_shells_the_error_says_how_to_get_them(tmp_path):
    with pytest.raises(FedRecError, match="install fedrec from its wheel"):
        find_app_directory(tmp_path / "fedrec")


def test_entering_twice_puts_it_first_once(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = str(enter_app_directory())
    before = sys.path.count(folder)
    enter_app_directory()
    assert sys.path[0] == folder
    assert sys.path.count(folder) == before
