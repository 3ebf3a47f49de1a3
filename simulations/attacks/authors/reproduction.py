"""All reproductions by name: ``REPRODUCTIONS[name](seed)`` runs one and its clean twin, in some minutes at most.

``python -m simulations.attacks.authors.reproduction a-hum --seed 0`` prints one as a line of JSON.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from fedrec.data.fetch import find_dataset
from simulations.attacks.authors.adam_mf import AdamRecipe, run_adam
from simulations.attacks.authors.cluster_attack import ClusterAttack
from simulations.attacks.authors.fedrec_attack import FedRecAttack, leaked
from simulations.attacks.authors.interactions import Interactions, fifth_out, last_out, like_movielens_1m
from simulations.attacks.authors.measures import Judge
from simulations.attacks.authors.mf import Liars, Recipe, run
from simulations.attacks.authors.mlp import NetworkLiars, NetworkRecipe, run_network
from simulations.attacks.authors.pieck import PULLS, Pieck
from simulations.attacks.authors.pip_attack import PipAttack, popularity_levels
from simulations.attacks.authors.psmu import SyntheticUsers
from simulations.attacks.authors.random_users import RandomUsers
from simulations.attacks.authors.record import Reproduction, Row
from simulations.attacks.authors.spattack import Blind, Omniscient
from simulations.benches.origin import Origin

__all__ = ["REPRODUCTIONS", "Reproduction", "Row"]

Two = tuple[tuple[Row, ...], tuple[Row, ...]]
"""Rows with the attack, and of the clean twin."""
OF_99 = "HR@10 of each user's last item among 99 others"
RECALL = "recall@20 of a fifth of each user's items among all, of every eighth user"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a reproduction is of and is held to."""

    name: str
    source: str
    fraction: float
    claimed: str
    own: str


def _recorded(claim: Claim, data: str, hr: str, seed: int, twins: Callable[[], Two]) -> Reproduction:
    torch.set_num_threads(1)
    start = time.perf_counter()
    measured, clean = twins()
    return Reproduction(
        name=claim.name,
        source=claim.source,
        data=data,
        fraction=claim.fraction,
        iterations=measured[-1].iteration,
        measured=measured,
        clean=clean,
        claimed=claim.claimed,
        hr=hr,
        own=claim.own,
        seed=seed,
        seconds=round(time.perf_counter() - start, 1),
        origin=Origin.here(),
    )


# --- the network on a set of MovieLens-1M's size: A-ra, A-hum, PSMU -------------------------------------------------
NetworkMaker = Callable[[int, torch.Generator], NetworkLiars]
"""From the target to all liars."""


JUDGED = range(13)
CLEAN_JUDGED = range(0, 13, 4)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Setting:
    """What the attack and its twin share. ``state``: of the generator from which the attack draws on."""

    events: Interactions
    data: str
    target: int
    judge: Judge
    state: Tensor


@cache
def _network_setting(seed: int) -> _Setting:
    found = find_dataset("ml-1m") is not None
    events = fifth_out("ml-1m", seed) if found else like_movielens_1m(seed)
    target = least_popular(events.popularity)
    return _Setting(
        events=events,
        data="ml-1m" if found else "synthetic, of MovieLens-1M's size and skew",
        target=target,
        judge=Judge.full(events, target, 20, every=8),
        state=torch.Generator().manual_seed(seed).get_state(),
    )


@cache
def _clean_network(seed: int) -> tuple[Row, ...]:
    setting = _network_setting(seed)
    return run_network(setting.events, NetworkRecipe(), setting.judge, CLEAN_JUDGED, seed, None, 0)


def _of_a_network(claim: Claim, seed: int, make: NetworkMaker) -> Reproduction:
    setting = _network_setting(seed)
    events, liars = setting.events, int(setting.events.num_users * claim.fraction)

    def twins() -> Two:
        attackers = make(setting.target, _drawing_on(setting))
        measured = run_network(events, NetworkRecipe(), setting.judge, JUDGED, seed, attackers, liars)
        return measured, _clean_network(seed)

    return _recorded(claim, setting.data, RECALL, seed, twins)


def _drawing_on(setting: _Setting) -> torch.Generator:
    generator = torch.Generator()
    generator.set_state(setting.state)
    return generator


def least_popular(popularity: Tensor) -> int:
    """Return the item with the fewest events, one or more, of int64 ``[num_items]``."""
    return int(torch.where(popularity > 0, popularity, popularity.max() + 1).argmin())


A_RA = Claim(
    name="a-ra",
    source="Rong et al. 2022, IJCAI",
    fraction=0.001,
    claimed="as A-hum, which is to be better: paper's abstract",
    own="liars of a step share nothing; exposure and hits of every eighth user",
)
A_HUM = Claim(
    name="a-hum",
    source="Rong et al. 2022, IJCAI",
    fraction=0.001,
    claimed="ER@20 0 up to iteration 6, then 0.034, 0.306, 0.777 and 1 at iteration 10, ER@5 0.187 there, "
    "HR@20 from 0.005 to 0.021: repository's log, MovieLens-1M at 0.1 %",
    own=A_RA.own,
)
PSMU = Claim(
    name="psmu",
    source="Yuan et al. 2023, SIGIR",
    fraction=0.001,
    claimed="far higher exposure of unpopular items with far fewer malicious users and rounds: paper's abstract",
    own="from memory of the paper, without alternative products, in A-hum's network instead of Fed-NCF",
)


def a_ra(seed: int) -> Reproduction:
    """Run A-ra at 0.1 % on a network."""
    return _of_a_network(A_RA, seed, lambda target, g: RandomUsers(target=target, hard=False, generator=g))


def a_hum(seed: int) -> Reproduction:
    """Run A-hum at 0.1 % on a network."""
    return _of_a_network(A_HUM, seed, lambda target, g: RandomUsers(target=target, hard=True, generator=g))


def psmu(seed: int) -> Reproduction:
    """Run PSMU at 0.1 % on a network."""
    return _of_a_network(PSMU, seed, lambda target, g: SyntheticUsers(target=target, generator=g))


# --- matrix factorisation on MovieLens-100K: FedRecAttack, PIECK, PipAttack, Spattack -------------------------------
Maker = Callable[[Interactions, int, int, torch.Generator], Liars]
"""From events, the target and how many liars there are to all liars."""
BPR = Recipe(rate=0.01, loss="pairwise", decay=0.1, row_bound=1.0)
BCE = Recipe(rate=1.0, loss="pointwise", repeats_count=False)
MEAN = Recipe(rate=0.01, loss="pairwise", decay=0.1, joined="mean", clients_a_step=None)


@cache
def _factors_setting(seed: int, targeted: bool, tests_shown: bool) -> _Setting:
    events, generator = last_out("ml-100k", seed), torch.Generator().manual_seed(seed)
    target = int(torch.randint(0, events.num_items, (1,), generator=generator))
    judge = Judge.sampled(events, target if targeted else None, 10, generator, tests_shown=tests_shown)
    return _Setting(events=events, data="ml-100k", target=target, judge=judge, state=generator.get_state())


@cache
def _clean_factors(recipe: Recipe, iterations: int, seed: int, targeted: bool, tests_shown: bool) -> tuple[Row, ...]:
    setting = _factors_setting(seed, targeted, tests_shown)
    return run(setting.events, recipe, setting.judge, iterations, seed, None, 0)


def _of_factors(
    claim: Claim,
    recipe: Recipe,
    iterations: int,
    seed: int,
    make: Maker,
    *,
    targeted: bool = True,
    tests_shown: bool = True,
) -> Reproduction:
    setting = _factors_setting(seed, targeted, tests_shown)
    liars = int(setting.events.num_users * claim.fraction)

    def twins() -> Two:
        attackers = make(setting.events, setting.target, liars, _drawing_on(setting))
        measured = run(setting.events, recipe, setting.judge, iterations, seed, attackers, liars)
        return measured, _clean_factors(recipe, iterations, seed, targeted, tests_shown)

    return _recorded(claim, setting.data, OF_99, seed, twins)


FEDREC_ATTACK = Claim(
    name="fedrec-attack",
    source="Rong et al. 2022, ICDE",
    fraction=0.05,
    claimed="ER@5 from 0.002 to 0.387 after one iteration, then 0.520, 0.605, 0.717 and 0.781 after five, HR@10 from "
    "0.085 to 0.217: repository's log, MovieLens-100K at 5 %, 1 % of interactions known",
    own="nothing known",
)
PIECK_IPE = Claim(
    name="pieck-ipe",
    source="Zhang et al. 2024, ICDE",
    fraction=0.05,
    claimed="ER@10 0.875 (0.002 without), HR@10 0.577 (0.572): supplement, table XI, MovieLens-100K at 5 %",
    own="10 items mined; 60 iterations of 300; nothing sent in the first",
)
PIECK_UEA = Claim(
    name="pieck-uea",
    source=PIECK_IPE.source,
    fraction=0.05,
    claimed="ER@10 0.934 (0.002 without), HR@10 0.577 (0.572): supplement, table XI, MovieLens-100K at 5 %",
    own="150 items mined, as their program's default; 60 iterations of 300; nothing sent in the first",
)
PIP_ATTACK = Claim(
    name="pip-attack",
    source="Zhang et al. 2022, WSDM",
    fraction=0.05,
    claimed="the target's exposure rises significantly without harm to accuracy: paper's abstract",
    own="from memory of the paper, in PIECK's world: MovieLens-100K, matrix factorisation, 5 %",
)
SPATTACK_O = Claim(
    name="spattack-omniscient",
    source="Zhang et al. 2025, AAAI",
    fraction=0.052631,
    claimed="training is prevented with 5 % of all clients: paper's abstract and repository's command",
    own="120 epochs of 200",
)
SPATTACK_L = Claim(
    name="spattack-blind",
    source=SPATTACK_O.source,
    fraction=SPATTACK_O.fraction,
    claimed=SPATTACK_O.claimed,
    own=SPATTACK_O.own,
)


def fedrec_attack(seed: int) -> Reproduction:
    """Run FedRecAttack at 5 %, with 1 % of the interactions known."""

    def make(events: Interactions, target: int, liars: int, generator: torch.Generator) -> Liars:
        known = leaked(events, 0.01, generator)
        return FedRecAttack(num_users=events.num_users, target=target, known=known, generator=generator)

    return _of_factors(FEDREC_ATTACK, BPR, 5, seed, make, tests_shown=False)


def pieck_ipe(seed: int) -> Reproduction:
    """Run PIECK-IPE at 5 %."""
    return _of_factors(
        PIECK_IPE, BCE, 60, seed, lambda _, target, __, ___: Pieck(target=target, pull=PULLS["pieck-ipe"], mined=10)
    )


def pieck_uea(seed: int) -> Reproduction:
    """Run PIECK-UEA at 5 %."""
    return _of_factors(
        PIECK_UEA, BCE, 60, seed, lambda _, target, __, ___: Pieck(target=target, pull=PULLS["pieck-uea"], mined=150)
    )


def pip_attack(seed: int) -> Reproduction:
    """Run PipAttack at 5 %, with all items' popularity levels known."""

    def make(events: Interactions, target: int, liars: int, generator: torch.Generator) -> Liars:
        return PipAttack(target=target, levels=popularity_levels(events.popularity), generator=generator)

    return _of_factors(PIP_ATTACK, BCE, 40, seed, make)


def spattack_omniscient(seed: int) -> Reproduction:
    """Run Spattack-O at 5 %."""
    return _of_factors(SPATTACK_O, MEAN, 120, seed, lambda _, __, liars, ___: Omniscient(liars=liars), targeted=False)


def spattack_blind(seed: int) -> Reproduction:
    """Run Spattack-L at 5 %."""
    return _of_factors(SPATTACK_L, MEAN, 120, seed, lambda _, __, ___, g: Blind(generator=g), targeted=False)


# --- Adam on the server: ClusterAttack ------------------------------------------------------------------------------
CLUSTER_ATTACK = Claim(
    name="cluster-attack",
    source="Yu et al. 2023, AAAI",
    fraction=0.05,
    claimed="performance degrades effectively: paper's abstract; with 1 % of the users: repository's settings",
    own="5 % of MovieLens-100K's users for 1 % of MovieLens-1M's, 600 rounds of 6000; 1 % there is within noise",
)


def cluster_attack(seed: int) -> Reproduction:
    """Run ClusterAttack at 5 %."""
    events, generator = last_out("ml-100k", seed), torch.Generator().manual_seed(seed)
    count = int(events.num_users * CLUSTER_ATTACK.fraction)
    liars = torch.randperm(events.num_users, generator=generator)[:count]
    judge, judged = Judge.full(events, None, 10), range(0, 601, 100)

    def twins() -> Two:
        spoilers = ClusterAttack(liars=liars, generator=generator)
        measured = run_adam(events, AdamRecipe(), judge, judged, seed, spoilers)
        return measured, run_adam(events, AdamRecipe(), judge, judged, seed, None)

    return _recorded(CLUSTER_ATTACK, "ml-100k", "HR@10 of each user's last item among all", seed, twins)


REPRODUCTIONS: dict[str, Callable[[int], Reproduction]] = {
    "a-ra": a_ra,
    "a-hum": a_hum,
    "fedrec-attack": fedrec_attack,
    "pip-attack": pip_attack,
    "psmu": psmu,
    "pieck-ipe": pieck_ipe,
    "pieck-uea": pieck_uea,
    "spattack-omniscient": spattack_omniscient,
    "spattack-blind": spattack_blind,
    "cluster-attack": cluster_attack,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(REPRODUCTIONS))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print(REPRODUCTIONS[asked.name](asked.seed).to_json())
