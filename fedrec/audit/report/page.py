"""``audit.html``: the audit for people, in one file that asks nobody for anything.

Every picture has a table beside it, so the page says the same without matplotlib. It says what ``audit.json`` says.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from fedrec.audit.findings import Attack, Bound, Check, Level
from fedrec.audit.report import words
from fedrec.audit.report.grouping import attacks_by_control, exceeds, refutes
from fedrec.audit.report.record import AuditedClaim, AuditReport, Epsilon
from fedrec.audit.report.words import shown, shown_below
from fedrec.runs.html import element, facts, figure, table, text, with_detail
from fedrec.runs.report_style import STYLE

Pictures = Mapping[str, str]

_EXTRA = """
p.sentence { font-size: 1.3rem; line-height: 1.45; max-width: 46rem; margin: 1.2rem 0; }
p.label { color: var(--muted); font-size: 0.85rem; margin: 1.6rem 0 0.3rem; }
p.label + p { margin-top: 0; }
p.verdict { font-size: 1.15rem; line-height: 1.45; font-weight: 650; padding: 0.9rem 1.2rem; border-radius: 0.6rem;
  background: var(--panel); border-left: 5px solid var(--muted); max-width: none; }
p.verdict.good { border-left-color: var(--green); } p.verdict.bad { border-left-color: var(--vermillion); }
table.words td, table.words th { text-align: left; vertical-align: top; }
table.words td { padding-left: 1.5rem; overflow-wrap: anywhere; }
table.words tbody th { width: 34%; }
table.words td:last-child { white-space: nowrap; width: 11.5rem; }
table.figures th:nth-child(2), table.figures td:nth-child(2) { text-align: left; }
table.figures td:nth-child(n+3), table.figures td:nth-child(n+3) small { white-space: nowrap; }
table.figures tbody th { width: 30%; }
span.good, span.bad, span.plain, span.mind { font-weight: 650; }
span.good { color: var(--green); } span.bad { color: var(--vermillion); } span.plain { color: var(--muted); }
span.mind { color: var(--orange); }
code { overflow-wrap: anywhere; }
td small { white-space: normal; }
details { margin: 0.3rem 0 1rem; color: var(--muted); font-size: 0.9rem; }
summary { cursor: pointer; }
details li { margin: 0.25rem 0; overflow-wrap: anywhere; }
li { margin: 0.3rem 0; max-width: 44rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  table.words thead { display: none; }
  table.words tr { display: block; padding: 0.7rem 0; border-bottom: 1px solid var(--rule); }
  table.words tbody th, table.words td { display: block; padding: 0.1rem 0; border: 0; width: auto; }
  table.words tbody th { font-weight: 650; }
  table.figures { min-width: 52rem; }
  table.figures tbody th { width: 24%; }
  figure { overflow-x: auto; }
  figure svg { min-width: 36rem; }
  figcaption { position: sticky; left: 0; }
}
"""

_TONES = {"passed": "good", "violated": "bad", "warned": "mind", "not run": "plain"}
_ELSEWHERE = "No check here has a verdict of its own; what was measured, if anything, is in pictures and tables below."
_VERDICT_TONES = {"no violation found": "good", "violation found": "bad", "nothing to audit": ""}


def pictures_of(report: AuditReport) -> Pictures:
    """Return the report's drawings; none where matplotlib is missing."""
    try:
        # matplotlib is in the extra `sim`: an auditor without it still reports, in tables
        from fedrec.audit.report.pictures import draw_audit
    except ImportError:
        return {}
    return draw_audit(report)


def render_audit(report: AuditReport, pictures: Pictures) -> str:
    """Return the page. ``pictures``: SVG by name."""
    body = element(
        "main",
        _header(report),
        _broken(report.violations),
        _claims(report.claims),
        _tried(report),
        _bounds(report.bounds, pictures),
        _budgets(report.claims, pictures),
        _attacks(report.attacks, pictures),
        _not_tested(report.not_tested),
        _repeat(report),
        _glossary(),
        element("footer", text("p", f"Made {report.created} by fedrec {report.fedrec}; the same in audit.json.")),
    )
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(report.subject.name)}: fedrec audit</title><style>{STYLE}{_EXTRA}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _header(report: AuditReport) -> str:
    claims = [text("p", claim.statement, class_="sentence") for claim in report.claims[:1]]
    tone = "" if report.unfinished and not report.violations else _VERDICT_TONES[report.verdict]
    return element(
        "header",
        text("p", "fedrec audit of a privacy claim", class_="eyebrow"),
        text("h1", report.subject.name),
        text("p", "The claim", class_="label"),
        *(claims or [text("p", "No claim is made.", class_="sentence")]),
        *(text("p", words.claim_sentence(claim)) for claim in report.claims),
        text("p", "The verdict", class_="label"),
        text("p", words.verdict_sentence(report), class_=f"verdict {tone}".strip(), role="status"),
        element("dl", *_tiles(report), class_="tiles"),
    )


def _tiles(report: AuditReport) -> list[str]:
    asked = [check for check in report.checks if check.verdict != "not run"]
    first = report.claims[0] if report.claims else None
    tiles = [] if first is None else [_tile("claimed epsilon", shown(first.epsilon), f"at delta {first.delta:.3g}")]
    return [
        *tiles,
        _tile("violations", f"{len(report.violations)}", f"in {len(asked)} checks, levels {_levels(report)}"),
        _tile("false alarm, at most", words.chance(report.false_alarm), f"over {report.tests:,} statistical tests"),
        _tile("not tested", f"{len(report.not_tested)}", "things, named below; a pass says nothing of them"),
    ]


def _tile(name: str, value: str, detail: str) -> str:
    return element("div", text("dt", name), element("dd", with_detail(value, detail)), class_="tile")


def _levels(report: AuditReport) -> str:
    return words.levels_words(report.levels)


def _table(kind: str, columns: list[str], rows: Iterable[tuple[str, list[str]]]) -> str:
    """Return a table of ``words``, which wraps on a phone, or of ``figures``, which scrolls."""
    return table(columns, rows).replace("<table>", f'<table class="{kind}">', 1)


def _broken(violations: Sequence[Check]) -> str:
    if not violations:
        return ""
    lead = "Each of these alone means that the claim must not be relied on until it is mended."
    items = (element("li", text("strong", check.asks), " ", escape(check.found)) for check in violations)
    return element("section", text("h2", "What is violated"), text("p", lead, class_="warning"), element("ul", *items))


def _claims(claims: Sequence[AuditedClaim]) -> str:
    parts = [text("h3", words.claim_title(claim)) + facts(_claim(claim)) for claim in claims]
    lead = "Figures of different claims are about different things: they never add up."
    return element("section", text("h2", "What is claimed"), text("p", lead, class_="lead"), *parts) if claims else ""


def _claim(claim: AuditedClaim) -> dict[str, str | Sequence[str]]:
    known: dict[str, str | Sequence[str]] = {
        "unit": claim.unit,
        "adjacency": claim.adjacency,
        "adversary": claim.adversary,
        "epsilon, delta": f"{shown(claim.epsilon, 4)} at {claim.delta:.3g}",
        "stated by": claim.stated_by,
    }
    if claim.releases:
        known["computed anew"] = words.recomputed(claim)
        known["releases"] = f"{claim.releases:,}"
    if claim.budget is not None:
        known["budget"] = f"{claim.budget:g}"
    return {**known, "assumptions": claim.assumptions}


def _tried(report: AuditReport) -> str:
    parts = [_level(level, [check for check in report.checks if check.level == level]) for level in report.levels]
    lead = "What was asked, and what was found. Levels go deeper by their number."
    return element("section", text("h2", "What was tried"), text("p", lead, class_="lead"), *parts)


def _level(level: Level, checks: Sequence[Check]) -> str:
    said = words.LEVELS[level]
    rows = [(check.asks, [escape(words.sentence(check.found)), _verdict(check)]) for check in words.by_severity(checks)]
    return element(
        "section",
        text("h3", f"Level {int(level)}: {said.title}"),
        text("p", f"{said.asks} {said.how}"),
        _table("words", ["question", "answer", "verdict"], rows) if rows else text("p", _ELSEWHERE),
        _methods([check for check in checks if check.method]),
    )


def _verdict(check: Check) -> str:
    return text("span", words.verdict_word(check), class_=_TONES[check.verdict])


def _methods(checks: Sequence[Check]) -> str:
    if not checks:
        return ""
    items = [
        element("li", text("code", check.name), escape(f": {check.method}{_tests(check.tests)}")) for check in checks
    ]
    return element("details", text("summary", "How each was judged, for the specialist"), element("ul", *items))


def _tests(tests: int) -> str:
    return f" ({tests:,} statistical test{'' if tests == 1 else 's'})" if tests else ""


def _bounds(bounds: Sequence[Bound], pictures: Pictures) -> str:
    if not bounds:
        return ""
    rows = [
        (
            bound.of,
            [
                with_detail(bound.method, bound.adversary),
                with_detail(shown_below(bound.lower), f"at {bound.confidence:.0%}"),
                _judged(bound),
                with_detail(shown(bound.claimed), f"at delta {bound.delta:.3g}"),
                f"{bound.draws:,}",
            ],
        )
        for bound in bounds
    ]
    lead = (
        "An attack that tells two worlds apart proves that epsilon is at least so much. A lower bound above the claim "
        "refutes it; one far below says only that this attack was not strong enough to say more."
    )
    columns = ["of", "method, and who attacks", "epsilon at least", "judged by", "claimed at most", "draws"]
    caption = (
        "Bars: what was shown, with 95 % confidence. Lines: what is claimed. A bar that its line does not hold would "
        "refute the claim; verdicts rest on the stricter bounds in the table."
    )
    return element(
        "section",
        text("h2", "How much could be learnt, and how much is claimed"),
        text("p", lead),
        figure(pictures.get("bounds", ""), caption),
        _table("figures", columns, rows),
    )


def _judged(bound: Bound) -> str:
    judged = text("span", shown_below(bound.judged), class_="bad" if refutes(bound) else "")
    return judged if refutes(bound) or not exceeds(bound) else judged + text("small", "chance not ruled out")


def _budgets(claims: Sequence[AuditedClaim], pictures: Pictures) -> str:
    drawn = [_burn_down(claim, pictures.get(f"budget-{number}", "")) for number, claim in enumerate(claims)]
    return element("section", text("h2", "What was spent of the budget"), *drawn) if any(drawn) else ""


def _burn_down(claim: AuditedClaim, drawing: str) -> str:
    if not claim.burn_down or claim.budget is None:
        return ""
    caption = "Each release lowers what is left of epsilon. One that would pass the stop line is refused beforehand."
    if drawing:
        return figure(drawing, caption)
    every = -(-len(claim.burn_down) // 10)
    kept = {*claim.burn_down[::every], claim.burn_down[-1]}
    rows = [(f"{number:g}", [_left(left)]) for number, left in sorted(kept)]
    return table(["round", f"epsilon left of {claim.budget:g}"], rows, class_="narrow")


def _left(epsilon: Epsilon) -> str:
    return "infinite" if epsilon is None else f"{epsilon:.4f}"


def _attacks(attacks: Sequence[Attack], pictures: Pictures) -> str:
    if not attacks:
        return ""
    parts = []
    for number, group in enumerate(attacks_by_control(attacks)):
        parts += [
            text("h3", f"Attacked: {group[0].target}"),
            figure(
                pictures.get(f"attack-{number}", ""),
                "ROC on a logarithmic axis: what counts is the left edge, where false accusations are rare. The dashed "
                "control is the same attack without the defence, and must stay well above guessing.",
            ),
            _table("figures", ["defence", "attacker sees", "area", "at 1 %", "at 0.1 %", "cases"], map(_attack, group)),
        ]
    lead = (
        "The share of true cases that an attacker finds while accusing falsely in 1 % or 0.1 % of the others. These "
        "are risks as these attacks measure them, never an epsilon: a better attack may do better."
    )
    return element("section", text("h2", "What attackers learn"), text("p", lead), *parts)


def _attack(attack: Attack) -> tuple[str, list[str]]:
    return (
        f"{attack.defence}{' (control)' if attack.control else ''}",
        [
            with_detail(attack.sees, attack.note),
            f"{attack.auc:.3f}",
            _rate(attack.tpr_at_1_percent),
            _rate(attack.tpr_at_01_percent),
            with_detail(f"{attack.positives:,} true", f"{attack.negatives:,} false"),
        ],
    )


def _rate(rate: float | None) -> str:
    return "too few" if rate is None else f"{100 * rate:.1f} %"


def _not_tested(not_tested: Sequence[str]) -> str:
    lead = "No violation was looked for here. A pass says nothing of it."
    items = [text("li", sentence) for sentence in dict.fromkeys(not_tested)]
    return element("section", text("h2", "What was not tested"), text("p", lead, class_="lead"), element("ul", *items))


def _repeat(report: AuditReport) -> str:
    known: dict[str, str | Sequence[str]] = {
        "took": f"{words.duration(report.seconds)}, levels {_levels(report)}"
        + (", quick: with fewer draws, so that only coarse violations show" if report.quick else ""),
        "seed": "none: nothing was drawn" if report.seed is None else str(report.seed),
        "false alarm": f"{words.chance(report.false_alarm)} at most; {report.tests:,} tests of {report.significance:g}",
        "of": report.subject.path,
    }
    if report.head:
        known |= {"ledger's head": report.head, "lines": f"{report.entries:,}", "runs": report.subject.runs}
    if report.code:
        known["written by"] = tuple(f"fedrec {version}" for version in report.code)
    known["ledgers"] = report.subject.ledgers or ("none",)
    lead = "The same command on the same files makes the same audit; another seed makes an independent one."
    known = {name: value if isinstance(value, str) or len(value) != 1 else value[0] for name, value in known.items()}
    return element("section", text("h2", "How to repeat it"), text("p", lead), text("pre", report.repeat), facts(known))


def _glossary() -> str:
    return element("section", text("h2", "The words"), facts(words.GLOSSARY))
