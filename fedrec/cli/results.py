"""How the result of a run looks in a terminal. Knows the summary's schema; measures and computes nothing."""

from collections.abc import Mapping

from fedrec.cli.output import human_bytes, with_interval, write_line, write_table
from fedrec.runs.folder import RunFolder
from fedrec.runs.summary import Bounds, Metrics, Summary

FLOORS = {
    "popularity": "popularity",
    "dp-popularity": "popularity, DP",
    "ease": "EASE, central",
    "markov": "first-order Markov, central",
}
"""How a floor is called in a table, by its name in a summary, in the order of the table."""

Row = tuple[str, Metrics, Mapping[str, Bounds]]
"""Label, means and intervals of one line of the table."""


def floor_rows(summary: Summary) -> list[Row]:
    """Return one row a floor that the summary has, in the order of ``FLOORS``, then any others."""
    names = [name for name in FLOORS if name in summary.floors]
    names += [name for name in summary.floors if name not in FLOORS]
    return [(FLOORS.get(n, n), summary.floors[n], summary.floor_intervals.get(n, {})) for n in names]


def model_row(summary: Summary) -> Row:
    """Return the row of the trained model itself."""
    privacy = f"epsilon {summary.privacy.epsilon:.3g}" if summary.privacy else "no DP"
    return f"federated, {privacy}", summary.metrics, summary.intervals


def write_quality(title: str, rows: list[Row], ks: tuple[int, ...]) -> None:
    """Print the table of HR and NDCG at 10, or at the largest k that was measured where 10 was not."""
    k = 10 if 10 in ks else max(ks)
    metrics = [f"hr@{k}", f"ndcg@{k}"]
    cells = [
        [label, *(with_interval(means[m], intervals.get(m)) if m in means else "-" for m in metrics)]
        for label, means, intervals in rows
    ]
    write_table(title, ["model", *(m.upper() for m in metrics)], cells)


def write_facts(summary: Summary) -> None:
    """Print what stands below the table: how it was measured, what privacy was spent, what was sent."""
    protocol, sent = summary.protocol, summary.bytes
    write_line(
        f"measured on {protocol.evaluated_users} users, {protocol.num_items} items, {protocol.split}, full ranking; "
        f"brackets: 95 % intervals, {protocol.bootstrap} resamples of users"
    )
    write_line(f"privacy: {_claim(summary)}")
    write_line(
        f"bytes per client and round: {human_bytes(sent.down_per_client_round)} down, "
        f"{human_bytes(sent.up_per_client_round)} up; {summary.rounds} rounds in {summary.timing.training:.0f} s"
    )


def write_whereabouts(folder: RunFolder) -> None:
    """Print where the run and its report lie."""
    write_line(f"run: {folder.path}")
    if folder.report_path.exists():
        write_line(f"report: {folder.report_path}")
    else:
        write_line("report: none; pictures need matplotlib: pip install 'fedrec[sim]'")


def _claim(summary: Summary) -> str:
    privacy = summary.privacy
    if privacy is None:
        return "none (privacy.enabled=false): the model may reveal what single users did"
    return (
        f"epsilon {privacy.epsilon:.3f} of {privacy.epsilon_budget:g} at delta {privacy.delta:g}; "
        f"unit: {privacy.unit}; adjacency: {privacy.adjacency}; adversary: {privacy.adversary}"
    )
