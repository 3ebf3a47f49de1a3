"""``fedrec sweep``: search a scenario's settings on validation events, and tell what the search costs in privacy."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fedrec.cli.output import RoundBar, write_json, write_line, write_note, write_table
from fedrec.config.named import read_scenario
from fedrec.errors import ConfigError
from fedrec.runs.folder import fresh_run_folder
from simulations.sweeps.folder import SweepFolder
from simulations.sweeps.search import Found, Question, Search, short
from simulations.sweeps.space import read_space
from simulations.sweeps.study import Trial, best_of

SHOWN = 10
"""Rows of the table of best trials."""


def sweep(
    scenario: Annotated[str, typer.Argument(help="A scenario's name, or the path of a .toml file.")],
    space: Annotated[Path, typer.Option("--space", help="TOML: keys with {low, high, log} or {choices}.")],
    trials: Annotated[int, typer.Option("--trials", min=1, help="Trials in all, those before --resume included.")] = 20,
    out: Annotated[Path | None, typer.Option("--out", help="The search's folder; new or empty.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in --out where a search was left.")] = False,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a setting; may be repeated.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", metavar="NAME", help="A recipe for a budget: epsilon-1, -2, -4 or -8.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of what is tried; run.seed is the trials'.")] = 0,
    prune: Annotated[bool, typer.Option("--prune/--no-prune", help="Cut bad trials short.")] = True,
    public: Annotated[
        str | None, typer.Option("--public", metavar="SOURCE", help="Search on this data, which you name as public.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option("--budget", metavar="EPS", help="Epsilon that the search itself may spend.")
    ] = None,
    metric_noise: Annotated[
        float, typer.Option("--metric-noise", min=0.1, help="Noise on a charged trial's metric, in users.")
    ] = 10.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what the search would cost, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Search settings by their quality on validation events, never on test events.

    Goes on where it was killed (--resume), and leaves best.toml, which fedrec simulate takes.
    """
    if resume and out is None:
        raise ConfigError("--resume needs --out, the folder of the search to go on with")
    chosen = read_scenario(scenario, overrides or [], preset)
    question = Question(
        scenario=chosen,
        space=read_space(space, chosen),
        trials=trials,
        seed=seed,
        public=public,
        budget=budget,
        metric_noise=metric_noise,
        prunes=prune,
    )
    with RoundBar() as bar:
        search = Search(question, bar)
        if dry_run:
            _write_cost(search, as_json=as_json)
            return
        write_note(search.cost)
        folder = SweepFolder(out or fresh_run_folder(f"sweep-{chosen.run.name}"))
        found = search.run(folder.path, resume=resume)
    if as_json:
        write_json(_record(found, folder))
    else:
        _write_found(found, folder, chosen.selection.metric)


def _write_cost(search: Search, *, as_json: bool) -> None:
    charges, trials = search.charges, search.question.trials
    total = charges.epsilon(trials) if charges else 0.0
    delta = charges.delta if charges else None
    if as_json:
        write_json({"basis": search.basis, "trials": trials, "epsilon": total, "delta": delta, "cost": search.cost})
    else:
        write_line(search.cost)


def _record(found: Found, folder: SweepFolder) -> dict[str, Any]:
    return {
        "sweep": str(folder.path),
        "basis": found.basis,
        "cost": found.cost,
        "epsilon": found.epsilon,
        "best": asdict(found.best),
        "trials": [asdict(trial) for trial in found.trials],
        "notes": list(found.notes),
    }


def _write_found(found: Found, folder: SweepFolder, metric: str) -> None:
    ranked = best_of(found.trials)
    rows = [
        [f"{rank}. {_settings(trial)}", f"{trial.number + 1}", f"{trial.metric:.4f}", f"{trial.round}"]
        for rank, trial in enumerate(ranked[:SHOWN], 1)
    ]
    measured = "noisy " * (found.basis == "charged") + metric
    write_table("best trials", ["settings", "trial", measured, "rounds"], rows)
    counts = {state: sum(trial.state == state for trial in found.trials) for state in ("pruned", "refused")}
    write_line(
        f"{len(found.trials)} trials: {len(ranked)} to the end, {counts['pruned']} cut short, {counts['refused']} "
        f"refused; {metric} on validation events, which flatters the best of many"
    )
    for line in (*found.notes, found.cost):
        write_line(line)
    if found.epsilon:
        write_line(f"ledger: {folder.ledger} (epsilon {found.epsilon:.4g} by now)")
    write_line(f"trials: {folder.trials}")
    write_line(f"picture: {folder.picture}")
    write_line(f"best settings, to be tested by a run of their own: fedrec simulate {folder.best}")


def _settings(trial: Trial) -> str:
    """Return a trial's settings in one line, keys without their section, which the table has no room for."""
    return ", ".join(f"{key.rsplit('.', 1)[-1]} {short(value)}" for key, value in trial.values.items())
