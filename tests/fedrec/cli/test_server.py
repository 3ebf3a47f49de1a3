"""``fedrec server``: what its owner reads."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fedrec.cli.main import run
from fedrec.signing.device_keys import public_pem
from fedrec.signing.orders import Orders
from server.door.enrolments import Enrolments
from server.door.home import ServerHome


@pytest.fixture
def folder(tmp_path, capsys):
    assert run(["server", "init", str(tmp_path / "server"), "--host", "fedrec.example"]) == 0
    capsys.readouterr()
    return str(tmp_path / "server")


def test_init_says_what_devices_need_and_what_comes_next(tmp_path, capsys):
    path = str(tmp_path / "new")
    assert run(["server", "init", path, "--host", "fedrec.example"]) == 0
    said = capsys.readouterr().out
    assert "https://fedrec.example:8443" in said
    assert f"{path}/ca/ca.crt" in said
    assert f"{path}/signer.pub" in said
    assert f"fedrec server up {path}" in said
    assert all(item.stat().st_mode & 0o077 == 0 for item in tmp_path.iterdir())


def test_init_leaves_a_folder_alone_that_holds_something(folder, capsys):
    assert run(["server", "init", folder, "--host", "other.example"]) == 2
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--host", "a b"], "host"),
        (["--host", "x", "--port", "0"], "port"),
        (["--host", "x", "--port", "8000"], "three"),
    ],
)
def test_init_refuses_what_could_not_be_served(tmp_path, capsys, arguments, word):
    assert run(["server", "init", str(tmp_path / "new"), *arguments]) == 2
    assert word in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_enroll_prints_the_code_alone_on_standard_output(folder, capsys):
    assert run(["server", "enroll", folder, "--owner", "ada", "--count", "2", "--hours", "1"]) == 0
    said = capsys.readouterr()
    assert len(said.out.strip()) == 26
    assert "good for 2 devices of ada until" in said.err
    assert run(["server", "enroll", folder, "--owner", "ada", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["server"], told["owner"], told["count"]) == ("https://fedrec.example:8443", "ada", 1)


def test_enroll_says_when_an_owner_has_enough(folder, capsys):
    assert run(["server", "enroll", folder, "--owner", "ada", "--count", "101"]) == 2
    assert "more than the 100 of an owner" in capsys.readouterr().err


def test_the_kill_switch_is_told_back_and_needs_no_running_server(folder, capsys):
    assert run(["server", "kill-switch", folder, "on", "--reason", "look into it"]) == 0
    said = capsys.readouterr()
    assert "the kill switch is on (orders 2)" in said.out
    assert "not running" in said.err
    home = ServerHome(Path(folder))
    assert Orders.read(home.orders.read_bytes(), home.signer.read_text().strip()).stop
    assert run(["server", "kill-switch", folder, "perhaps"]) == 2


def test_status_of_a_server_that_is_down_says_so(folder, capsys):
    assert run(["server", "status", folder]) == 0
    said = capsys.readouterr().out
    assert "https://fedrec.example:8443 is down" in said
    assert "kill switch: off; orders 1" in said
    assert "catalogue none, model none" in said
    assert run(["server", "status", folder, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["running"], told["devices"], told["certificate_days"]) == (False, [], 824)


def test_revoking_works_while_the_server_is_down(folder, capsys):
    enrolments = Enrolments.open(ServerHome(Path(folder)).enrolments)
    enrolments.redeem(
        enrolments.issue("ada", 1, 1e12, 0.0), "kitchen", public_pem(ec.generate_private_key(ec.SECP384R1())), 1.0
    )
    assert run(["server", "revoke", folder, "kitchen"]) == 0
    said = capsys.readouterr()
    assert "kitchen is revoked" in said.out
    assert "forgets the key when it starts" in said.err
    assert enrolments.public_key("kitchen") is None
    assert run(["server", "revoke", folder, "cellar"]) == 2
    assert "no device is called cellar" in capsys.readouterr().err


def test_renewing_makes_other_certificates_of_the_same_authority(folder, capsys):
    home = ServerHome(Path(folder))
    before = (home.authority.read_bytes(), home.certificate("server").read_bytes())
    assert run(["server", "renew", folder]) == 0
    assert home.authority.read_bytes() == before[0]
    assert home.certificate("server").read_bytes() != before[1]


def test_training_without_a_catalogue_says_how_to_come_by_one(folder, capsys):
    assert run(["server", "train", folder, "tiny"]) == 2
    assert "'fedrec server publish' one, or pass --catalogue FOLDER" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["up"], ["status"], ["enroll", "--owner", "x"], ["revoke", "k"], ["renew"]])
def test_a_folder_that_is_no_server_is_named(tmp_path, capsys, command):
    assert run(["server", command[0], str(tmp_path), *command[1:]]) == 2
    assert "make the server with 'fedrec server init'" in capsys.readouterr().err
