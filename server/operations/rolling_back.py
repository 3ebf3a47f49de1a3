"""Taking a run back to an earlier committed round: a new state from an earlier checkpoint. The ledger keeps everything.

What was released since stays released and paid for, and the rounds that are played again are paid for again: a run may
so end early, on its budget. The rounds are asked of other cohorts than before where cohorts are seeded, as of an
attempt that was abandoned.
"""

from dataclasses import replace
from pathlib import Path

from fedrec.data.catalogue import Catalogue
from fedrec.errors import ConfigError
from fedrec.flower.participation import Participation
from fedrec.runs.folder import RunFolder
from server.checkpoint import Checkpoints, DamagedError, read_checkpoint
from server.journal import FOLDER

TAKEN_BACK = ".taken-back"
"""What a checkpoint's name, or the journal's, ends with once it counts no more."""


def rounds_on_disk(folder: Path) -> list[int]:
    """Return the rounds that a run can be taken back to, the last one among them."""
    names = (path.stem.removeprefix("round-") for path in (folder / "checkpoints").glob("round-*.safetensors"))
    return sorted(int(name) for name in names if name.isdecimal())


def roll_back(folder: Path, round: int) -> int:
    """Let the checkpoint of ``round`` be the last one of the run in ``folder``; return the round that was.

    The run must not be trained meanwhile: ``DataError`` naming the process that does. Raises ``ConfigError`` for a
    round of which there is no checkpoint, for the last one, and where playing a round again would release the same
    noise twice: noise that is correlated over rounds, or drawn from a seed.
    """
    run = RunFolder.open(folder)
    checkpoints = Checkpoints(run.checkpoints, Catalogue.load(run.catalogue).digest)
    with checkpoints.locked():
        there = rounds_on_disk(folder)
        if round not in there[:-1]:
            earlier = ", ".join(map(str, there[:-1])) or "none"
            raise ConfigError(f"{folder.name} cannot go back to round {round}: it can to {earlier}")
        path = run.checkpoints / f"round-{round:06d}.safetensors"
        state, _ = read_checkpoint(path)
        _refuse_same_noise(run, correlated=state.stream is not None)
        asked = _asked_since(run.checkpoints / f"round-{there[-1]:06d}.safetensors") or state.participation
        # Newest first: whatever a crash leaves is a run that is taken back less far, or its journal less.
        journal = run.checkpoints / FOLDER
        for later in reversed(there[there.index(round) + 1 :]):
            newer = run.checkpoints / f"round-{later:06d}.safetensors"
            newer.replace(newer.with_suffix(newer.suffix + TAKEN_BACK))
        if journal.is_dir():
            journal.replace(_free(run.checkpoints / f"{FOLDER}{TAKEN_BACK}"))
        checkpoints.save(replace(state, abandoned=state.abandoned + 1, participation=asked))
    return there[-1]


def _asked_since(newest: Path) -> Participation | None:
    """Return who was asked how often up to now: a run that is taken back does not take that back."""
    try:
        return read_checkpoint(newest)[0].participation
    except DamagedError:
        return None


def _refuse_same_noise(run: RunFolder, *, correlated: bool) -> None:
    scenario = run.scenario()
    if not scenario.privacy.enabled:
        return
    if correlated:
        raise ConfigError(
            "this run's noise is correlated over rounds: a round that is played again would undo it; begin another run "
            "from the model of an earlier round"
        )
    if scenario.noise_seed is not None:
        raise ConfigError(
            "this run's noise comes from a seed: a round that is played again would have the same noise, and the two "
            "releases together none; set privacy.noise_seed = none in a run that may be rolled back"
        )


def _free(path: Path) -> Path:
    number = 0
    while (found := path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    return found
