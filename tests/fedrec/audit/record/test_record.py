"""A run's record: what holds passes, and each way of breaking it is named by the check that is there for it."""

import hashlib
import json
import shutil
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedrec.audit.record import record_findings
from fedrec.errors import ConfigError, DataError, FedRecError, LedgerError
from fedrec.privacy.mechanism import Mechanism
from fedrec.runs.folder import RunFolder
from tests.fedrec.audit.record.judged import (
    lines_of,
    other_setting,
    reforge,
    set_line,
    verdicts,
    violations,
)

MECHANISM = Mechanism(clip_norm=1.0, noise_multiplier=8.0, sample_rate=1.0, population=900)


# --- what holds ---------------------------------------------------------------------------------------------------
def test_a_correct_run_breaks_no_claim_and_tells_what_a_report_draws(run):
    audit = record_findings(run)
    found = verdicts(audit)
    assert audit.findings.violations == ()
    assert audit.findings.false_alarm == 0  # nothing here is judged by chance
    passed = {name for name, verdict in found.items() if verdict == "passed"}
    warned = {name for name, verdict in found.items() if verdict == "warned"}
    assert {"checkpoints", "config-hash", "epsilon-recomputed", "accountants-agree", "devices-covered"} <= passed
    assert warned == {"unledgered-metrics"}
    (claim,) = audit.claims
    summary = json.loads((run / "summary.json").read_bytes())["privacy"]
    assert (claim.source, claim.stated, claim.delta) == ("summary.json", summary["epsilon"], summary["delta"])
    assert claim.lower <= claim.stated * 1.001
    assert claim.upper >= claim.lower > 0.99 * claim.stated
    assert claim.opacus_rdp > claim.opacus_prv > claim.lower
    assert [(point.round, point.budget) for point in claim.burn_down] == [(0, 20.0), (1, 20.0), (2, 20.0)]
    assert [point.epsilon for point in claim.burn_down] == sorted(point.epsilon for point in claim.burn_down)
    assert (audit.entries, audit.charges, audit.devices, len(audit.runs)) == (9, 3, 3, 1)
    assert audit.head == json.loads((run / "privacy.json").read_bytes())["ledger"]["head"]
    assert [(kind.name, kind.times) for kind in audit.releases] == [("popularity", 1), ("training", 2)]
    assert audit.mechanisms[1].noise_multiplier == 2.0
    assert claim.words["unit"].startswith("user")


VARIANTS = {
    "replace-one": {"privacy": {"adjacency": "replace-one"}},
    "noise on devices": {"privacy": {"placement": "device"}},
    "distributed noise": {"privacy": {"placement": "distributed", "noise": "skellam", "minimum_users": 5}},
    "discrete noise": {"privacy": {"noise": "discrete-gaussian"}},
    "banded noise": {"privacy": {"correlation": "banded"}, "training": {"rounds": 4, "sample_rate": 0.5}},
    "tree noise": {"privacy": {"correlation": "tree"}, "training": {"rounds": 4, "sample_rate": 0.5}},
    "adaptive clipping": {"privacy": {"clipping": "adaptive"}},
    "clipped rows": {"privacy": {"clipping": "rows"}},
    "amplified": {"training": {"rounds": 3, "sample_rate": 0.3}},
    "a cap": {"privacy": {"cohort_cap": 15}, "training": {"rounds": 2, "sample_rate": 0.5}},
    "no statistics": {"training": {"rounds": 2, "sample_rate": 1.0, "popularity_start": False}},
    "evaluated": {"training": {"rounds": 2, "sample_rate": 0.5, "evaluation_share": 0.3}},
    "members": {
        "model": {"dim": 4, "history_length": 6, "branches": ["mf"], "members": ["ials", "popularity"], "ials_dim": 4},
        "training": {"rounds": 1, "sample_rate": 1.0, "ials_rounds": 2, "fusion_rounds": 2},
    },
    "a budget that ends it": {"privacy": {"epsilon": 2.0}, "training": {"rounds": 9, "sample_rate": 1.0}},
    "the devices' own layer": {
        "privacy": {"interaction": {"epsilon": 50.0}},
        "training": {"rounds": 2, "sample_rate": 1.0, "popularity_start": False},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_no_kind_of_correct_run_is_called_broken(train, name):
    run = train(**VARIANTS[name])
    assert violations(run) == {}
    assert violations(run / "nodes" / "node-000001" / "ledger.jsonl") == {}


def test_a_ledger_alone_is_judged_by_what_is_on_it_and_says_what_was_not_looked_at(ledger):
    audit = record_findings(ledger)
    found = verdicts(audit)
    assert audit.findings.violations == ()
    for name in ("checkpoints", "config-hash", "unledgered-rounds", "layers-allowed", "published-claims"):
        assert found[name] == "not run"
    assert found["epsilon-recomputed"] == found["outcomes"] == "passed"
    assert any("without its folder" in text for text in audit.findings.untested)
    assert audit.claims[0].source.startswith("the ledger's line 7")


# --- what cannot be audited ---------------------------------------------------------------------------------------
def test_what_is_no_run_or_claims_nothing_cannot_be_audited(run, tmp_path):
    with pytest.raises(LedgerError, match="does not exist"):
        record_findings(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="is not a run"):
        record_findings(tmp_path / "folder")
    (run / "ledger.jsonl").unlink()
    with pytest.raises(LedgerError, match="does not exist, and the run claims user-level privacy"):
        record_findings(run)
    config = (run / "config.toml").read_text().replace("enabled = true\nepsilon", "enabled = false\nepsilon")
    (run / "config.toml").write_text(config)
    (run / "summary.json").unlink()
    with pytest.raises(LedgerError, match="claims no privacy"):
        record_findings(run)


def test_a_run_without_checkpoints_or_with_a_damaged_one_cannot_be_audited(run):
    path = sorted((run / "checkpoints").glob("*.safetensors"))[-1]
    content = path.read_bytes()
    for broken in (content[:100], b"", b"\xff" * 200, content[:-3]):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"round-000002.*is not a checkpoint of fedrec, or is cut short"):
            record_findings(run)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(DataError, match=r"holds no checkpoint, .* audit .*ledger.jsonl alone"):
        record_findings(run)


@pytest.mark.parametrize("name", ["summary.json", "privacy.json", "metrics.jsonl"])
def test_a_file_beside_the_ledger_that_is_no_json_is_named(run, name):
    (run / name).write_text("{not json\n")
    with pytest.raises(FedRecError, match=name):
        record_findings(run)


def test_a_run_that_has_not_ended_is_judged_by_its_ledger(run):
    (run / "summary.json").unlink()
    (run / "privacy.json").unlink()
    audit = record_findings(run)
    assert verdicts(audit)["published-claims"] == "not run"
    assert audit.findings.violations == ()


# --- a folder whose parts contradict each other -------------------------------------------------------------------
def cut_off(run):
    path = run / "ledger.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-3]))


def edit_json(name, change):
    def edit(run):
        path = run / name
        table = json.loads(path.read_bytes())
        change(table)
        path.write_text(json.dumps(table))

    return edit


def lower_summary(table):
    table["privacy"]["epsilon"] *= 0.9


def lower_report(table):
    next(claim for claim in table["claims"] if claim["scope"] == "run")["epsilon"] *= 0.9


def no_claim(table):
    table["privacy"] = None


def gdp(table):
    table["privacy"]["accountant"] = "GDP (central limit)"


def more_rounds(table):
    table["privacy"]["rounds"] = 40


def longer(table):
    table["ledger"]["entries"] = 12


def unledgered_row(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"round":3,"phase":"final"}\n')


def changed_tensor(run, restate=False):
    """Change a number of the last model; with ``restate``, the digest that it states of itself too."""
    path = sorted((run / "checkpoints").glob("*.safetensors"))[-1]
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    if restate:
        (length,) = struct.unpack("<Q", content[:8])
        table = json.loads(content[8 : 8 + length])
        head = json.loads(table["__metadata__"]["checkpoint"])
        names = {"F32": "torch.float32", "F64": "torch.float64", "I64": "torch.int64"}
        tensors = {name: entry for name, entry in table.items() if name != "__metadata__"}
        rows = [[name, entry["shape"], names[entry["dtype"]]] for name, entry in sorted(tensors.items())]
        digest = hashlib.sha256(hashlib.sha256(json.dumps(rows).encode()).hexdigest().encode())
        for name in sorted(tensors):
            begin, end = tensors[name]["data_offsets"]
            digest.update(content[8 + length + begin : 8 + length + end])
        head["digest"] = digest.hexdigest()
        table["__metadata__"]["checkpoint"] = json.dumps(head)
        spelled = json.dumps(table).encode()
        content = bytearray(struct.pack("<Q", len(spelled)) + spelled + bytes(content[8 + length :]))
    path.write_bytes(bytes(content))


def shown_as_another_round(run):
    first, *_, last = sorted((run / "checkpoints").glob("*.safetensors"))
    shutil.copy(first, last.with_name("round-000009.safetensors"))
    content = (last.with_name("round-000009.safetensors")).read_bytes()
    last.with_name("round-000009.safetensors").write_bytes(content.replace(b'\\"round\\": 0', b'\\"round\\": 9'))


def exchanged(run):
    *_, before, last = sorted((run / "checkpoints").glob("*.safetensors"))
    shutil.copy(before, last)


CONTRADICTIONS = {
    "lines cut off at the end": (cut_off, "ledger-head"),
    "a report of more lines": (edit_json("privacy.json", longer), "ledger-head"),
    "a changed model": (changed_tensor, "checkpoints"),
    "a changed model that says so": (lambda run: changed_tensor(run, restate=True), "checkpoints"),
    "a model of another round": (shown_as_another_round, "checkpoints"),
    "an earlier model in the last one's place": (exchanged, "checkpoints"),
    "a round that was never charged": (unledgered_row, "unledgered-rounds"),
    "a summary of more rounds": (edit_json("summary.json", more_rounds), "unledgered-rounds"),
    "a summary of less epsilon": (edit_json("summary.json", lower_summary), "published-claims"),
    "a report of less epsilon": (edit_json("privacy.json", lower_report), "published-claims"),
    "a forbidden accountant": (edit_json("summary.json", gdp), "options-allowed"),
    "another learning rate": (
        other_setting("server_learning_rate = 0.01", "server_learning_rate = 0.02"),
        "config-hash",
    ),
    "another sample rate": (other_setting("sample_rate = 1.0", "sample_rate = 0.25"), "public-sampling"),
    "a lower budget": (other_setting("epsilon = 20.0", "epsilon = 2.0"), "public-sampling"),
    "another clip norm": (other_setting("clip_norm = 1.0", "clip_norm = 0.5"), "public-sampling"),
    "another adjacency": (
        other_setting('placement = "central"', 'placement = "central"\nadjacency = "replace-one"'),
        "public-sampling",
    ),
    "another model": (other_setting("dim = 4", "dim = 5"), "checkpoints"),
    "a lost catalogue": (lambda run: shutil.rmtree(run / "catalogue"), "layers-allowed"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_folder_that_contradicts_its_ledger_is_told(run, name):
    change, expected = CONTRADICTIONS[name]
    change(run)
    found = violations(run)
    assert expected in found
    assert "\n" not in found[expected]


def test_the_ledger_of_another_run_is_foreign(run, ledger):
    shutil.copy(ledger, run / "ledger.jsonl")
    found = violations(run)
    assert {"ledger-of-this-run", "config-hash", "ledger-head", "checkpoints", "public-sampling"} <= set(found)
    assert "the ledger is of r" in found["ledger-of-this-run"]


def test_a_summary_that_claims_nothing_beside_a_ledger_is_no_pass(run):
    edit_json("summary.json", no_claim)(run)
    (run / "privacy.json").unlink()
    assert "published-claims" in violations(run)


def test_a_ledger_of_before_models_were_named_is_a_warning(run, forge):

    def without_models(lines):
        lines[:] = [line for line in lines if line["kind"] != "model"]
        for line in lines:
            if line["kind"] == "commit":
                line["charge"] = {0: 0, 3: 2, 6: 4}[line["charge"]]

    reforge(run, forge, without_models)
    lines = lines_of(run / "ledger.jsonl")
    heads = {0: lines[1]["hash"], 1: lines[3]["hash"], 2: lines[5]["hash"]}
    for path in (run / "checkpoints").glob("*.safetensors"):
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        table = json.loads(content[8 : 8 + length])
        head = json.loads(table["__metadata__"]["checkpoint"])
        head["ledger_head"] = heads[head["round"]]
        table["__metadata__"]["checkpoint"] = json.dumps(head)
        spelled = json.dumps(table).encode()
        path.write_bytes(struct.pack("<Q", len(spelled)) + spelled + content[8 + length :])
    (run / "privacy.json").unlink()
    audit = record_findings(run)
    assert verdicts(audit)["checkpoints"] == "warned"
    assert audit.findings.violations == ()


def test_settings_that_are_newer_than_the_run_are_left_out_of_the_comparison(run, forge):
    scenario = RunFolder.open(run).scenario()
    other_setting('tuning = "undeclared"\n', "")(run)
    older = scenario.model_dump_json(exclude={"privacy": {"tuning"}})
    reforge(run, forge, set_line(config=hashlib.sha256(older.encode()).hexdigest()))
    assert verdicts(record_findings(run))["config-hash"] == "passed"
    reforge(run, forge, set_line(config="0" * 64))  # of a version whose other settings were others too
    found = next(check for check in record_findings(run).findings.checks if check.name == "config-hash")
    assert found.verdict == "warned"
    assert "it lacks privacy.tuning" in found.found


def test_a_deployed_servers_rows_must_hold_nothing_measured(run):
    shutil.rmtree(run / "nodes")
    (run / "summary.json").unlink()
    assert "unledgered-metrics" in violations(run)


@pytest.mark.slow
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_damaged_is_an_error_with_a_name_or_a_finding(finished, tmp_path_factory, data):
    run = Path(shutil.copytree(finished, tmp_path_factory.mktemp("damaged") / "run"))
    files = sorted(path for path in run.rglob("*") if path.is_file() and path.suffix != ".html")
    path = data.draw(st.sampled_from(files))
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["cut", "flip", "junk", "gone"]))
    damaged = {
        "cut": content[:place],
        "flip": content[:place] + bytes([content[place] ^ data.draw(st.integers(1, 255))]) + content[place + 1 :],
        "junk": data.draw(st.binary(max_size=200)),
    }
    if kind == "gone":
        path.unlink()
    else:
        path.write_bytes(damaged[kind])
    messages = []
    try:
        record_findings(run)
    except FedRecError as error:
        messages.append(str(error))
    assert not any("\n" in message for message in messages)
