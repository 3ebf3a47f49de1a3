"""What attacks say of a run's own defence, and whether they prove anything."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fedrec.audit.findings import Attack, Check, Level, Verdict
from fedrec.rounds import Contribution
from simulations.audits.attacks.views import UPLOADS, View
from simulations.audits.attacks.wording import shown

ATTACKABLE = {
    "items-from-upload": 0.9,
    "interaction-membership": 0.7,
    "attribute-inference": 0.6,
    "gradient-inversion": 0.6,
}
"""Attacks, and the area under the curve that each must reach where nothing protects: below, its failure elsewhere
shows the attack to be weak, not the defence to be strong."""
ASKS = {
    "items-from-upload": "Which items does an attacker read off one upload?",
    "interaction-membership": "Can an attacker tell whether a user met an item?",
    "attribute-inference": "Can an attacker tell what users never sent, such as their age?",
    "gradient-inversion": "Can an attacker tell in which order a user met items?",
}
RISKY = 0.1
"""Share of true cases found where 1 % of false ones are called true, above which people should know: ten times
chance."""
ENOUGH = 1000
"""False cases that this share is judged by, at least."""
RISKY_AREA = 0.65
"""Area under the curve above which people should know, where there are fewer false cases."""


@dataclass(kw_only=True)
class Judged:
    """Rows with the view and the kind of upload that each is of, and why attacks without rows were not tried."""

    rows: list[tuple[Attack, View, Contribution]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def own(self, name: str) -> list[tuple[Attack, View]]:
        """Return an attack's rows of the run's own views."""
        return [(attack, view) for attack, view, _ in self.rows if attack.name == name and view.own]

    def controls(self) -> dict[str, tuple[Attack, ...]]:
        """Return the rows where nothing protects, by attack and kind of upload."""
        found: dict[str, tuple[Attack, ...]] = {}
        for attack, view, contribution in self.rows:
            if view.control:
                key = f"{attack.name} on {UPLOADS[contribution]}"
                found[key] = (*found.get(key, ()), attack)
        return found


def checks_of(found: Judged, source: str) -> tuple[Check, ...]:
    """Return the check of the controls, and one for each attack; ``source``: who was attacked, in words."""
    return (_controls(found, source), *(_check(name, found, source) for name in ASKS))


def _controls(found: Judged, source: str) -> Check:
    tried = {name: max(rows, key=lambda attack: attack.auc) for name, rows in found.controls().items()}
    weak = [name for name, best in tried.items() if not (best.auc >= ATTACKABLE[best.name] or _risk(best) > 0)]
    asked = ", ".join(f"{area} for {name}" for name, area in ATTACKABLE.items())
    told = ", ".join(f"{name} {best.auc:.3g}" for name, best in tried.items())
    verdict: Verdict = "not run" if not tried else "warned" if weak else "passed"
    words = {
        "not run": "No attack had an upload without defence to be tried on.",
        "warned": f"Without any defence {' and '.join(weak)} hardly works, so its failure elsewhere proves nothing.",
        "passed": "Where nothing protects, every attack works, so that its failure elsewhere means something.",
    }[verdict]
    return Check(
        level=Level.ATTACKS,
        name="control-attackable",
        asks="Do the attacks work where nothing protects?",
        verdict=verdict,
        found=f"{words} Areas under the curve (0.5 is guessing): {told}." if tried else words,
        figures={name.replace("-", "_").replace(" ", "_") + "_auc": best.auc for name, best in tried.items()},
        method=f"ROC curves of {source}; works: an area of {asked}, or {shown(RISKY)} of true cases at 1 % false ones",
    )


def _check(name: str, found: Judged, source: str) -> Check:
    own = found.own(name)
    if not own:
        reason = found.missing.get(name, "the run has no upload that it could be tried on")
        return Check(level=Level.ATTACKS, name=name, asks=ASKS[name], verdict="not run", found=f"Not tried: {reason}.")
    worst, view = max(own, key=lambda pair: (_risk(pair[0]), pair[0].auc))
    risky = _is_risky(worst)
    control = max((a.auc for a, view, _ in found.rows if a.name == name and view.control), default=None)
    tpr = _found_at_1_percent(worst)
    return Check(
        level=Level.ATTACKS,
        name=name,
        asks=ASKS[name],
        verdict="warned" if risky else "passed",
        found=f"{_sentence(worst, risky)} {_whose(own, view) if risky else ''}".strip(),
        figures={
            "auc": worst.auc,
            "tpr_at_1_percent": worst.tpr_at_1_percent,
            "tpr_at_01_percent": worst.tpr_at_01_percent,
            "times_chance_at_1_percent": None if tpr is None else tpr / 0.01,
            "control_auc": control,
        },
        method=f"{source}; warned where more than {shown(RISKY)} of true cases are found at 1 % false ones, or with "
        f"fewer than {ENOUGH} false ones above an area of {RISKY_AREA}",
    )


def _is_risky(attack: Attack) -> bool:
    return _risk(attack) > 0


def _risk(attack: Attack) -> float:
    tpr = _found_at_1_percent(attack)
    return attack.auc - RISKY_AREA if tpr is None else tpr - RISKY


def _found_at_1_percent(attack: Attack) -> float | None:
    """Return the share of true cases found where 1 % of false ones are called true, None of too few false ones."""
    return attack.tpr_at_1_percent if attack.negatives >= ENOUGH else None


def _sentence(attack: Attack, risky: bool) -> str:
    begins = "An attacker succeeds" if risky else "No attacker was seen to succeed; the nearest was one"
    tpr = _found_at_1_percent(attack)
    if tpr is None:
        figure = f"area under the curve {attack.auc:.2f}, where 0.5 is guessing"
    else:
        figure = f"it finds {shown(tpr)} of true cases where chance finds 1 %"
    return f"{begins} that sees {attack.sees} (defence: {attack.defence}): {figure}."


def _whose(own: Sequence[tuple[Attack, View]], worst: View) -> str:
    """Return what central noise does and does not do, where the server is the attacker that succeeds."""
    mechanism = worst.mechanism
    if mechanism is None:
        return "Nothing in the run protects users from its server."
    if mechanism.placement != "central" or worst.published:
        return ""
    public = [attack for attack, view in own if view.published]
    if not public:
        return "Central noise does not protect users from the server, which sees uploads before it."
    means = max(_risk(attack) for attack in public) <= 0
    who = "who see the published model alone, and these attacks fail there" if means else "of the published model"
    return (
        "Central noise does not protect users from the server, which sees uploads before it; it is for all others, "
        f"{who}."
    )
