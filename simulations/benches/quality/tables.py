"""The page's tables of one data set, as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from fedrec.baselines.floors import EASE_MAX_ITEMS
from fedrec.runs.labels import epsilon_label, human_bytes
from fedrec.runs.newcomers import KnownEvents
from fedrec.runs.summary import Summary
from simulations.ablation import ALONE, EQUAL
from simulations.benches.figures import table
from simulations.benches.quality import prose
from simulations.benches.quality.cells import NOT_RUN, percent, signed, signed_percent, with_ends
from simulations.benches.quality.matrix import BRANCHES, CENTRAL, COLD_ITEMS, FUSION, TRIO, WITH_DP
from simulations.benches.quality.members import best_part, gains, parts, relative_to_central
from simulations.benches.quality.newcomers import pooled
from simulations.benches.quality.row import LENGTHS, METRICS
from simulations.benches.quality.stored import Scored, Stored, gap

FIGURES = ("HR@10", "NDCG@10")


def main_table(stored: Stored) -> str:
    """Return floors, members, fusion and twin."""
    best = best_part(stored)
    rows = [_row("popularity", stored.scored(FUSION, "popularity"))]
    rows += [_ease_floor(stored), _row("first-order Markov, central", stored.scored(FUSION, "markov"))]
    for part in parts(stored):
        rows.append(_row(part.label + (" (best member)" if best and part.name == best.name else ""), part.scored))
    rows += [
        _row("trained branches together (trio)", stored.scored(TRIO)),
        _row("all members under equal weights", stored.scored(FUSION, f"{ALONE} {EQUAL}")),
        _row("**fusion, federated, no DP**", stored.scored(FUSION)),
        _row("fusion, central twin", stored.scored(CENTRAL)),
    ]
    costs = [relative_to_central(stored, metric) for metric in METRICS]
    shown = [NOT_RUN if cost is None else signed_percent(cost) for cost in costs]
    rows.append(["fusion against its central twin", *shown, ""])
    rows.append(_gap_row("fusion less its central twin, paired", stored.scored(FUSION), stored.scored(CENTRAL)))
    return table(["", *FIGURES, "seeds"], rows)


def gain_table(stored: Stored) -> str:
    """Return the fusion less each of its parts."""
    best, rows = best_part(stored), []
    for gain in gains(stored):
        label = gain.label + (" (best member)" if best and gain.name == best.name else "")
        cells = [f"{signed(gain.by_metric[m].interval)}, p {gain.by_metric[m].p:.4f}" for m in METRICS]
        rows.append([label, cells[0], f"{gain.holm[METRICS[0]]:.4f}", cells[1], f"{gain.holm[METRICS[1]]:.4f}"])
    return table(["fusion less", "HR@10", "Holm", "NDCG@10", "Holm"], rows or [[NOT_RUN, "", "", "", ""]])


def seed_lines(stored: Stored) -> str:
    """Return the figures by seed, and the fusion's weights."""
    lines = []
    for variant, label in ((FUSION, "fusion"), (CENTRAL, "central twin"), (TRIO, "trio")):
        scored = stored.scored(variant)
        if scored:
            by_seed = zip(*(scored.values[metric].mean(axis=1) for metric in METRICS), strict=True)
            shown = ", ".join(f"{hr:.4f} / {ndcg:.4f}" for hr, ndcg in by_seed)
            lines.append(f"- {label}, by seed {', '.join(map(str, scored.seeds))}: {shown}")
        summaries = [summary for summary in stored.summaries(variant) if summary.fusion]
        if summaries and variant != TRIO:
            weights = {name: fmean(one.fusion.get(name, 0.0) for one in summaries) for name in summaries[0].fusion}
            lines.append(f"- {label}, weights: " + ", ".join(f"{name} {value:.2f}" for name, value in weights.items()))
    worst = stored.worst_group(FUSION, LENGTHS)
    if worst:
        lines.append(
            f"- fusion, worst decile of history length ({worst[0]} events): HR@10 {worst[1]['hr@10']:.3f}, "
            f"NDCG@10 {worst[1]['ndcg@10']:.3f}"
        )
    else:
        lines.append(f"- fusion, worst decile of history length: {NOT_RUN}")
    return "\n".join(lines)


def cost_table(stored: Stored) -> str:
    """Return rounds, bytes and seconds of each variant, means over seeds."""
    rows = []
    for variant in (FUSION, TRIO, *BRANCHES, WITH_DP, CENTRAL):
        found = stored.summaries(variant)
        if found:
            training = stored.scenario(variant).training
            cohort = percent(training.sample_rate)
            rows.append([variant, f"{training.rounds}", cohort, *_costs(found, central=variant == CENTRAL)])
    columns = (
        "run",
        "training rounds",
        "cohort",
        "all rounds",
        "down",
        "up",
        "before",
        "up in all",
        "training, s",
        "in all, s",
    )
    return table(columns, rows or [[NOT_RUN, *[""] * 9]])


def _costs(found: Sequence[Summary], *, central: bool) -> list[str]:
    def mean_bytes(values: Iterable[float]) -> str:
        return "none" if central else human_bytes(fmean(values))

    return [
        "none" if central else f"{fmean(one.rounds for one in found):g}",
        mean_bytes(one.bytes.down_per_client_round for one in found),
        mean_bytes(one.bytes.up_per_client_round for one in found),
        mean_bytes(one.bytes.up_before_training for one in found),
        mean_bytes(one.bytes.up_total for one in found),
        f"{fmean(one.timing.training for one in found):.0f}",
        f"{fmean(one.timing.total for one in found):.0f}",
    ]


def dp_section(stored: Stored) -> str:
    """Return the private run beside the floor that may spend as much, and beside the run without DP."""
    private, floor, plain = stored.scored(WITH_DP), stored.scored(WITH_DP, "dp-popularity"), stored.scored(FUSION)
    spent = [summary.privacy for summary in stored.summaries(WITH_DP) if summary.privacy]
    claim = ""
    if spent:
        epsilon = epsilon_label(max(one.epsilon for one in spent), 2)
        claim = f", epsilon {epsilon}, delta {spent[0].delta:g}, {spent[0].rounds} rounds"
    rows = [
        _row("DP popularity", floor),
        _row(f"**federated, user-level DP{claim}**", private),
        _gap_row("with DP less DP popularity", private, floor),
        _gap_row("with DP less the fusion without", private, plain),
    ]
    return f"{prose.DP}\n\n{table(['', *FIGURES, 'seeds'], rows)}"


def cold_section(stored: Stored) -> str:
    """Return items that training never saw beside both content floors."""
    model = stored.scored(COLD_ITEMS)
    floors = {
        "popularity by genre": stored.scored(COLD_ITEMS, "content-popularity"),
        "profile of genres": stored.scored(COLD_ITEMS, "content-profile"),
    }
    rows = [_row(f"{name}, central", floor) for name, floor in floors.items()]
    rows.append(_row("**fusion, no DP**", model))
    rows += [_gap_row(f"fusion less {name}", model, floor) for name, floor in floors.items()]
    return f"{prose.COLD}\n\n{table(['', *FIGURES, 'seeds'], rows)}"


def new_users_section(stored: Stored) -> str:
    """Return users who were not trained with, by how many of their events are known."""
    rows = [
        [f"{known.label}, seed {seed}", *cells]
        for seed, found in pooled(stored).items()
        for known, cells in zip(found.by_metric["hr@10"], _new_user_cells(found.by_metric), strict=True)
    ]
    columns = ("known events", "HR@10", "share", "strict", "NDCG@10", "share", "strict")
    return f"{prose.NEW_USERS}\n\n{table(columns, rows or [[NOT_RUN, *[''] * 6]])}"


def _new_user_cells(by_metric: Mapping[str, tuple[KnownEvents, ...]]) -> list[list[str]]:
    return [
        [
            cell
            for known in pair
            for cell in (
                f"{known.mean:.3f} (warm {known.warm:.3f})",
                f"{percent(known.share.mean)} [{100 * known.share.low:.0f}, {100 * known.share.high:.0f}]",
                f"{known.strict:.3f}",
            )
        ]
        for pair in zip(*(by_metric[metric] for metric in METRICS), strict=True)
    ]


def _ease_floor(stored: Stored) -> list[str]:
    ease, found = stored.scored(FUSION, "ease"), stored.summaries(FUSION)
    if ease is None and found and found[0].protocol.num_items > EASE_MAX_ITEMS:
        return ["EASE, central", f"left out: more than {EASE_MAX_ITEMS:,} items", "", ""]
    return _row("EASE, central", ease)


def _row(label: str, scored: Scored | None) -> list[str]:
    if scored is None:
        return [label, NOT_RUN, NOT_RUN, ""]
    return [label, *(with_ends(scored.interval(metric)) for metric in METRICS), str(len(scored.seeds))]


def _gap_row(label: str, one: Scored | None, other: Scored | None) -> list[str]:
    if one is None or other is None:
        return [label, NOT_RUN, NOT_RUN, ""]
    return [label, *(signed(gap(one, other, metric)) for metric in METRICS), ""]
