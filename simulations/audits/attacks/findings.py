"""All attacks on a scenario: rows for a report, and what they say of the run's own defence."""

import tempfile
from pathlib import Path

import numpy as np

from fedrec.audit.findings import Attack, Findings
from fedrec.config import Scenario
from fedrec.flower.dimensions import dimensions_of
from fedrec.models import build_model
from fedrec.privacy.noise.source import noise_generator
from fedrec.privacy.placement import Dimensions
from fedrec.rounds import Contribution
from simulations.audits.attacks.attributes import attribute_inference
from simulations.audits.attacks.inversion import NAME as INVERSION
from simulations.audits.attacks.inversion import gradient_inversion, objection
from simulations.audits.attacks.items import by_popularity, items_from_upload
from simulations.audits.attacks.membership import interaction_membership
from simulations.audits.attacks.people import People, people_of
from simulations.audits.attacks.uploads import Devices
from simulations.audits.attacks.verdicts import Judged, checks_of
from simulations.audits.attacks.views import View, views_of
from simulations.audits.attacks.watching import Watched, watch

USERS, QUICK_USERS = 128, 24
LEAST_USERS, MOST_NUMBERS = 48, 240_000_000
"""Users are fewer where contributions are large: all of them together are of about so many numbers, at most."""
ROUNDS, QUICK_ROUNDS = 3, 1
INVERTED, QUICK_INVERTED = 10, 4
"""Devices whose gradients are inverted."""

NOT_ATTACKED = (
    "The seed of an audit decides the noise that attacks are tried on; the run's own noise is another draw.",
    "Attackers that change what they send to devices, or the items' public attributes, were not tried.",
    "What devices say of the fusion's weights, of ranks and of sums for item vectors was not attacked.",
    "Timing, sizes of messages and who takes part were not attacked.",
)


def attack_findings(scenario: Scenario, *, seed: int, quick: bool = False) -> Findings:
    """Attack what a run of ``scenario`` shows; return how well each attack does, and one check for each.

    Real users where the scenario's data are at hand (``simulations.audits.attacks.people``), drawn and ordered by
    ``seed``, on the production path from history to upload. Equal arguments give equal findings. ``quick``: fewer
    users, rounds and views. Figures are risk, of this attacker and these users; no epsilon. Raises ``ConfigError`` if
    there are too few users.
    """
    people = people_of(scenario, seed=seed, count=QUICK_USERS if quick else USERS)
    found = Judged()
    untested = [*people.notes, *NOT_ATTACKED]
    with tempfile.TemporaryDirectory(prefix="fedrec-attacks-") as folder:
        for contribution in _contributions(people.scenario):
            untested += _attack(people, contribution, Path(folder) / contribution.value, found, seed=seed, quick=quick)
    if people.scenario.privacy.interaction is not None:
        untested.append("The interaction-level layer on devices was not attacked: uploads were made without it.")
    _say_what_was_not_inverted(people.scenario, found)
    if not people.attributes:
        found.missing["attribute-inference"] = "nothing is known of these users that could be inferred"
    attacks = (by_popularity(people), *(attack for attack, _, _ in found.rows))
    return Findings(checks=checks_of(found, people.source), attacks=attacks, untested=tuple(dict.fromkeys(untested)))


def _contributions(scenario: Scenario) -> list[Contribution]:
    training, privacy = scenario.played, scenario.privacy
    collected = training.popularity_start and (privacy.popularity_share > 0 or not privacy.enabled)
    return [Contribution.POPULARITY] * collected + [Contribution.UPDATE] * (training.rounds > 0)


def _attack(
    people: People, contribution: Contribution, folder: Path, found: Judged, *, seed: int, quick: bool
) -> list[str]:
    """Add the rows of all attacks on a kind of upload; return what was not tried, a sentence each."""
    folder.mkdir()
    rng, source = np.random.default_rng([seed, len(contribution.value)]), noise_generator(seed).derived("attacks")
    dimensions = _dimensions(people)
    numbers = dimensions.popularity if contribution is Contribution.POPULARITY else dimensions.training
    people = people.first(max(LEAST_USERS, MOST_NUMBERS // max(numbers, 1)))
    views, untested = _views(people, contribution, dimensions, quick=quick)
    rounds = 1 if contribution is Contribution.POPULARITY else _rounds(people.scenario, quick=quick)
    watched = watch(people, Devices(people, folder / "devices"), contribution, views, rounds, source)
    attacks = items_from_upload(watched, people, rng)
    attacks += interaction_membership(watched, people, rng)
    attacks += attribute_inference(watched, people, rng)
    if contribution is Contribution.UPDATE:
        attacks += _inverted(people, watched, views, folder / "short", seed=seed, quick=quick)
    found.rows += [(attack, view, contribution) for attack, view in attacks]
    return untested


def _inverted(
    people: People, watched: Watched, views: tuple[View, ...], folder: Path, *, seed: int, quick: bool
) -> list[tuple[Attack, View]]:
    scenario = people.scenario
    if objection(scenario.model, scenario.played.local, scenario.played.rounds) is not None:
        return []
    users = QUICK_INVERTED if quick else INVERTED
    return gradient_inversion(people, watched.shared, views, users, folder, noise_generator(seed))


def _say_what_was_not_inverted(scenario: Scenario, found: Judged) -> None:
    reason = objection(scenario.model, scenario.played.local, scenario.played.rounds)
    found.missing[INVERSION] = reason or "nobody has enough distinct events"


def _dimensions(people: People) -> Dimensions:
    scenario = people.scenario
    shared = build_model(scenario.model, people.catalogue, scenario.run.seed).shared_state()
    return dimensions_of(scenario.model, scenario.played, shared, people.catalogue.num_items)


def _views(
    people: People, contribution: Contribution, dimensions: Dimensions, *, quick: bool
) -> tuple[tuple[View, ...], list[str]]:
    most = len(people) // 2
    views, untested = views_of(people.scenario, contribution, people.population, dimensions, most, quick=quick)
    return views, list(untested)


def _rounds(scenario: Scenario, *, quick: bool) -> int:
    return min(scenario.played.rounds, QUICK_ROUNDS if quick else ROUNDS)
