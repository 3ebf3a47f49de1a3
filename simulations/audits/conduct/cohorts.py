"""Who is asked, and what sums are divided by: many rounds of the production's server with a node that trains nobody."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedrec.audit.evidence.sampling_tests import sampling_checks
from fedrec.audit.findings import Check
from fedrec.config import ModelConfig, Scenario, TrainingConfig
from fedrec.errors import FedRecError
from fedrec.flower.identity import task_identity
from fedrec.models.split import state_digest
from fedrec.privacy.mechanism import Mechanism
from server.federation import Federation
from simulations.audits.checks import judged, not_run
from simulations.audits.conduct.stand_in import StandIn
from simulations.audits.conduct.watch import Watch
from simulations.audits.probe import ITEMS, LATEST, Probe, Size, probe_of

EXPECTED = 60.0
"""Users of a cohort that a stand-in's population is chosen for."""
FEWEST, MOST = 150, 20_000
SAMPLING = "sampling-cohort-sizes"
DIVISOR_ROUNDS = 4


@dataclass(frozen=True, kw_only=True)
class Played:
    """Rounds with a stand-in. ``took_part``: bool ``[rounds, users]``; ``models``: digests after each round."""

    probe: Probe
    took_part: NDArray[np.bool_]
    models: tuple[str, ...]
    mechanism: Mechanism | None


def cohort_checks(
    scenario: Scenario, mechanisms: Sequence[Mechanism], seed: int, folder: Path, *, quick: bool
) -> Iterator[Check]:
    """Yield whether cohorts are drawn as claimed and sums divided by what is public; ledgers go to ``folder``."""
    folder.mkdir()
    probe = _probe(scenario, mechanisms, seed, rounds=12 if quick else 60)
    if probe is None:
        yield not_run(SAMPLING, "Are cohorts drawn as claimed?", "no cohorts are drawn: there are no rounds")
        return
    try:
        one = played(probe, folder / "one.jsonl", cohort_seed=2 * seed)
        yield from _sampling(one)
        other = played(probe, folder / "two.jsonl", cohort_seed=2 * seed + 1, stop_after=DIVISOR_ROUNDS)
    except FedRecError as error:
        yield not_run(SAMPLING, "Are cohorts drawn as claimed?", f"the server stopped early: {error}")
        return
    yield _divisor(one, other)


def played(probe: Probe, ledger: Path, *, cohort_seed: int, stop_after: int | None = None) -> Played:
    """Let the production's server play rounds with a stand-in; the noise is the same whatever the cohorts."""
    watch = Watch(ledger=ledger, stop_after=stop_after)
    federation = Federation(
        scenario=probe.scenario,
        catalogue=probe.catalogue,
        ledger=ledger,
        randomness=watch.randomness(cohort_seed, noise_seed=probe.scenario.run.seed),
        run_id="audit",
        hooks=watch.hooks(),
    )
    nodes = StandIn(probe.size.users, probe.catalogue.digest, ITEMS)
    with task_identity(run_id=1):
        federation.train(nodes)
    rounds = [shown.report.round for shown in watch.shown() if shown.report.round]
    took_part = np.zeros((len(rounds), probe.size.users), np.bool_)
    asked = {task.round: task for task in nodes.tasks}
    for row, round in enumerate(rounds):
        if round in asked:
            took_part[row, asked[round].participants] = True
    models = tuple(state_digest(shown.state.shared) for shown in watch.shown() if shown.report.round)
    mechanism = next((task.mechanism for task in nodes.tasks if task.round), None)
    return Played(probe=probe, took_part=took_part, models=models, mechanism=mechanism)


def _probe(scenario: Scenario, mechanisms: Sequence[Mechanism], seed: int, rounds: int) -> Probe | None:
    """Return a probe of many people and a least model, for nobody trains it; None where a scenario has no rounds."""
    if not scenario.played.released_rounds:
        return None
    rate = scenario.training.sample_rate
    users = int(min(max(EXPECTED / rate, FEWEST), MOST))
    size = Size(users=users, nodes=1, rounds=rounds, cohort=EXPECTED / MOST)
    probe = probe_of(scenario, mechanisms, seed=seed, size=size)
    small, privacy = probe.scenario, probe.scenario.privacy
    if privacy.cohort_cap:  # so high that it leaves nobody out: what is cut off is no Poisson sample
        privacy = privacy.model_copy(update={"cohort_cap": math.ceil(rate * users + 7 * math.sqrt(rate * users))})
    training = TrainingConfig(
        rounds=rounds,
        sample_rate=small.training.sample_rate,
        server_optimizer=small.training.server_optimizer,
        popularity_start=False,
    )
    model = ModelConfig(dim=2, branches=("mf",), recency_end=LATEST)
    smaller = Scenario(model=model, training=training, privacy=privacy, federation=small.federation, run=small.run)
    return Probe(scenario=smaller, size=size, catalogue=probe.catalogue)


def _divisor(one: Played, other: Played) -> Check:
    """Judge two runs that differ in who was drawn, and in nothing that the server is sent."""
    rounds = min(len(one.models), len(other.models))
    sizes = [int(run.took_part[:rounds].sum()) for run in (one, other)]
    differ = [number + 1 for number in range(rounds) if one.models[number] != other.models[number]][:1]
    return judged(
        "public-divisor",
        "Is the noisy sum divided by the public expected cohort, whoever and however many were drawn?",
        [f"the same sum under the same noise gives another model in round {n} for another cohort" for n in differ],
        f"The same sums under the same noise gave the same model, bit by bit, for cohorts of {sizes[0]} and {sizes[1]} "
        f"users in {rounds} rounds.",
        figures={"rounds": rounds, "users of one": sizes[0], "users of the other": sizes[1]},
        method="two runs of the server with one noise seed and two of cohorts, answered alike",
    )


def _sampling(run: Played) -> tuple[Check, ...]:
    mechanism = run.mechanism
    if mechanism is not None and mechanism.correlation is not None:
        return (_turns(run, mechanism),)
    return sampling_checks(run.took_part, run.probe.scenario.training.sample_rate)


def _turns(run: Played, mechanism: Mechanism) -> Check:
    """Judge a rotation, which is public: no user before its turn, and none too often."""
    correlation = mechanism.correlation
    assert correlation is not None  # for the type checker: the caller asked
    faults = []
    for user in range(run.took_part.shape[1]):
        rounds = np.flatnonzero(run.took_part[:, user])
        if len(rounds) > correlation.participations:
            faults.append(f"user {user} took part {len(rounds)} times, claimed are {correlation.participations}")
        if len(rounds) > 1 and int(np.diff(rounds).min()) < correlation.separation:
            faults.append(f"user {user} came again after {int(np.diff(rounds).min())} rounds")
    return judged(
        "participation-contract",
        "Do users take part as seldom and as far apart as the noise was made for?",
        faults,
        f"Nobody of {run.took_part.shape[1]} came sooner than {correlation.separation} rounds after the last time, or "
        f"more than {correlation.participations} times.",
        figures={"rounds": len(run.took_part), "users": run.took_part.shape[1]},
    )
