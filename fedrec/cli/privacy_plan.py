"""``fedrec privacy plan``: what a budget buys before a run. Nothing is read; nothing is written but a picture."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from fedrec.cli.output import write_json, write_line, write_table
from fedrec.cli.privacy_tables import rows, shown, sides, words, write_words
from fedrec.config.privacy import DELTA_POWER
from fedrec.errors import ConfigError
from fedrec.optional import optional
from fedrec.privacy.accounting.profile import GROUPS, profile
from fedrec.privacy.accounting.search_cost import SearchCost, search_cost
from fedrec.privacy.guarantee import Adjacency, Adversary, Guarantee
from fedrec.privacy.mechanism import Mechanism, Placement
from fedrec.privacy.planning.run import check_delta
from fedrec.privacy.planning.solvers import Conditions, Terms, solve
from fedrec.privacy.planning.trade_off import MANY, TradeOff, trade_off

_AGAINST: dict[Placement, Adversary] = {"central": "broadcast", "device": "server", "distributed": "secure-sum"}
AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """The options, checked: ``delta`` and ``sample_rate`` are numbers here."""

    epsilon: float | None
    delta: float
    noise_multiplier: float | None
    sample_rate: float | None
    rounds: int | None
    population: int | None
    clip_norm: float
    placement: Placement
    guarantee: Guarantee
    cohort_cap: int | None


def plan(
    epsilon: Annotated[float | None, typer.Option(help="Budget for all rounds together.")] = None,
    delta: Annotated[
        str, typer.Option(help=f"Below one over the users; auto: users to the power of -{DELTA_POWER}.")
    ] = "1e-5",
    noise_multiplier: Annotated[float | None, typer.Option(help="Noise over clip norm.")] = None,
    sample_rate: Annotated[float | None, typer.Option(help="Each user's chance to be in a round.")] = None,
    cohort: Annotated[
        float | None, typer.Option(help="Instead: users of a round, expected; needs --population.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Noisy releases.")] = None,
    population: Annotated[
        int | None, typer.Option(help="Users of the frozen roster: for the noise of the mean.")
    ] = None,
    clip_norm: Annotated[float, typer.Option(help="L2 bound of one user's update.")] = 1.0,
    adjacency: Annotated[str | None, typer.Option(help="add-or-remove-one, zero-out or replace-one.")] = None,
    placement: Annotated[str, typer.Option(help="Who adds the noise: central, device or distributed.")] = "central",
    cohort_cap: Annotated[int | None, typer.Option(help="Most users of a round; needs --population.")] = None,
    group: Annotated[list[int] | None, typer.Option(help="Also for so many people at once, a household.")] = None,
    trials: Annotated[int | None, typer.Option(help="Also for the best of so many runs on the same people.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the trade-off to this .png or .svg.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Solve for what is left out: noise for a budget, the epsilon of a plan, rounds or sample rate.

    Give three of --epsilon, --noise-multiplier, --sample-rate (or --cohort), --rounds.
    """
    numbers = {"epsilon": epsilon, "noise-multiplier": noise_multiplier, "rounds": rounds, "population": population}
    _check(
        {**numbers, "cohort": cohort, "cohort-cap": cohort_cap, "trials": trials, "clip-norm": clip_norm}, group or []
    )
    where = _one_of("placement", placement, get_args(Placement))
    asked = _Asked(
        epsilon=epsilon,
        delta=_delta(delta, population),
        noise_multiplier=noise_multiplier,
        sample_rate=_rate(sample_rate, cohort, population),
        rounds=rounds,
        population=population,
        clip_norm=clip_norm,
        placement=where,
        guarantee=_guarantee(where, adjacency),
        cohort_cap=cohort_cap,
    )
    terms = _solved(asked)
    result, around = _result(asked, terms, tuple(group) if group else GROUPS, trials), trade_off(terms)
    if plot is not None:
        _draw(terms, result["epsilon"], plot)
    if as_json:
        write_json({**result, "trade_off": _lines(around)})
        return
    write_table(
        f"Plan, solved for {terms.solved.replace('_', ' ')}", ("", "value"), rows(result) + _search_rows(result)
    )
    _write_trade_off(around)
    if plot is not None:
        write_line(f"picture:   {plot}")
    write_line(f"scenario:  {_settings(asked, terms, result['epsilon'])}")
    write_line("           (a run solves for its noise anew: what it releases beside the rounds shares the budget)")
    write_words(result)


def _solved(asked: _Asked) -> Terms:
    if asked.cohort_cap is not None and asked.population is None:
        raise ConfigError("--cohort-cap is of cohorts drawn from a population: give --population")
    return solve(
        epsilon=asked.epsilon,
        delta=asked.delta,
        noise_multiplier=asked.noise_multiplier,
        sample_rate=asked.sample_rate,
        rounds=asked.rounds,
        conditions=Conditions(
            adjacency=asked.guarantee.adjacency,
            amplified=asked.placement == "central",
            population=asked.population,
            cohort_cap=asked.cohort_cap,
        ),
    )


def _result(asked: _Asked, terms: Terms, groups: tuple[int, ...], trials: int | None) -> dict[str, Any]:
    seen = profile([terms.event], terms.delta, asked.guarantee.adjacency, groups, third_opinion=False)
    std, own = terms.noise_multiplier * asked.clip_norm, asked.placement == "device"  # own: on each contribution
    result = {
        "epsilon": seen.epsilon,
        "delta": terms.delta,
        "noise_multiplier": terms.noise_multiplier,
        "sample_rate": terms.sample_rate,
        "rounds": terms.rounds,
        "solved_for": terms.solved,
        "placement": asked.placement,
        "cohort_cap": asked.cohort_cap,
        **sides(seen),
        "clip_norm": asked.clip_norm,
        "noise_std_of_contribution": std if own else None,
        "noise_std_of_sum": None if own else std,
        "search": None if trials is None else _search(search_cost([terms.event], trials, terms.delta, seen.adjacency)),
    }
    if asked.population is not None:
        expected = terms.sample_rate * asked.population
        total = std * expected**0.5 if own else std  # the noise of as many users adds up
        result |= {
            "noise_std_of_sum": total,
            "population": asked.population,
            "expected_cohort": expected,
            "noise_std_of_mean": total / expected,
        }
    return {**result, **words(asked.guarantee, [_mechanism(asked, terms)])}


def _mechanism(asked: _Asked, terms: Terms) -> Mechanism:
    """Return a round's mechanism as far as assumptions on cohorts hang on it."""
    return Mechanism(
        clip_norm=asked.clip_norm,
        noise_multiplier=terms.noise_multiplier,
        sample_rate=terms.sample_rate,
        population=asked.population or 1,
        amplified=terms.conditions.amplified,
        cohort_cap=asked.cohort_cap,
    )


def _settings(asked: _Asked, terms: Terms, epsilon: float) -> str:
    """Return the settings by which a scenario asks for such a budget."""
    found = {
        "privacy.epsilon": f"{asked.epsilon or math.ceil(epsilon * 1000) / 1000:g}",
        "privacy.delta": f"{terms.delta:g}",
        "training.sample_rate": f"{terms.sample_rate:g}",
        "training.rounds": str(terms.rounds),
    }
    if asked.placement != "central":
        found["privacy.placement"] = asked.placement
    if asked.cohort_cap is not None:
        found["privacy.cohort_cap"] = str(asked.cohort_cap)
    return " ".join(f"--set {key}={value}" for key, value in found.items())


def _search(cost: SearchCost) -> dict[str, float]:
    return {
        "trials": cost.trials,
        "epsilon_of_one_rdp": cost.one,
        "epsilon_of_best_geometric": cost.geometric,
        "epsilon_of_best_poisson": cost.poisson,
        "epsilon_of_all": cost.all,
    }


def _search_rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    cost = result["search"]
    if cost is None:
        return []
    many = cost["trials"]
    return [
        (f"epsilon of {many} runs, all counted", shown(cost["epsilon_of_all"])),
        (
            f"epsilon of the best of a geometric number of runs, {many} expected",
            shown(cost["epsilon_of_best_geometric"]),
        ),
        (f"epsilon of the best of a Poisson number of runs, {many} expected", shown(cost["epsilon_of_best_poisson"])),
    ]


def _lines(around: TradeOff) -> dict[str, Any]:
    lines = [
        {"name": line.name, "sample_rate": line.sample_rate, "rounds": line.rounds, "epsilons": list(line.epsilons)}
        for line in around.lines
    ]
    return {"noise_multipliers": list(around.noise_multipliers), "lines": lines}


def _write_trade_off(around: TradeOff) -> None:
    noises = [f"z {noise:.3g}" for noise in around.noise_multipliers]
    table = [
        (line.name, f"{line.sample_rate:.3g}", str(line.rounds), *(f"{epsilon:.3g}" for epsilon in line.epsilons))
        for line in around.lines
    ]
    write_table("Trade-off: epsilon by noise multiplier z, on a coarse grid", ("", "rate", "rounds", *noises), table)


def _draw(terms: Terms, epsilon: float, path: Path) -> None:
    optional("matplotlib", extra="sim", purpose="--plot")
    from fedrec.runs.trade_off_picture import draw_trade_off  # it needs matplotlib, as few installations do

    draw_trade_off(trade_off(terms, MANY), epsilon, path)


def _check(numbers: dict[str, float | None], groups: list[int]) -> None:
    for option, value in numbers.items():
        if value is None or 0 < value < float("inf"):
            continue
        if option == "noise-multiplier" and value == 0:
            raise ConfigError("--noise-multiplier 0 adds no noise, epsilon is infinite: give a number above 0")
        raise ConfigError(f"--{option} {value:g} is not positive: give a number above 0")
    if any(size < 1 for size in groups):
        raise ConfigError(f"--group {min(groups)} is not positive: give the size of a household")


def _delta(text: str, population: int | None) -> float:
    if text == AUTO:
        if population is None:
            raise ConfigError("--delta auto is of a number of users: give --population")
        return float(population**-DELTA_POWER)
    try:
        delta = float(text)
    except ValueError:
        raise ConfigError(f"--delta {text} is neither a number nor auto: give a probability") from None
    if not 0 < delta < 1:
        raise ConfigError(f"--delta {delta:g} is not in (0, 1): give a probability below one over the number of users")
    if population is not None:
        check_delta(delta, population, key="--delta")
    return delta


def _rate(sample_rate: float | None, cohort: float | None, population: int | None) -> float | None:
    if cohort is None:
        if sample_rate is not None and not 0 < sample_rate <= 1:
            raise ConfigError(f"--sample-rate {sample_rate:g} is not in (0, 1]: give a probability")
        return sample_rate
    if sample_rate is not None or population is None:
        raise ConfigError("--cohort stands in place of --sample-rate and needs --population: give these two")
    if cohort > population:
        raise ConfigError(f"--cohort {cohort:g} is more than the {population} users of --population: give fewer")
    return cohort / population


def _guarantee(placement: Placement, adjacency: str | None) -> Guarantee:
    usual: Adjacency = "add-or-remove-one" if placement == "central" else "zero-out"
    chosen = usual if adjacency is None else _one_of("adjacency", adjacency, get_args(Adjacency))
    return Guarantee(adjacency=chosen, adversary=_AGAINST[placement])


def _one_of(option: str, value: str, allowed: tuple[Any, ...]) -> Any:
    if value not in allowed:
        raise ConfigError(f"--{option} {value} is none of {', '.join(allowed)}")
    return value
