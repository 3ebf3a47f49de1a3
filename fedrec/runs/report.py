"""``report.html``: a run for human readers, in one file that asks nobody for anything.

Every picture has a table or a figure beside it, so the report says the same without matplotlib. Knows what a run folder
holds; computes nothing that is not in it.
"""

from collections.abc import Mapping
from html import escape
from pathlib import Path

from fedrec.privacy.noise.origin import FROM_SYSTEM
from fedrec.runs.atomic import write_atomically
from fedrec.runs.folder import RunFolder
from fedrec.runs.html import element, facts, figure, table, text, with_detail
from fedrec.runs.labels import (
    CODEC_LABELS,
    ROUNDING_CODECS,
    epsilon_label,
    floor_label,
    headline_k,
    headline_metrics,
    human_bytes,
    metric_label,
)
from fedrec.runs.privacy_words import seed_warning
from fedrec.runs.report_fusion import fusion_section
from fedrec.runs.report_interaction import interaction_section
from fedrec.runs.report_measures import measures_section
from fedrec.runs.report_people import people_sections
from fedrec.runs.report_style import STYLE
from fedrec.runs.summary import Bounds, Metrics, PrivacySummary, Summary

OWN = "this run"
Pictures = Mapping[str, str]


def write_report(folder: RunFolder, non_private: RunFolder | None = None) -> Path:
    """Write ``report.html`` from the folder's summary, metrics and config, and return its path.

    ``non_private``: the companion run whose learning curve is drawn beside this one's.
    """
    other = non_private.metrics() if non_private else []
    summary = folder.summary()
    pictures = _pictures(summary, folder.metrics(), other)
    page = render_report(summary, pictures, folder.config_path.read_text(encoding="utf-8"))
    write_atomically(folder.report_path, page.encode())
    return folder.report_path


def _pictures(summary: Summary, rows: list[dict[str, object]], other: list[dict[str, object]]) -> Pictures | None:
    try:
        # matplotlib is in the extra `sim`: a server without it still reports, in tables
        from fedrec.runs.group_pictures import draw_groups
        from fedrec.runs.pictures import draw_pictures
    except ImportError:
        return None
    return draw_pictures(summary, rows, other) | draw_groups(summary)


def render_report(summary: Summary, pictures: Pictures | None, config: str) -> str:
    """Return the page. ``pictures``: SVG by name, None where they cannot be drawn; ``config``: TOML text."""
    drawn = pictures or {}
    body = element(
        "main",
        _header(summary),
        "" if pictures is not None else _no_pictures(),
        _quality(summary, drawn),
        people_sections(summary, drawn),
        _learning(drawn),
        _privacy(summary.privacy, drawn),
        interaction_section(summary.interaction),
        fusion_section(summary, drawn),
        measures_section(summary),
        _communication(summary, drawn),
        _protocol(summary),
        text("h2", "Settings"),
        text("p", "The scenario with every default filled in: config.toml of this run.", class_="lead"),
        element("pre", text("code", config)),
        _footer(summary),
    )
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(summary.name)}: fedrec report</title><style>{STYLE}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _header(summary: Summary) -> str:
    protocol = summary.protocol
    finished = summary.finished[:16].replace("T", " ")
    data = (
        f"{protocol.num_users:,} users, {protocol.num_items:,} items, {protocol.num_events:,} events from "
        f"{protocol.source}; {summary.rounds} rounds in {summary.timing.training:,.0f} s; finished {finished} UTC"
    )
    tiles = [_metric_tile(summary, metric) for metric in headline_metrics(protocol.ks)]
    tiles += [_epsilon_tile(summary.privacy), _bytes_tile(summary)]
    return element(
        "header",
        text("p", "fedrec run report", class_="eyebrow"),
        text("h1", summary.name),
        text("p", data, class_="lead"),
        element("dl", *tiles, class_="tiles"),
    )


def _tile(name: str, value: str, detail: str) -> str:
    return element("div", text("dt", name), element("dd", with_detail(value, detail)), class_="tile")


def _metric_tile(summary: Summary, metric: str) -> str:
    value = summary.metrics.get(metric)
    detail = _bounds(summary.intervals.get(metric))
    return _tile(metric_label(metric), "-" if value is None else f"{value:.3f}", f"{detail} (95 %)" if detail else "")


def _epsilon_tile(privacy: PrivacySummary | None) -> str:
    if privacy is None:
        return _tile("epsilon", "none", "no user-level privacy")
    return _tile(
        "epsilon",
        epsilon_label(privacy.epsilon, 2),
        f"of {privacy.epsilon_budget:g}, delta {privacy.delta:g}, per user",
    )


def _bytes_tile(summary: Summary) -> str:
    down, up = summary.bytes.down_per_client_round, summary.bytes.up_per_client_round
    return _tile("per client and round", human_bytes(down + up), f"{human_bytes(down)} down, {human_bytes(up)} up")


def _no_pictures() -> str:
    return text(
        "p", "Pictures need matplotlib: pip install 'fedrec[sim]', then repeat the run's report.", class_="warning"
    )


def _figure(pictures: Pictures, name: str, caption: str) -> str:
    return figure(pictures.get(name, ""), caption)


def _bounds(bounds: Bounds | None) -> str:
    return f"{bounds[0]:.3f} to {bounds[1]:.3f}" if bounds else ""


def _quality(summary: Summary, pictures: Pictures) -> str:
    k = headline_k(summary.protocol.ks)
    shown = _shown_metrics(summary, k)
    rows = [(label, [_cell(means, intervals, name) for name in shown]) for label, means, intervals in _lines(summary)]
    return element(
        "section",
        text("h2", "Quality"),
        text(
            "p",
            f"Mean over {summary.protocol.evaluated_users:,} users, every item of the catalogue ranked. "
            "Below each mean: its 95 % bootstrap interval over users.",
            class_="lead",
        ),
        table(["", *map(metric_label, shown)], rows, own=OWN),
        _kept(summary, f"ndcg@{k}"),
        _figure(
            pictures,
            "quality",
            "The run among its floors. Points are means, lines their 95 % intervals; the band is this run's interval. "
            "Users are the same in all rows, so overlapping intervals may still hide a clear difference: "
            "fedrec compare tests pairs.",
        ),
        _sampled(summary),
    )


def _shown_metrics(summary: Summary, k: int) -> list[str]:
    """Recall only where it says something else than hits: with one held-out item a user they are the same."""
    hits, gain, recall = f"hr@{k}", f"ndcg@{k}", f"recall@{k}"
    same = summary.metrics.get(hits) == summary.metrics.get(recall)
    return [name for name in (hits, gain, "" if same else recall, "mrr") if name in summary.metrics]


def _lines(summary: Summary) -> list[tuple[str, Metrics, Mapping[str, Bounds]]]:
    lines: list[tuple[str, Metrics, Mapping[str, Bounds]]] = [
        (floor_label(name), means, summary.floor_intervals.get(name, {})) for name, means in summary.floors.items()
    ]
    if summary.non_private is not None:
        lines.append(("federated, no privacy", summary.non_private.metrics, summary.non_private.intervals))
    return [*lines, (OWN, summary.metrics, summary.intervals)]


def _cell(means: Metrics, intervals: Mapping[str, Bounds], name: str) -> str:
    return with_detail(f"{means[name]:.3f}", _bounds(intervals.get(name))) if name in means else "-"


def _kept(summary: Summary, metric: str) -> str:
    """Say what privacy cost, where a companion run without it was measured."""
    other = summary.non_private
    if other is None or not other.metrics.get(metric) or metric not in summary.metrics:
        return ""
    share = summary.metrics[metric] / other.metrics[metric]
    return text("p", f"Against the same model without privacy, this run keeps {share:.0%} of {metric_label(metric)}.")


def _sampled(summary: Summary) -> str:
    if not summary.sampled:
        return ""
    k = headline_k(summary.protocol.ks)
    names = [f"hr@{k}", f"ndcg@{k}"]
    rows = [(label, [f"{means[name]:.3f}" for name in names]) for label, means in summary.sampled.items()]
    return element(
        "div",
        text("h3", "With drawn negatives"),
        text(
            "p",
            "For comparison with papers only: the target among a few drawn items. These figures are much higher than "
            "those of full ranking, and order models differently.",
            class_="lead",
        ),
        table(["protocol", *map(metric_label, names)], rows),
    )


def _learning(pictures: Pictures) -> str:
    figure = _figure(
        pictures,
        "learning",
        "Quality by round. Horizontal lines are the floors, trained centrally on the same data; look for where the "
        "curve crosses them and where it goes flat.",
    )
    return element("section", text("h2", "Learning"), figure) if figure else ""


def _privacy(privacy: PrivacySummary | None, pictures: Pictures) -> str:
    title = text("h2", "Privacy")
    if privacy is None:
        claim = (
            "No claim: user-level privacy was off (privacy.enabled=false). The model may reveal what single users did, "
            "and must not leave those who may see their data."
        )
        return element("section", title, text("p", claim, class_="warning"))
    return element(
        "section",
        title,
        text("p", _claim(privacy), class_="lead"),
        _seed_warning(privacy),
        facts(_statement(privacy)),
        text("p", "privacy.html says more: who sees what, every release with its share, epsilon from other sides."),
        _figure(
            pictures,
            "budget",
            "Budget burn-down. Each noisy release lowers what is left of epsilon. A release that would pass the stop "
            "line is refused before anything is sent.",
        ),
    )


def _claim(privacy: PrivacySummary) -> str:
    return (
        f"Everything that this run released is ({epsilon_label(privacy.epsilon, 3)}, {privacy.delta:g})-differentially "
        "private for each user, under the assumptions below."
    )


def _seed_warning(privacy: PrivacySummary) -> str:
    if privacy.noise_source == FROM_SYSTEM:
        return ""
    return text("p", seed_warning(privacy.noise_source), class_="warning")


def _statement(privacy: PrivacySummary) -> dict[str, str | tuple[str, ...]]:
    spent = epsilon_label(privacy.epsilon, 4)
    noise = f"{privacy.noise_multiplier:.4g} times the clip norm {privacy.clip_norm:g}"
    sampling = f"each of {privacy.population:,} users with probability {privacy.sample_rate:g}, {privacy.rounds} rounds"
    popularity = privacy.popularity_noise_multiplier
    return {
        "unit": privacy.unit,
        "adjacency": privacy.adjacency,
        "adversary": privacy.adversary,
        "epsilon": f"{spent} of a budget of {privacy.epsilon_budget:g}, by {privacy.accountant}",
        "second accountant": f"{epsilon_label(privacy.epsilon_rdp, 4)}, by {privacy.cross_check}",
        "delta": f"{privacy.delta:g}",
        **_without_secure_sum(privacy),
        "mechanism": privacy.mechanism,
        "noise": f"standard deviation {noise}; drawn from: {privacy.noise_source}",
        "sampling": sampling,
        "before training": (
            "nothing was released"
            if popularity is None
            else f"one release of item statistics, noise multiplier {popularity:.4g}, all users"
        ),
        "assumptions": privacy.assumptions,
        "not covered": privacy.not_covered,
    }


def _without_secure_sum(privacy: PrivacySummary) -> dict[str, str]:
    if privacy.epsilon_of_messages is None:
        return {}
    return {
        "without a secure sum": "fedrec has none yet: the server sees single contributions under one share of noise "
        f"each, and against it epsilon is {epsilon_label(privacy.epsilon_of_messages, 4)}"
    }


def _communication(summary: Summary, pictures: Pictures) -> str:
    sent = summary.bytes
    codec = CODEC_LABELS.get(sent.codec, sent.codec)
    rows = [
        ("down, to the client", [human_bytes(sent.down_per_client_round), human_bytes(sent.down_total)]),
        ("up, from the client", [human_bytes(sent.up_per_client_round), human_bytes(sent.up_total)]),
        ("up, once before training", [human_bytes(sent.up_before_training), "in the line above"]),
    ]
    return element(
        "section",
        text("h2", "Communication"),
        text("p", f"Codec of updates on the way up: {codec}.{_plain_sums(summary)}", class_="lead"),
        table(["bytes on the wire", "per client and round", "whole run"], rows, class_="scroll narrow"),
        _figure(
            pictures,
            "bytes",
            "Bytes of each round, to all nodes and back. A flat line means that every node was asked every time; "
            "where it moves, it follows who took part, which is shown for a simulation's researcher only.",
        ),
    )


def _plain_sums(summary: Summary) -> str:
    if summary.privacy is None or summary.bytes.codec not in ROUNDING_CODECS:
        return ""
    return " Each user's own update is coded; a node of several users sends the sum of what they decode to as it is."


def _protocol(summary: Summary) -> str:
    protocol, environment = summary.protocol, summary.environment
    timing = summary.timing
    packages = ", ".join(f"{name} {version}" for name, version in environment.packages.items())
    entries: dict[str, str | tuple[str, ...]] = {
        "split": protocol.split,
        "candidates": protocol.candidates,
        "seen items": protocol.seen,
        "equal scores": protocol.ties,
        "users counted": f"{protocol.evaluated_users:,} of {protocol.num_users:,}",
        "intervals": f"{protocol.bootstrap:,} bootstrap resamples of users; variation over seeds is not in them",
        "seed": str(protocol.seed),
        "fingerprint": protocol.fingerprint,
        "time": f"{timing.total:.1f} s in all; training {timing.training:.1f}, evaluation {timing.evaluation:.1f}, "
        f"floors {timing.floors:.1f}",
        "environment": f"fedrec {environment.fedrec}, Python {environment.python}, {packages}; {environment.platform}, "
        f"{environment.cpus} CPUs, device {environment.device}",
    }
    settings = _floor_settings(summary)
    if settings:
        entries["floors chosen"] = settings
    if summary.notes:
        entries["notes"] = summary.notes
    return element(
        "section",
        text("h2", "Protocol"),
        text("p", "Figures with different fingerprints are not comparable.", class_="lead"),
        facts(entries),
    )


def _floor_settings(summary: Summary) -> tuple[str, ...]:
    return tuple(
        f"{floor_label(name)}: " + ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in setting.items())
        for name, setting in summary.floor_settings.items()
        if setting
    )


def _footer(summary: Summary) -> str:
    warning = (
        "Quality figures, learning curves and participation in this report are measured without noise, for a "
        "simulation's researcher who holds the data. They are not part of the privacy claim."
    )
    return element("footer", text("p", warning), text("p", f"fedrec {summary.environment.fedrec}"))
