"""The bench of codecs: the same seeds under each codec, bytes of the wire, differences paired with the plain run."""

from dataclasses import replace

import pytest

from fedrec.config import CodecConfig, Scenario, parse_scenario
from fedrec.errors import ConfigError
from fedrec.runs.folder import RunFolder
from simulations.benches import codecs as module
from simulations.benches.codecs import CODECS, CONTROL, DISTURBANCE, bench_codecs

TINY = {
    "data": {"synthetic_users": 30, "synthetic_items": 40},
    "model": {"dim": 8, "history_length": 10},
    "training": {"rounds": 2, "sample_rate": 1.0, "popularity_start": False},
    "privacy": {"enabled": False},
    "federation": {"nodes": 2},
    "evaluation": {"bootstrap": 100},
    "run": {"name": "tiny"},
}


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return parse_scenario(TINY)


@pytest.fixture(scope="module")
def found(scenario, tmp_path_factory):
    out = tmp_path_factory.mktemp("bench")
    codecs = [CodecConfig(name="int8"), CodecConfig(name="low-rank", rank=2)]
    return bench_codecs(scenario, seeds=(0, 3), codecs=codecs, out=out), out


@pytest.mark.slow
def test_the_plain_run_and_its_control_come_before_the_codecs(found):
    bench, _ = found
    assert [row.name for row in bench.rows] == ["none", CONTROL, "int8", "low-rank"]
    assert (bench.scenario, bench.seeds, bench.rounds, bench.nodes, bench.users) == ("tiny", (0, 3), 2, 2, 30)


@pytest.mark.slow
def test_the_plain_run_is_the_measure_of_all(found):
    plain = found[0].rows[0]
    assert (plain.ratio, plain.change, plain.changes) == (1.0, 0.0, (0.0, 0.0))
    assert (plain.difference.mean, plain.difference.low, plain.difference.high) == (0.0, 0.0, 0.0)


@pytest.mark.slow
def test_bytes_and_quality_are_those_of_the_run_folders(found):
    bench, out = found
    for row in bench.rows:
        runs = [RunFolder.open(out / f"{row.name.replace(', ', '-')}-{seed}").summary() for seed in (0, 3)]
        assert row.bytes_up == pytest.approx(sum(run.bytes.up_per_client_round for run in runs) / 2)
        assert row.bytes_down == pytest.approx(sum(run.bytes.down_per_client_round for run in runs) / 2)
        assert row.hits == pytest.approx(sum(run.metrics["hr@10"] for run in runs) / 2)
        assert row.gain == pytest.approx(sum(run.metrics["ndcg@10"] for run in runs) / 2)


@pytest.mark.slow
def test_codecs_send_less_and_the_control_as_much(found):
    _, control, int8, low_rank = found[0].rows
    assert control.ratio == pytest.approx(1.0, abs=1e-3)
    assert 0 < low_rank.ratio < int8.ratio < 0.5


@pytest.mark.slow
def test_runs_differ_in_codec_seed_and_disturbance_alone(found, scenario):
    _, out = found
    for folder in out.iterdir():
        ran = RunFolder.open(folder).scenario()
        name, seed = folder.name.rsplit("-", 1)
        rate = scenario.training.server_learning_rate * (1 + DISTURBANCE if name == "none-disturbed" else 1)
        assert ran.run.seed == int(seed)
        assert ran.training.server_learning_rate == rate
        assert ran.federation.codec.name == (name if not name.startswith("none") else "none")
        assert ran.training.model_copy(update={"server_learning_rate": 0.01}) == scenario.training.model_copy(
            update={"server_learning_rate": 0.01}
        )


def test_every_codec_is_run_unless_some_are_named():
    assert [codec.name for codec in CODECS] == ["none", "fp16", "int8", "low-rank", "row-subset"]


def test_changes_are_paired_by_seed():
    plain = module._Runs(up=[4.0], down=[1.0], hits=[0.2, 0.1], gain=[0.1], by_user=module.np.array([0.0, 1.0]))
    coded = replace(plain, up=[1.0], hits=[0.1, 0.2], by_user=module.np.array([1.0, 1.0]))
    row = module._row("coded", coded, plain)
    assert row.changes == pytest.approx((-0.5, 1.0))
    assert (row.change, row.ratio, row.difference.mean) == pytest.approx((0.25, 0.25, 0.5))


@pytest.mark.parametrize("asked", [{"seeds": ()}, {"codecs": [CodecConfig(name="int8", rank=r) for r in (1, 2)]}])
def test_no_seed_or_a_codec_twice_is_refused_before_anything_runs(scenario, monkeypatch, asked):
    monkeypatch.setattr(module, "simulate", lambda *arguments, **rest: pytest.fail("it ran"))
    with pytest.raises(ConfigError, match="one seed at least and each name once"):
        bench_codecs(scenario, **asked)
