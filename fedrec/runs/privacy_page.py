"""``privacy.html``: the privacy report for people, in one file that asks nobody for anything.

Every picture has a table beside it, so the page says the same without matplotlib. It says what ``privacy.json`` says.
"""

from collections.abc import Mapping
from html import escape

from fedrec.runs.html import element, facts, figure, table, text, with_detail
from fedrec.runs.labels import epsilon_label
from fedrec.runs.privacy_record import ClaimRecord, Epsilon, ObserverRecord, PrivacyReport, StageRecord, StandardRecord
from fedrec.runs.privacy_words import percent
from fedrec.runs.report_style import STYLE

Pictures = Mapping[str, str]

_EXTRA = """
p.sentence { font-size: 1.3rem; line-height: 1.45; max-width: 46rem; margin: 1.2rem 0; }
table.words td, table.words th { text-align: left; vertical-align: top; }
table.words td { padding-left: 1.5rem; }
table.words td ul { margin: 0; padding-left: 1.1rem; }
.good, .bad, .plain { font-weight: 650; white-space: nowrap; }
.good { color: var(--green); } .bad { color: var(--vermillion); } .plain { color: var(--muted); }
code.long { overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  table.words thead { display: none; }
  table.words tr { display: block; padding: 0.7rem 0; border-bottom: 1px solid var(--rule); }
  table.words tbody th, table.words td { display: block; padding: 0.1rem 0; border: 0; }
  table.words tbody th { font-weight: 650; }
}
"""

_PROTECTION = {
    "claim": ("protected", "good"),
    "claim, if its condition holds": ("only under its condition", "bad"),
    "trust": ("trusted", "bad"),
    "not needed": ("not needed", "plain"),
    "none": ("no protection", "bad"),
}
_SCOPE = {"run": "", "population": ", over all runs", "device": ""}
_GROUP = {"user": "a household of {} users", "interaction": "{} interactions of one person"}


def pictures_of(report: PrivacyReport) -> Pictures:
    """Return the report's drawings; none where matplotlib is missing."""
    try:
        # matplotlib is in the extra `sim`: a server without it still reports, in tables
        from fedrec.runs.privacy_pictures import draw_privacy
    except ImportError:
        return {}
    return draw_privacy(report)


def render_privacy(report: PrivacyReport, pictures: Pictures) -> str:
    """Return the page. ``pictures``: SVG by name."""
    body = element(
        "main",
        _header(report),
        "".join(text("p", warning, class_="warning") for warning in report.warnings),
        _observers(report.observers) if report.claims else "",
        *(_claim(claim, number, pictures) for number, claim in enumerate(report.claims)),
        _beyond(report),
        _standards(report.standards),
        _checking(report),
        element("footer", text("p", f"Written {report.created} by fedrec {report.fedrec}; the same in privacy.json.")),
    )
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(report.name)}: fedrec privacy report</title><style>{STYLE}{_EXTRA}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _header(report: PrivacyReport) -> str:
    tiles = [tile for claim in report.claims for tile in _tiles(claim)]
    return element(
        "header",
        text("p", "fedrec privacy report", class_="eyebrow"),
        text("h1", report.name),
        text("p", report.sentence, class_="sentence"),
        element("dl", *tiles, class_="tiles") if tiles else "",
    )


def _tiles(claim: ClaimRecord) -> list[str]:
    spent = f"of {claim.epsilon_budget:g}, delta {claim.delta:.3g}"
    whom, scope = claim.adversary.partition(": ")[2].partition(";")[0], _SCOPE[claim.scope]
    return [
        _tile(f"epsilon of one {claim.level}{scope}", shown(claim.epsilon, 2), f"{spent}; against: {whom}"),
        _tile("a guess is right in", f"{percent(claim.guess)} of cases", "at most, from even odds, on average"),
    ]


def _tile(name: str, value: str, detail: str) -> str:
    return element("div", text("dt", name), element("dd", with_detail(value, detail)), class_="tile")


def shown(epsilon: Epsilon, digits: int = 4) -> str:
    """Return epsilon rounded up, or ``infinite``."""
    return "infinite" if epsilon is None else epsilon_label(epsilon, digits)


def _observers(observers: tuple[ObserverRecord, ...]) -> str:
    rows = []
    for one in observers:
        label, class_ = _PROTECTION[one.protection]
        sees = element("ul", *(text("li", thing) for thing in one.sees))
        rows.append((one.observer, [sees, text("span", label, class_=class_), escape(one.by)]))
    return element(
        "section",
        text("h2", "Who sees what"),
        text("p", "And what stands between that and a person. Trust is a promise of people, a claim one of numbers."),
        _words(["observer", "sees", "protection", "by"], rows),
    )


def _words(columns: list[str], rows: list[tuple[str, list[str]]]) -> str:
    return table(columns, rows).replace("<table>", '<table class="words">', 1)


def _claim(claim: ClaimRecord, number: int, pictures: Pictures) -> str:
    return element(
        "section",
        text("h2", f"What is claimed about one {claim.level}{_SCOPE[claim.scope]}"),
        text("p", claim.statement),
        facts(
            {
                "unit": claim.unit,
                "adjacency": claim.adjacency,
                "adversary": claim.adversary,
                "epsilon": f"{shown(claim.epsilon)} of a budget of {claim.epsilon_budget:g}; "
                f"{claim.epsilon_left:.4f} is left",
                "delta": f"{claim.delta:.3g}; times {claim.population:,} units it is "
                f"{claim.delta_times_population:.2g}, and must be below 1",
                "account": claim.account_of,
                "assumptions": claim.assumptions,
            }
        ),
        text("h3", "Everything that was released"),
        _stages(claim.stages),
        figure(
            pictures.get(f"budget-{number}", ""),
            "Burn-down: each release lowers what is left of epsilon. One that would pass the stop line is refused "
            "before anything is sent.",
        ),
        text("h3", "The same releases seen from other sides"),
        _sides(claim),
        figure(
            pictures.get(f"profile-{number}", ""),
            "Epsilon and delta trade off: all points of the curve are true of the same releases at once.",
        ),
    )


def _stages(stages: tuple[StageRecord, ...]) -> str:
    rows = [(stage.name, _stage_cells(stage)) for stage in stages]
    columns = ["release", "rounds", "epsilon added", "noise", "clip norm", "who takes part"]
    details = {stage.name.replace("+", " + "): _stage_words(stage) for stage in stages}
    return table(columns, rows) + facts(details)


def _stage_cells(stage: StageRecord) -> list[str]:
    first, last, low, high = stage.first_round, stage.last_round, *stage.clip_norm
    return [
        with_detail(f"{first}" if first == last else f"{first} to {last}", f"{stage.times} charged"),
        with_detail(shown(stage.epsilon_added, 3), f"{stage.share:.0%}; {shown(stage.epsilon_alone, 3)} alone"),
        with_detail(f"{stage.noise_multiplier:.4g} x clip", f"{stage.noise}, {stage.placement}"),
        with_detail(f"{high:.4g}", "" if low == high else f"from {low:.4g}, adaptive"),
        with_detail(stage.sampling, f"at rate {stage.sample_rate:.3g}, of {stage.population:,}"),
    ]


def _stage_words(stage: StageRecord) -> str:
    parts = [
        stage.what,
        f"noise of {stage.noise_std:.4g} a coordinate on the sum, divided by the public number {stage.normaliser:,.5g}",
        f"drawn by {stage.generator or 'another party'}, its key: {stage.noise_source}",
    ]
    if stage.row_clip_norm is not None:
        parts.append(f"each row clipped to {stage.row_clip_norm:g} first")
    if stage.count_noise is not None:
        parts.append(f"with a count of users within the clip norm, noise {stage.count_noise:.3g} users, charged too")
    if stage.correlation != "independent":
        parts.append(f"noise correlated over rounds: {stage.correlation}")
    if stage.placement == "distributed":
        parts.append(f"the noise counts on at least {stage.minimum_users:,} users")
    return "; ".join(parts)


def _sides(claim: ClaimRecord) -> str:
    rows = [
        ("by privacy loss distributions (the claim)", [shown(claim.epsilon), "an upper bound"]),
        ("by Renyi DP (cross-check)", [shown(claim.epsilon_rdp), "another method, looser: never below the claim"]),
        ("by Opacus' PRV accountant (third opinion)", [_prv(claim), escape(claim.epsilon_prv_note)]),
        ("if every sample were known", [shown(claim.epsilon_without_amplification), "no amplification by sampling"]),
        (f"if one {claim.level} is replaced by another", [shown(claim.epsilon_replace_one), "instead of taken out"]),
    ]
    rows += [
        (_GROUP[claim.level].format(size), [shown(epsilon), "who may all be taken out together"])
        for size, epsilon in claim.epsilon_of_group.items()
    ]
    rows += [(f"at delta {delta}", [shown(epsilon), ""]) for delta, epsilon in claim.profile.items()]
    if claim.zcdp_rho is not None:
        rows.append(("zero-concentrated DP, rho", [f"{claim.zcdp_rho:.4g}", "nothing being amplified by sampling"]))
    if claim.gaussian_mu is not None:
        rows.append(("Gaussian trade-off, mu", [f"{claim.gaussian_mu:.4g}", "exact, all noise being Gaussian"]))
    return _words(["", "epsilon", ""], rows)


def _prv(claim: ClaimRecord) -> str:
    return "-" if claim.epsilon_prv is None else shown(claim.epsilon_prv)


def _beyond(report: PrivacyReport) -> str:
    return element(
        "section",
        text("h2", "What no claim covers"),
        facts(
            {
                "not protected": report.unprotected,
                "taken as public": report.public,
                "settings": report.tuning,
                "metrics": report.metrics_policy,
                "known gaps": report.gaps or ("none that fedrec knows of",),
            }
        ),
    )


def _standards(rows: tuple[StandardRecord, ...]) -> str:
    parts = [
        text("h3", name)
        + _words(["asked for", "answer", "field"], [_asked(row) for row in rows if row.standard == name])
        for name in dict.fromkeys(row.standard for row in rows)
    ]
    if not parts:
        return ""
    lead = (
        "What two standards ask for, and where this report answers it. Some questions are the deploying organisation's."
    )
    return element("section", text("h2", "Standards"), text("p", lead, class_="lead"), *parts)


def _asked(row: StandardRecord) -> tuple[str, list[str]]:
    fields = "".join(text("code", name) + " " for name in row.fields)
    return f"{row.level}: {row.asks}", [escape(row.answer), fields]


def _checking(report: PrivacyReport) -> str:
    ledger = report.ledger
    if ledger is None:
        return ""
    return element(
        "section",
        text("h2", "Checking it"),
        text(
            "p",
            "fedrec audit recomputes all of this from the ledger, and finds lines that were edited, moved or removed. "
            "Keep the head below where nobody who holds the ledger can change it: it shows whether lines were cut off.",
        ),
        facts(
            {
                "ledger's head": ledger.head,
                "lines": f"{ledger.entries:,}, of which {ledger.charges:,} charges; {ledger.aborted:,} of them were "
                "aborted, and count",
                "from, to": f"{ledger.first} to {ledger.last}",
                "runs": ledger.runs,
                "written by": ledger.code,
            }
        ),
    )
