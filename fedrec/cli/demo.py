"""``fedrec demo``: the main job end to end, on real data where it can be had, and what to type next."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from fedrec.cli.output import RoundBar, write_json, write_line
from fedrec.cli.results import floor_rows, model_row, write_facts, write_quality, write_whereabouts
from fedrec.config.named import read_scenario
from fedrec.data.catalogue import Catalogue
from fedrec.data.fetch import get_dataset
from fedrec.errors import ConfigError, DataError
from fedrec.runs.folder import RunFolder, fresh_run_folder
from fedrec.runs.report import write_report
from fedrec.runs.summary import ReferenceSummary
from simulations.simulate import simulate as run_simulation

SCENARIO = DATA_SET = "ml-100k"
SHARED = ("run.name=demo", "run.threads=1", "evaluation.every=10", "privacy.noise_seed=none")
"""What distinguishes both runs from the scenario. Noise is the operating system's, as it would be in earnest. A second
thread gains little on these small products, and costs a factor of three where another process wants its core."""
RUNS = {
    "without-dp": (
        "privacy.enabled=false",
        "evaluation.floors=false",
        "model.dim=32",
        "training.rounds=30",
        "training.sample_rate=0.25",
        "training.server_learning_rate=0.03",
    ),
    "with-dp": ("privacy.enabled=true",),
}
"""The demo's runs, by folder, and their own settings. The first is half as wide and a third as long as the scenario,
its learning rate chosen on the second-last events, so that both end well within three minutes on two cores. The floors,
equal for both, are measured with the second."""


def demo(
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a setting of both runs; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The folder of the two runs; new or empty.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print both summaries instead of tables.")] = False,
) -> None:
    """Train on MovieLens-100K under user-level DP, and once without, and set both beside the floors.

    Without the data and without a network it says so and uses a seeded synthetic population.
    """
    folder = out or fresh_run_folder("demo")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists and is not empty: name another folder with --out, or remove it")
    with RoundBar() as bar:
        data = _data_settings(bar.note)
        for name, own in RUNS.items():
            bar.entitle(name)
            scenario = read_scenario(SCENARIO, [*SHARED, *data, *own, *(overrides or [])])
            run_simulation(scenario, folder / name, progress=bar)
    without, private = (RunFolder.open(folder / name) for name in RUNS)
    _set_beside(private, without)
    if as_json:
        write_json({name: RunFolder.open(folder / name).summary().model_dump(mode="json") for name in RUNS})
    else:
        _write_result(private, without)


def _data_settings(report: Callable[[str], None]) -> list[str]:
    """Obtain the data set; without it, say so and return the settings of the synthetic population."""
    try:
        get_dataset(DATA_SET, report=report)
    except DataError as error:
        report(f"{error}")
        report("going on with a seeded synthetic population: its figures do not compare with MovieLens-100K")
        return ["data.source=synthetic"]
    return []


def _set_beside(private: RunFolder, without: RunFolder) -> None:
    """Tell the private run's summary and report what the same model reaches without privacy."""
    reached = without.summary()
    companion = ReferenceSummary(name="without DP", metrics=reached.metrics, intervals=reached.intervals)
    private.write_summary(private.summary().model_copy(update={"non_private": companion}))
    write_report(private, without)


def _write_result(private: RunFolder, without: RunFolder) -> None:
    summary = private.summary()
    rows = [*floor_rows(summary), model_row(without.summary()), model_row(summary)]
    write_quality(f"{summary.protocol.source}: quality on each user's last event", rows, summary.protocol.ks)
    write_facts(summary)
    write_whereabouts(private)
    some_items = ",".join(Catalogue.load(private.catalogue).item_ids[:3])
    write_line(f"next: {_own_name()} recommend --run {private.path} --history {some_items} --explain")


def _own_name() -> str:
    """Return what to type for this command: ``make demo`` leaves its environment off the path."""
    return "fedrec" if shutil.which("fedrec") else sys.argv[0]
