"""Checks of a ledger against the run folder that it lies in: its model, scenario, roster, rounds and metrics."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

from fedrec.audit.findings import Check
from fedrec.audit.record.evidence import Evidence, Folder
from fedrec.audit.record.lines import ChargeLine, Record
from fedrec.audit.record.mechanism_checks import joint_noise
from fedrec.audit.record.verdicts import judged, not_run
from fedrec.config import Scenario
from fedrec.errors import FedRecError
from fedrec.privacy.planning.run import guarantee_of

ASKED = {
    "ledger-head": "Does the ledger still end where the run left it?",
    "checkpoints": "Is every kept model the result of a release that the ledger has?",
    "ledger-of-this-run": "Is the ledger that of this run?",
    "config-hash": "Is the scenario the one that the ledger was charged under?",
    "unledgered-rounds": "Was every round that the run tells of charged?",
    "public-sampling": "Do the ledger's terms agree with the scenario and the roster?",
    "unledgered-metrics": "Did nothing leave the devices beside the ledger, such as a metric?",
}
"""Checks that need the folder, with their questions."""

CLOSE = 1e-9

Left = dict[str, Any]
"""Settings that are left out of a scenario's JSON, nested as they are."""


def folder_checks(evidence: Evidence) -> list[Check]:
    """Return the checks that need a folder; all ``not run`` for a ledger alone."""
    if evidence.folder is None:
        why = f"{evidence.path} was given alone: name the run's folder to have this looked at"
        return [not_run(name, asks, why) for name, asks in ASKED.items()]
    record, folder = evidence.record, evidence.folder
    return [
        _head(record, folder),
        _checkpoints(record, folder),
        _of_this_run(record, folder),
        _config(record, folder),
        _rounds(record, folder),
        _terms(record, folder),
        _metrics(folder),
    ]


def _head(record: Record, folder: Folder) -> Check:
    kept = {str(one.path.name): one.ledger_head for one in folder.checkpoints if one.ledger_head}
    stated = (folder.privacy or {}).get("ledger")
    if isinstance(stated, dict):
        kept["privacy.json"] = str(stated.get("head"))
    wrong = [
        f"{name} rests on the line with hash {head[:12]}, which the ledger has not: lines were cut off at the end, or "
        "it is another ledger"
        for name, head in kept.items()
        if head not in record.file.hashes
    ]
    if isinstance(stated, dict) and isinstance(stated.get("entries"), int) and stated["entries"] > len(record.said):
        wrong.append(f"privacy.json tells of {stated['entries']} lines, the ledger has {len(record.said)}")
    return judged(
        "ledger-head",
        ASKED["ledger-head"],
        f"The heads that {len(kept)} files kept are all on the ledger.",
        violations=wrong,
        warnings=[] if kept else ["no file keeps a head, so that lines cut off at the end would not be noticed"],
        figures={"heads": len(kept)},
    )


def _checkpoints(record: Record, folder: Folder) -> Check:
    models = {model.hash: model for model in record.models}
    wrong: list[str] = []
    odd: list[str] = []
    for kept in folder.checkpoints:
        name, model = kept.path.name, models.get(kept.ledger_head)
        if kept.round != kept.named:
            wrong.append(f"{name} is named for round {kept.named} and holds the model of round {kept.round}")
        if kept.digest != kept.head["digest"]:
            wrong.append(f"{name} is damaged or was changed: its tensors do not have the digest that it states")
        if model is not None:
            if model.digest != kept.digest:
                wrong.append(f"{name} holds another model than line {model.number} of the ledger published")
            if (model.run, model.round) != (kept.run, kept.round):
                wrong.append(f"{name} is of round {kept.round}, and rests on the line of round {model.round}")
        elif kept.ledger_head and record.models:
            wrong.append(f"{name} holds a model that the ledger has no line for")
        elif kept.ledger_head:
            odd.append(f"{name} holds a model, and the ledger is older than lines that name models")
        elif kept.round or any(charge.run == kept.run and charge.round == 0 for charge in record.charges):
            wrong.append(f"{name} of round {kept.round} rests on no line of the ledger")
        (odd if _older(record, folder) else wrong).extend(_misfits(folder, kept.shapes, name))
    return judged(
        "checkpoints",
        ASKED["checkpoints"],
        f"All {len(folder.checkpoints)} checkpoints hash to what they state, and to what the ledger has of them.",
        violations=wrong,
        warnings=odd,
        figures={"checkpoints": len(folder.checkpoints), "models": len(record.models)},
        method="SHA-256 of the tensors' names, shapes, types and bytes, computed anew",
    )


def _older(record: Record, folder: Folder) -> bool:
    """Return whether the run is of a version whose settings and models were others, so that they cannot be compared."""
    left_out, unknown = _unknown_then(folder)
    return bool(unknown) and _hash(folder.scenario, left_out) not in {charge.config for charge in record.charges}


def _misfits(folder: Folder, shapes: Mapping[str, tuple[int, ...]], name: str) -> Iterator[str]:
    """Name the first tensor by which a checkpoint is of another model than the scenario's."""
    try:
        expected = {key: tuple(value.shape) for key, value in folder.model.shared_state().items()}
    except FedRecError:
        return  # the check of layers says why there is no model
    for key in sorted(set(expected) | set(shapes)):
        if expected.get(key) != shapes.get(key):
            yield f"{name} has {key!r} of shape {shapes.get(key)}, the scenario's model {expected.get(key)}"
            return


def _of_this_run(record: Record, folder: Folder) -> Check:
    runs = record.runs
    kept = dict.fromkeys(checkpoint.run for checkpoint in folder.checkpoints)
    wrong = [f"the checkpoints are of run {run}, the ledger is of {', '.join(runs)}" for run in kept if run not in runs]
    others = [run for run in runs if run not in kept]
    odd = [f"the ledger holds releases of {', '.join(others)} too, which are counted"] if others and not wrong else []
    return judged(
        "ledger-of-this-run",
        ASKED["ledger-of-this-run"],
        f"Ledger and checkpoints are of run {', '.join(runs)}.",
        violations=wrong,
        warnings=odd,
    )


def _config(record: Record, folder: Folder) -> Check:
    stated = {charge.config for charge in record.charges}
    expected = _hash(folder.scenario)
    left_out, unknown = _unknown_then(folder)
    then = _hash(folder.scenario, left_out)
    others = sorted(stated - {expected, then})
    text = (
        f"config.toml hashes to {expected[:12]}, and the ledger was charged under {', '.join(o[:12] for o in others)}"
    )
    return judged(
        "config-hash",
        ASKED["config-hash"],
        f"config.toml hashes to {next(iter(stated))[:12] if stated else ''}, as every charge says.",
        violations=[f"{text}: the scenario was changed, or the ledger is of another run"]
        if others and not unknown
        else [],
        warnings=[f"{text}; it lacks {', '.join(sorted(unknown))}, so that it was written by another version"]
        if others and unknown
        else [],
        method="SHA-256 of the scenario as JSON, every default filled in",
    )


def _hash(scenario: Scenario, left_out: Left | None = None) -> str:
    text = scenario.model_dump_json(exclude=left_out or None)
    return hashlib.sha256(text.encode()).hexdigest()


def _unknown_then(folder: Folder) -> tuple[Left, list[str]]:
    """Return settings that this version has and ``config.toml`` has not, as they are nested and by name."""
    names: list[str] = []
    left = _newer(folder.scenario.model_dump(mode="json"), folder.config_keys, "", names)
    return left, names


def _newer(table: dict[str, Any], known: frozenset[str], prefix: str, names: list[str]) -> Left:
    left: Left = {}
    for name, value in table.items():
        key = prefix + name
        if value is None or value == {}:
            continue  # tables of settings have no way to write it
        if key not in known:
            left[name] = True
            names.append(key)
        elif isinstance(value, dict) and (inner := _newer(value, known, key + ".", names)):
            left[name] = inner
    return left


def _rounds(record: Record, folder: Folder) -> Check:
    run = folder.checkpoints[-1].run if folder.checkpoints else record.runs[-1]
    charged = {charge.round for charge in record.charges if charge.run == run}
    played = {row["round"] for row in folder.rows if row["phase"] == "final" and row["round"] > 0}
    wrong = [f"metrics.jsonl has round {number}, which was never charged" for number in sorted(played - charged)]
    wrong += [
        f"{kept.path.name} is of round {kept.round}, which was never charged"
        for kept in folder.checkpoints
        if kept.round and kept.round not in charged
    ]
    if folder.summary is not None:
        privacy = folder.summary.get("privacy")
        told = privacy.get("rounds") if isinstance(privacy, dict) else None
        total = sum(charge.steps for charge in record.charges if charge.run == run)
        if told is not None and not (type(told) is int and told <= total):
            wrong.append(f"summary.json tells of {told!r} noisy rounds, the ledger of {total} releases")
    return judged(
        "unledgered-rounds",
        ASKED["unledgered-rounds"],
        f"All {len(played)} rounds that the run tells of stand on the ledger, which has {len(charged)}.",
        violations=wrong,
        figures={"rounds_told": len(played), "rounds_charged": len(charged)},
    )


def _terms(record: Record, folder: Folder) -> Check:
    wrong: list[str] = []
    rosters = {checkpoint.population for checkpoint in folder.checkpoints}
    promised = guarantee_of(folder.scenario.privacy)
    for charge in record.charges:
        wrong += [f"{charge.name} {text}" for text in _differences(charge, folder.scenario, rosters)]
        if charge.words.unit == "user" and str(charge.words) != str(promised):
            wrong.append(f"{charge.name} is charged for ({charge.words}), the scenario promises ({promised})")
    rate = folder.scenario.training.sample_rate
    return judged(
        "public-sampling",
        ASKED["public-sampling"],
        f"Number of users, sample rate (training: {rate:g}), clip norm, placement and promise are those of roster and "
        "scenario, in every release.",
        violations=wrong,
    )


def _differences(charge: ChargeLine, scenario: Scenario, rosters: set[int]) -> Iterator[str]:
    mechanism, privacy = charge.mechanism, scenario.privacy
    once = charge.round == 0 or charge.release == "ranks"
    if rosters and mechanism.get("population") not in rosters:
        yield f"is over {mechanism.get('population')} users, the roster has {sorted(rosters)[0]}"
    correlation = mechanism.get("correlation")
    rate = 1.0 if once else scenario.training.sample_rate
    if isinstance(correlation, dict):
        rate = 1 / correlation.get("separation", math.nan)
    if not _near(mechanism.get("sample_rate"), rate):
        yield f"has sample rate {mechanism.get('sample_rate')}, the scenario {rate:g}"
    for name, told in (("placement", privacy.placement), ("noise", privacy.noise)):
        if mechanism.get(name) != told:
            yield f"has {name} {mechanism.get(name)!r}, the scenario {told!r}"
    clip, least, most = mechanism.get("clip_norm"), privacy.clip_norm, privacy.clip_norm
    if once:
        least = most = 1.0
    elif privacy.clipping == "adaptive":
        least, most = min(privacy.clip_norm_bounds[0], least), max(privacy.clip_norm_bounds[1], most)
    if not isinstance(clip, int | float) or not least * (1 - CLOSE) <= clip <= most * (1 + CLOSE):
        yield f"is clipped to {clip}, the scenario says {least:g}" + (f" to {most:g}" if most > least else "")
    told_noise = privacy.noise_multiplier
    if told_noise and not once and privacy.placement == "central" and joint_noise(mechanism) < told_noise * (1 - 1e-6):
        yield f"has noise multiplier {joint_noise(mechanism):g}, the scenario {told_noise:g}"
    if not _near(charge.delta, privacy.delta_for(int(mechanism.get("population") or 1))):
        yield f"is judged at delta {charge.delta:g}, the scenario's is another"
    if charge.budget > privacy.epsilon * (1 + CLOSE):
        yield f"is judged against a budget of {charge.budget:g}, the scenario's is {privacy.epsilon:g}"


def _near(value: object, told: float) -> bool:
    return isinstance(value, int | float) and abs(value - told) <= CLOSE * told


def _metrics(folder: Folder) -> Check:
    measured = [row for row in folder.rows if row.get("metrics")]
    counted = [row for row in folder.rows if row.get("cohort") is not None]
    deployed = not folder.run.nodes.is_dir() and not _simulated(folder)
    own = (
        f"metrics.jsonl has {len(measured)} rows measured on users' held-out events and {len(counted)} with the size "
        "of the cohort, without noise: they are the researcher's own in a simulation; nothing of them may be published "
        "with the claim, and a deployed server must have none measured"
    )
    broken = (
        f"metrics.jsonl has {len(measured)} rows measured without noise, and the run has no simulated nodes that a "
        "researcher could have measured them on"
    )
    return judged(
        "unledgered-metrics",
        ASKED["unledgered-metrics"],
        "metrics.jsonl holds nothing that was computed from users' data but what was released.",
        violations=[broken] if measured and deployed else [],
        warnings=[own] if measured or counted else [],
        figures={"measured_rows": len(measured), "cohort_rows": len(counted)},
    )


def _simulated(folder: Folder) -> bool:
    """Return whether the summary tells of a data set that the run's maker held: a simulation."""
    return folder.summary is not None and isinstance(folder.summary.get("protocol"), dict)
