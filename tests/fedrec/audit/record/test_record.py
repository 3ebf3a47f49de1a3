"""A run's record: what holds passes, and each way of breaking it is named by the check that is there for it."""

import hashlib
import json
import math
import re
import shutil
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedrec.audit.record import record_findings
from fedrec.errors import ConfigError, DataError, FedRecError, LedgerError
from fedrec.privacy.accounts.budget import Budget
from fedrec.privacy.accounts.entries import Release
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.mechanism import Correlation, Mechanism
from fedrec.runs.folder import RunFolder

MECHANISM = Mechanism(clip_norm=1.0, noise_multiplier=8.0, sample_rate=1.0, population=900)


def lines_of(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def verdicts(audit):
    """The worst verdict by name of check."""
    worst = ["passed", "not run", "warned", "violated"]
    found = {}
    for check in audit.findings.checks:
        found[check.name] = max(found.get(check.name, "passed"), check.verdict, key=worst.index)
    return found


def violations(path, **given):
    return {check.name: check.found for check in record_findings(path, **given).findings.violations}


def charges(lines):
    return [line for line in lines if line["kind"] == "charge"]


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


# --- a ledger that was forged, its chain whole --------------------------------------------------------------------
def late(lines):
    lines[4]["time"] = "2020-01-01T00:00:00.000+00:00"


def future(lines):
    lines[-1]["time"] = "2999-01-01T00:00:00.000+00:00"


def local_time(lines):
    lines[0]["time"] = "2026-11-22T15:17:32.159+02:00"


def out_of_order(lines):
    charges(lines)[1]["round"], charges(lines)[2]["round"] = 3, 2
    lines[5]["round"], lines[8]["round"] = 3, 2


def committed_first(lines):
    lines[0]["kind"], lines[1]["kind"] = "charge", "commit"
    lines[0], lines[1] = lines[1], lines[0]


def committed_twice(lines):
    lines.append({**lines[1], "charge": 0})


def without_digest(lines):
    del lines[1]["digest"]


def uncharged_model(lines):
    lines[2]["round"] = 7


def set_mechanism(**values):
    def change(lines):
        for line in charges(lines):
            line["mechanism"].update(values)

    return change


def set_event(**values):
    def change(lines):
        for line in charges(lines):
            line["event"].update(values)

    return change


def set_line(**values):
    def change(lines):
        for line in charges(lines):
            line.update(values)

    return change


def one_of_another_population(lines):
    charges(lines)[1]["mechanism"].update(population=901, normaliser=901.0)


def understated(lines):
    charges(lines)[-1]["epsilon"] *= 0.9


def understated_midway(lines):
    charges(lines)[0]["epsilon"] *= 0.5


def same_seed_twice(lines):
    for line in charges(lines):
        line["mechanism"]["noise_source"] = "seeded: 3"
    lines += [{**lines[0], "run": "other"}, {**lines[1], "charge": 9, "digest": "f" * 64}]


def two_streams_sums(lines):
    for line in charges(lines):
        line["event"] = {"type": "correlated-gaussian", "noise_multiplier": 8.0, "stream": "r/training", "steps": 1}
    lines += [dict(lines[0]), {**lines[1], "charge": 9, "digest": "f" * 64}]


FORGERIES = {
    "time runs back": (late, "ledger-time"),
    "a line of the future": (future, "ledger-time"),
    "local time": (local_time, "ledger-time"),
    "rounds out of order": (out_of_order, "ledger-counters"),
    "committed before charged": (committed_first, "outcomes"),
    "committed twice": (committed_twice, "outcomes"),
    "a commit without digest": (without_digest, "outcomes"),
    "a model that was not charged": (uncharged_model, "models-after-charges"),
    "no noise": (set_mechanism(noise_multiplier=0.0), "noise-positive"),
    "an infinite clip norm": (set_mechanism(clip_norm=0.0), "clip-covers-everything"),
    "weights": (set_mechanism(weights="number of events"), "equal-weights"),
    "a population that changes": (one_of_another_population, "public-population"),
    "divided by who came": (set_mechanism(normaliser=871.0), "public-normaliser"),
    "a delta of 1/N": (set_line(delta=1 / 900), "delta-below-one-user"),
    "charged under more noise": (set_event(noise_multiplier=16.0), "event-covers-mechanism"),
    "charged under a lower rate": (set_event(sample_rate=0.5), "event-covers-mechanism"),
    "independent noise as one stream": (
        set_line(event={"type": "correlated-gaussian", "noise_multiplier": 8.0, "stream": "s", "steps": 1}),
        "event-covers-mechanism",
    ),
    "a cap charged as a plain sample": (
        lambda lines: (
            set_mechanism(sample_rate=0.5, cohort_cap=460, sampling="capped poisson", normaliser=450.0)(lines),
            set_event(sample_rate=0.5)(lines),
        ),
        "event-covers-mechanism",
    ),
    "amplified against the server": (
        lambda lines: (set_event(sample_rate=0.5)(lines), set_line(adversary="server")(lines)),
        "amplification-adversary",
    ),
    "amplified where cohorts are shuffled": (
        lambda lines: (set_event(sample_rate=0.5)(lines), set_mechanism(sampling="shuffled batches")(lines)),
        "amplification-adversary",
    ),
    "a total that is too low": (understated, "epsilon-recomputed"),
    "a total that is too low on the way": (understated_midway, "running-totals"),
    "a budget that is passed": (set_line(budget=0.5), "budget-kept"),
    "an event without noise": (set_event(noise_multiplier=0.0), "epsilon-recomputed"),
    "an unknown event": (set_line(event={"type": "magic", "steps": 1}), "epsilon-recomputed"),
    "one seed for two sums": (same_seed_twice, "noise-reuse"),
    "one row of a stream for two sums": (two_streams_sums, "noise-reuse"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_ledger_is_told_by_the_check_that_is_there_for_it(ledger, forge, name):
    change, expected = FORGERIES[name]
    lines = lines_of(ledger)
    change(lines)
    forge(ledger, lines)
    found = violations(ledger)
    assert expected in found
    assert "\n" not in found[expected]


def test_what_is_odd_without_breaking_a_claim_is_a_warning(ledger, forge):
    lines = lines_of(ledger)
    set_mechanism(noise_source="seeded: 3")(lines)
    set_line(code="fedrec 0.0.1")(lines)
    lines[1]["digest"] = "d16e57"
    lines += [dict(lines[6]), {**lines[7], "charge": 9, "digest": f"{3:064x}"}]
    lines[-2]["epsilon"] = 9.0
    forge(ledger, lines)
    found = verdicts(record_findings(ledger))
    assert [found[name] for name in ("noise-source", "code-version", "outcomes", "ledger-counters")] == ["warned"] * 4


@pytest.mark.slow
def test_a_capped_cohort_and_correlated_noise_and_a_count_pass_as_they_are_charged(tmp_path):
    correlation = Correlation(strategy="banded", rounds=6, separation=2, participations=3, sensitivity=math.sqrt(3))
    kinds = [
        Mechanism(clip_norm=1.0, noise_multiplier=4.0, sample_rate=0.1, population=900, cohort_cap=95),
        Mechanism(clip_norm=1.0, noise_multiplier=4.0, sample_rate=0.1, population=900, count_noise=8.0),
        Mechanism(
            clip_norm=1.0,
            noise_multiplier=6.0,
            sample_rate=0.5,
            population=900,
            amplified=False,
            correlation=correlation,
        ),
    ]
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for number, mechanism in enumerate(kinds, 1):
        release = Release(run_id="r", round=number, name="training", mechanism=mechanism, noise_source="x")
        ledger.commit(ledger.charge(release, Budget(epsilon=9.0, delta=1e-5)), "a" * 64)
    audit = record_findings(ledger.path)
    assert audit.findings.violations == ()
    assert audit.mechanisms == tuple(kinds)


# --- a folder whose parts contradict each other -------------------------------------------------------------------
def reforge(run, forge, change):
    path = run / "ledger.jsonl"
    lines = lines_of(path)
    change(lines)
    forge(path, lines)


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


def other_setting(old, new):
    def change(run):
        path = run / "config.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


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


# --- devices ------------------------------------------------------------------------------------------------------
def device(run: Path) -> Path:
    return run / "nodes" / "node-000001" / "ledger.jsonl"


def foreign_round(lines):
    lines.append({**charges(lines)[-1], "round": 7, "epsilon": 19.0})


def weaker(lines):
    charges(lines)[-1]["mechanism"]["noise_multiplier"] = 1.0
    charges(lines)[-1]["event"]["noise_multiplier"] = 1.0


def another_rate(lines):
    charges(lines)[-1]["mechanism"]["sample_rate"] = 0.25


def renamed(lines):
    charges(lines)[-1]["release"] = "survey"


@pytest.mark.parametrize(
    ("change", "expected", "text"),
    [
        (foreign_round, "devices-covered", "round 7.* is a release that the server never wrote down"),
        (weaker, "device-terms", "has noise multiplier 1, and the server claims 2"),
        (another_rate, "device-terms", "has sample_rate 0.25, and the server 1.0"),
        (renamed, "device-terms", "is a release that the server calls 'training'"),
        (set_event(noise_multiplier=50.0), "device-terms", "charges less than the server's release spends"),
        (set_line(epsilon=0.01), "device-epsilon", "states epsilon 0.01"),
        (set_line(budget=0.01), "device-epsilon", "of a budget of 0.01"),
    ],
)
def test_a_device_that_the_servers_claim_does_not_cover_is_told(run, forge, change, expected, text):
    lines = lines_of(device(run))
    change(lines)
    forge(device(run), lines)
    found = record_findings(run).findings
    (check,) = [check for check in found.violations if check.name == expected]
    assert re.search(text, check.found)


def test_a_broken_ledger_of_a_device_is_named_and_the_others_are_still_read(run):
    device(run).write_bytes(device(run).read_bytes()[:-20])
    audit = record_findings(run)
    (check,) = audit.findings.violations
    assert check.name == "device-ledgers"
    assert "node-000001" in check.found
    assert "cut short" in check.found
    assert verdicts(audit)["devices-covered"] == "passed"


def test_a_device_may_charge_more_and_need_not_know_each_round(run, forge):
    lines = lines_of(device(run))
    del lines[1]
    lines[-1]["event"]["steps"] = 2  # the one that it missed, too
    lines[-1]["epsilon"] = 19.0
    forge(device(run), lines)
    assert violations(run) == {}


def test_a_round_that_came_to_nothing_while_the_run_goes_on_is_a_warning(run, forge):
    (run / "summary.json").unlink()
    lines = lines_of(device(run))
    lines.append({**charges(lines)[-1], "round": 3, "epsilon": 19.0})
    forge(device(run), lines)
    audit = record_findings(run)
    assert verdicts(audit)["devices-covered"] == "warned"
    assert audit.findings.violations == ()


def test_devices_may_be_named_and_must_exist(run, ledger, tmp_path):
    audit = record_findings(run / "ledger.jsonl", devices=[device(run).parent])
    assert (audit.devices, verdicts(audit)["devices-covered"]) == (1, "passed")
    with pytest.raises(LedgerError, match="does not exist: name devices"):
        record_findings(ledger, devices=[tmp_path / "nobody"])


def test_a_device_of_another_server_is_not_judged(run, ledger):
    audit = record_findings(run, devices=[ledger])
    assert verdicts(audit)["devices-covered"] == "passed"
    assert next(c for c in audit.findings.checks if c.name == "devices-covered").figures["elsewhere"] == 3


# --- several ledgers of the same people ---------------------------------------------------------------------------
def shared_ledger(run, path, population_epsilon):
    """Give a run a ledger that it shares, as its settings would have."""
    text = (run / "config.toml").read_text().replace('population_ledger = ""', f'population_ledger = "{path}"')
    text = text.replace("[privacy]\n", f"[privacy]\npopulation_epsilon = {population_epsilon}\n")
    (run / "config.toml").write_text(text)


def test_ledgers_of_the_same_people_are_added_up_and_held_against_their_budget(run, ledger, tmp_path):
    shared = tmp_path / "people.jsonl"
    shutil.copy(run / "ledger.jsonl", shared)
    together = next(
        check
        for check in record_findings(run, others=[ledger, shared]).findings.checks
        if check.name == "population-together"
    )
    alone = record_findings(run).claims[0]
    assert together.verdict == "passed"
    assert together.figures["repeated"] == 1
    assert together.figures["lower"] > alone.upper * 0.99
    assert together.figures["every_line_upper"] > together.figures["upper"]
    shared_ledger(run, shared, 30.0)
    assert "population-together" not in violations(run)
    other_setting("population_epsilon = 30.0", "population_epsilon = 0.5")(run)
    assert "population-together" in violations(run)


def test_a_release_that_the_people_were_not_charged_for_is_told(run, forge, tmp_path):
    shared = tmp_path / "people.jsonl"
    forge(shared, lines_of(run / "ledger.jsonl")[:3])
    shared_ledger(run, shared, 30.0)
    assert "2 releases are not on" in violations(run)["population-ledger"]
    shared.unlink()
    with pytest.raises(LedgerError, match="which the run shares with others, does not exist"):
        record_findings(run)
