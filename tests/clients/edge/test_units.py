"""The system units: sandboxed well enough for systemd's own judge, and only the node may speak to anybody."""

import configparser
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[3] / "clients" / "edge" / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
MOST_EXPOSURE = 2.0

analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")


class Several(dict):
    """Keeps every value of a key that is given more than once, as systemd does."""

    def __setitem__(self, key, value):
        super().__setitem__(key, [*self[key], *value] if key in self and isinstance(value, list) else value)


def service(name: str) -> dict[str, str]:
    parser = configparser.ConfigParser(dict_type=Several, strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(UNITS / name)
    return dict(parser["Service"].items())


def test_there_are_the_three_services_and_the_one_that_finishes_an_upgrade():
    assert SERVICES == ["fedrec-api.service", "fedrec-node.service", "fedrec-settle.service", "fedrec-trainer.service"]


@analyze
@pytest.mark.parametrize("name", SERVICES)
def test_i85_the_exposure_that_systemd_finds_is_two_at_most(name):
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNITS / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= MOST_EXPOSURE, done.stdout


@analyze
@pytest.mark.parametrize("name", SERVICES)
def test_systemd_knows_every_key_of_a_unit(name):
    done = subprocess.run(["systemd-analyze", "verify", str(UNITS / name)], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if name in line and "is not executable" not in line]
    assert complaints == []


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "fedrec-node.service"])
def test_whatever_sees_private_data_has_no_network(name):
    settings = service(name)
    assert settings["PrivateNetwork"] == "yes"
    assert settings["RestrictAddressFamilies"] == "AF_UNIX"
    assert settings["IPAddressDeny"] == "any"


def test_the_node_which_has_the_network_cannot_read_private_parameters():
    assert service("fedrec-node.service")["InaccessiblePaths"] == "-/var/lib/fedrec/state"


def test_nothing_can_be_run_from_where_a_service_can_write():
    for name in SERVICES:
        if name != "fedrec-settle.service":  # installs nothing, and runs the version that it tests
            assert set(service(name)["NoExecPaths"].split()) >= {"/var/lib/fedrec", "/tmp", "/var/tmp"}


def test_no_unit_hands_a_secret_in_its_command_or_environment():
    for name in SERVICES:
        text = (UNITS / name).read_text().lower()
        assert not re.search(r"\b(token|secret|password|code)\s*=", text), json.dumps(name)
