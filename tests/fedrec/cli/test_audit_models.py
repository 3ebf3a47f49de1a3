import json
from dataclasses import asdict
from pathlib import Path

import pytest

from clients.guard.received import NOTE, Received
from fedrec.cli.main import run


def entry(round: int, digest: str) -> Received:
    return Received(run_id="run", round=round, contribution="update", model_digest=digest * 16)


def export(path: Path, *entries: Received) -> str:
    notes = {NOTE: json.dumps([asdict(one) for one in entries])}
    path.write_text(json.dumps({"format": "fedrec-device", "version": 1, "events": ["a secret film"], "notes": notes}))
    return str(path)


def ends_with(code: int, *words: str) -> None:
    assert run(["audit", "models", *words]) == code


@pytest.mark.abuse
def test_e64_a_device_that_was_sent_another_model_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = [entry(1, "aaaa"), entry(2, "bbbb")]
    files = [export(tmp_path / f"{name}.json", *common) for name in ("anna", "bert")]
    files.append(export(tmp_path / "carl.json", common[0], entry(2, "cccc")))
    ends_with(1, *files)
    said = capsys.readouterr()
    assert "carl" in said.out
    assert "anna, bert" in said.out
    assert "round 2 of run run: the devices were sent 2 different models" in said.err
    assert "a secret film" not in said.out + said.err


def test_devices_that_were_sent_the_same_models_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [export(tmp_path / f"{name}.json", entry(1, "aaaa"), entry(2, "bbbb")) for name in ("anna", "bert")]
    ends_with(0, *files)
    assert "compared 2 rounds" in capsys.readouterr().out


def test_devices_without_a_round_in_common_have_not_passed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ends_with(2, export(tmp_path / "anna.json", entry(1, "aaaa")), export(tmp_path / "bert.json", entry(2, "bbbb")))
    assert "no round in common" in capsys.readouterr().err


def test_the_log_alone_can_be_handed_on_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    anna = export(tmp_path / "anna.json", entry(1, "aaaa"))
    ends_with(0, anna, "--log")
    log = tmp_path / "anna-log.json"
    log.write_text(capsys.readouterr().out)
    assert "secret" not in log.read_text()
    ends_with(1, str(log), export(tmp_path / "bert.json", entry(1, "bbbb")), "--json")
    assert json.loads(capsys.readouterr().out)["disagreements"][0]["round"] == 1


@pytest.mark.parametrize(
    "content", ["", "{}", "nonsense", "[1, 2]", '{"notes": 3}', '{"notes": {"models-received": "x"}}']
)
def test_what_is_no_log_is_no_pass(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    odd = tmp_path / "odd.json"
    odd.write_text(content)
    ends_with(2, str(odd), export(tmp_path / "anna.json", entry(1, "aaaa")))
    assert capsys.readouterr().err
