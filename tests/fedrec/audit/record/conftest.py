"""A small private run, ledgers of any lines, and how to break them."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedrec.config import Scenario
from fedrec.data.load import load_dataset
from fedrec.privacy.accounting.accountant import epsilon_pld
from fedrec.privacy.accounts.budget import Budget
from fedrec.privacy.accounts.entries import Release
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.guarantee import Guarantee
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.planning.run import guarantee_of
from fedrec.runs.folder import RunFolder
from simulations.phase import Layout, Phase
from simulations.progress import Silence

MECHANISM = Mechanism(clip_norm=1.0, noise_multiplier=8.0, sample_rate=1.0, population=900)

Lines = list[dict[str, Any]]


def spelled(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def chained(lines: Lines) -> bytes:
    """Forge a whole chain of these lines, as whoever can write the file can."""
    written, previous = [], "0" * 64
    for entry, line in enumerate(lines):
        body = {key: value for key, value in line.items() if key != "hash"} | {"entry": entry, "previous": previous}
        previous = hashlib.sha256(spelled(body)).hexdigest()
        written.append(spelled({**body, "hash": previous}) + b"\n")
    return b"".join(written)


@pytest.fixture
def forge() -> Callable[[Path, Lines], None]:
    """Return what writes lines as a ledger whose chain holds."""

    def write(path: Path, lines: Lines) -> None:
        path.write_bytes(chained(lines))

    return write


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger of three rounds, each charged and committed, with the model that came of it."""
    path = tmp_path / "ledger.jsonl"
    made = Ledger(path)
    for number in (1, 2, 3):
        release = Release(
            run_id="r", round=number, name="training", mechanism=MECHANISM, noise_source="operating system"
        )
        made.commit(made.charge(release, Budget(epsilon=6.0, delta=1e-5)), f"{number:064x}")
        made.publish("r", number, f"{number + 10:064x}")
    return path


SMALL: dict[str, dict[str, Any]] = {
    "run": {"name": "small"},
    "data": {"source": "synthetic", "synthetic_users": 40, "synthetic_items": 30},
    "model": {"dim": 4, "history_length": 6, "branches": ["mf"]},
    "training": {"rounds": 2, "sample_rate": 1.0},
    "privacy": {"epsilon": 20.0, "noise_multiplier": 2.0, "delta": 1e-3, "popularity_share": 0.05},
    "federation": {"nodes": 3},
}


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return what trains a small private run of three devices, with other settings by section.

    What a simulation measures and draws afterwards takes longer than the training, and is left out.
    """

    def trained(**changes: dict[str, Any]) -> Path:
        sections = {name: {**SMALL.get(name, {}), **changes.get(name, {})} for name in {*SMALL, *changes}}
        scenario = Scenario.model_validate(sections)
        folder = RunFolder.create(tmp_path_factory.mktemp("audited") / "run", scenario)
        dataset = load_dataset(scenario.data, 0)
        dataset.catalogue.save(folder.catalogue)
        phase = Phase(
            name="final",
            scenario=scenario,
            catalogue=dataset.catalogue,
            split=dataset.splits.final,
            user_keys=dataset.log.user_ids,
            layout=Layout(
                nodes=folder.nodes,
                catalogue=folder.catalogue,
                ledger=folder.ledger_path,
                checkpoints=folder.checkpoints,
            ),
            progress=Silence(),
            look_every=1,
            on_row=folder.append_metrics,
        )
        phase.train()
        _conclude(folder, guarantee_of(scenario.privacy))
        return folder.path

    return trained


@pytest.fixture(scope="session")
def finished(train: Callable[..., Path]) -> Path:
    """A finished private run: never written to."""
    return train()


def _conclude(folder: RunFolder, guarantee: Guarantee) -> None:
    """Write of summary and privacy report what an audit reads."""
    ledger = Ledger(folder.ledger_path)
    stated = {
        "epsilon": epsilon_pld(ledger.events(guarantee), 1e-3, adjacency=guarantee.adjacency),
        "delta": 1e-3,
    }
    summary = {"privacy": {**stated, "rounds": 2, "accountant": "PLD (dp-accounting)"}, "protocol": {"seed": 0}}
    claims = [{**stated, "scope": "run", "level": "user"}, {"scope": "device", "level": "interaction"}]
    report = {"ledger": {"head": ledger.head(), "entries": len(ledger.entries())}, "claims": claims}
    folder.summary_path.write_text(json.dumps(summary))
    folder.privacy_path.write_text(json.dumps(report))


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be broken."""
    return Path(shutil.copytree(finished, tmp_path / "run"))
