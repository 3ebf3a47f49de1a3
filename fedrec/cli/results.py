"""How the result of a run looks in a terminal. Knows the summary's schema; measures and computes nothing."""

from collections import Counter
from collections.abc import Mapping

from fedrec.aggregation.alarms import described
from fedrec.cli.output import with_interval, write_line, write_table
from fedrec.runs.folder import RunFolder
from fedrec.runs.labels import FLOOR_LABELS, epsilon_label, floor_label, headline_metrics, human_bytes, metric_label
from fedrec.runs.summary import Bounds, InteractionSummary, Metrics, PrivacySummary, Summary

Row = tuple[str, Metrics, Mapping[str, Bounds]]
"""Label, means and intervals of one line of the table."""


def floor_rows(summary: Summary) -> list[Row]:
    """Return one row a floor that the summary has, in the order of their labels' table, then any others."""
    names = [name for name in FLOOR_LABELS if name in summary.floors]
    names += [name for name in summary.floors if name not in FLOOR_LABELS]
    return [(floor_label(n), summary.floors[n], summary.floor_intervals.get(n, {})) for n in names]


def model_row(summary: Summary) -> Row:
    """Return the row of the trained model itself."""
    privacy = f"epsilon {epsilon_label(summary.privacy.epsilon, 2)}" if summary.privacy else "no DP"
    return f"federated, {privacy}", summary.metrics, summary.intervals


def write_quality(title: str, rows: list[Row], ks: tuple[int, ...]) -> None:
    """Print the table of HR and NDCG at 10, or at the nearest k that was measured."""
    metrics = headline_metrics(ks)
    cells = [
        [label, *(with_interval(means[m], intervals.get(m)) if m in means else "-" for m in metrics)]
        for label, means, intervals in rows
    ]
    write_table(title, ["model", *map(metric_label, metrics)], cells)


def write_facts(summary: Summary) -> None:
    """Print what stands below the table: how it was measured, what privacy was spent, what was sent."""
    protocol, sent = summary.protocol, summary.bytes
    write_line(
        f"measured on {protocol.evaluated_users} users, {protocol.num_items} items, {protocol.split}, full ranking; "
        f"brackets: 95 % intervals, {protocol.bootstrap} resamples of users"
    )
    for line in [*_claim(summary.privacy), *_layer(summary.interaction)]:
        write_line(line)
    write_line(
        f"bytes per client and round: {human_bytes(sent.down_per_client_round)} down, "
        f"{human_bytes(sent.up_per_client_round)} up, and {human_bytes(sent.up_before_training)} up once before "
        f"training; rounds: {summary.rounds}, in {summary.timing.training:.0f} s"
    )


def write_alarms(folder: RunFolder) -> None:
    """Print the alarms that the run raised: of each kind how often, and the first; nothing where there is none."""
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for row in folder.events():
        if row["what"] == "alarm":
            kind = str(row["facts"].get("kind") or "alarm")
            counts[kind] += 1
            first.setdefault(kind, f"round {row['round']}: {described(row['facts']).removeprefix(f'{kind}: ')}")
    for kind, count in counts.most_common():
        write_line(f"alarms ({kind}): {count}, the first in {first[kind]}")


def write_whereabouts(folder: RunFolder) -> None:
    """Print where the run and its report lie."""
    write_line(f"run: {folder.path}")
    write_line(f"report: {folder.report_path}")
    if folder.privacy_page_path.exists():
        write_line(f"privacy report: {folder.privacy_page_path}")


def _claim(privacy: PrivacySummary | None) -> list[str]:
    if privacy is None:
        return ["privacy: none (privacy.enabled=false): the model may reveal what single users did"]
    spent = epsilon_label(privacy.epsilon, 3)
    singly = []
    if privacy.epsilon_of_messages is not None:
        figure = epsilon_label(privacy.epsilon_of_messages, 3)
        singly = [f"  without a secure sum, and fedrec has none yet: epsilon {figure} against who sees single messages"]
    return [
        f"privacy: epsilon {spent} of {privacy.epsilon_budget:g} at delta {privacy.delta:g}",
        f"  unit: {privacy.unit}; adjacency: {privacy.adjacency}",
        f"  adversary: {privacy.adversary}",
        *singly,
    ]


def _layer(layer: InteractionSummary | None) -> list[str]:
    if layer is None:
        return []
    spent = "infinite" if layer.epsilon is None else epsilon_label(layer.epsilon, 3)
    return [
        f"and apart from that, of one interaction: epsilon {spent} at delta {layer.delta:g}, against the server too"
    ]
