import pytest

from fedrec.audit.findings import Attack, Check, Findings
from fedrec.config import Scenario
from fedrec.errors import ConfigError
from simulations.audits.attacks import attack_findings

SMALL = {
    "data": {"synthetic_users": 60, "synthetic_items": 40},
    "model": {"branches": [], "members": ["popularity"]},
    "training": {"rounds": 0, "fusion_rounds": 0},
    "privacy": {"enabled": True, "epsilon": 4.0, "delta": 1e-3},
}
"""Of which only statistics are sent."""


def check(findings: Findings, name: str) -> Check:
    return next(one for one in findings.checks if one.name == name)


def rows(findings: Findings, name: str, *words: str) -> list[Attack]:
    return [
        one for one in findings.attacks if one.name == name and all(word in one.sees + one.defence for word in words)
    ]


def test_what_nothing_protects_can_be_attacked(central: Findings) -> None:
    controls = {row.name: row for row in reversed(central.attacks) if row.control}

    assert set(controls) == {
        "items-from-upload",
        "interaction-membership",
        "attribute-inference",
        "gradient-inversion",
    }
    assert controls["items-from-upload"].auc > 0.99
    assert check(central, "control-attackable").verdict == "passed"


def test_central_noise_shows_the_server_as_much_as_no_defence(central: Findings) -> None:
    for upload in ("statistics before training", "updates of training"):
        server = rows(central, "items-from-upload", "later, at the server", upload)
        published = rows(central, "items-from-upload", "published", upload)

        assert server[0].auc > 0.99
        assert published[0].auc < 0.7
    found = check(central, "items-from-upload")
    assert found.verdict == "warned"
    assert "does not protect users from the server" in found.found


def test_noise_on_devices_at_epsilon_1_leaves_attackers_guessing(on_devices: Findings) -> None:
    for row in rows(on_devices, "items-from-upload", "the run's own noise"):
        assert row.auc == pytest.approx(0.5, abs=0.09)
        assert not row.control
    assert check(on_devices, "items-from-upload").verdict == "passed"
    assert check(on_devices, "interaction-membership").verdict == "passed"
    assert check(on_devices, "control-attackable").verdict == "passed"


def test_nothing_an_attack_finds_is_a_violation(central: Findings, on_devices: Findings) -> None:
    assert not central.violations
    assert not on_devices.violations
    assert central.false_alarm == 0.0
    assert any("Timing" in sentence for sentence in central.untested)


def test_equal_seeds_find_the_same_and_others_do_not() -> None:
    scenario = Scenario.model_validate(SMALL)
    one, two, other = (attack_findings(scenario, seed=seed, quick=True) for seed in (3, 3, 4))

    assert one == two
    assert one.attacks != other.attacks
    inversion = check(one, "gradient-inversion")
    assert (inversion.verdict, inversion.found) == ("not run", "Not tried: the run trains no sequence branch.")


def test_data_that_are_not_at_hand_are_stood_in_for_and_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*args: object, **named: object) -> None:
        raise AssertionError("an attack fetched data")

    monkeypatch.setattr("fedrec.data.load.find_dataset", lambda *args: None)
    monkeypatch.setattr("simulations.audits.attacks.people.find_dataset", lambda *args: None)
    monkeypatch.setattr("fedrec.data.load.get_dataset", fetch)

    found = attack_findings(Scenario.model_validate({**SMALL, "data": {"source": "ml-100k"}}), seed=1, quick=True)

    assert any("'ml-100k' is not at hand" in sentence for sentence in found.untested)
    assert check(found, "items-from-upload").verdict == "warned"


def test_too_few_users_are_refused() -> None:
    few = {**SMALL, "data": {"synthetic_users": 12, "synthetic_items": 40}}

    with pytest.raises(ConfigError, match="attacks need 20 users of 3 training events"):
        attack_findings(Scenario.model_validate(few), seed=1, quick=True)
