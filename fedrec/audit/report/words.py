"""What the parts of an audit are called and asked, for readers who are no cryptographers."""

from collections.abc import Iterable
from dataclasses import dataclass

from fedrec.audit.findings import Check, Level, Verdict
from fedrec.audit.report.record import AuditedClaim, AuditReport, Epsilon
from fedrec.runs.labels import epsilon_label


@dataclass(frozen=True, kw_only=True)
class LevelWords:
    """A level's ``title``, the question that it ``asks`` and ``how`` it goes about it, one sentence each."""

    title: str
    asks: str
    how: str


LEVELS = {
    Level.RECORD: LevelWords(
        title="What is written down",
        asks="Do the ledger, the kept models and the settings bear out the claim?",
        how="Every line of the ledger is verified, and epsilon is computed anew from what was released. What was never "
        "written down cannot be seen here.",
    ),
    Level.MECHANISM: LevelWords(
        title="The noise and the bound, as the code makes them",
        asks="Does the code that bounds people, adds noise and releases do what the ledger says of it?",
        how="The production code is called thousands of times with made-up people, some of them monstrous, and what it "
        "releases is measured.",
    ),
    Level.SENSITIVITY: LevelWords(
        title="What one person can change",
        asks="Can any person change what is released by more than the bound that the noise is made for?",
        how="With the noise off, one person is taken out of, or replaced in, random models and histories that are "
        "drawn to break the bound.",
    ),
    Level.RUN: LevelWords(
        title="A whole training run",
        asks="Can made-up people who were planted in a whole run be found again in the models that it released?",
        how="Each of many canaries takes part or not by the toss of a coin; whoever sees the released models guesses.",
    ),
    Level.ATTACKS: LevelWords(
        title="What an attacker learns",
        asks="How well do known attacks do, with the defences and without?",
        how="Success of attacks is a risk, never an epsilon: a better attack may do better.",
    ),
}

VERDICTS: dict[Verdict, str] = {
    "passed": "no violation found",
    "violated": "violated",
    "warned": "mind this",
    "not run": "not looked at",
}
_ORDER: tuple[Verdict, ...] = ("violated", "warned", "passed", "not run")

GLOSSARY = {
    "epsilon": "How much more probable anything that anybody sees can become because one person took part: at most e "
    "to the power of epsilon times. Below 1 is strong, above 10 says little.",
    "delta": "The chance with which that bound may fail. It must be far below one over the number of people.",
    "claimed upper bound": "What the run promises: epsilon is at most this, by a proof, if its assumptions hold.",
    "lower bound": "What an attack has shown: epsilon is at least this, with the stated confidence. One that is above "
    "the claim refutes it; one that is below does not confirm it.",
    "confidence": "95 % confidence: of a hundred audits like this one, at most five show a lower bound that is too "
    "high. Verdicts rest on far stricter bounds, which are in the table.",
    "false alarm": "A correct system that is said to violate its claim, by bad luck.",
    "noise": "Random numbers that are added to a sum, so that nobody can tell what one person added.",
    "clip norm": "The most that one person may add to a sum. The noise is made for it.",
    "ledger": "The account of everything that was released, written before it is released; each line is chained to "
    "the one before by a hash, so that an edit shows.",
    "release": "Anything computed from people's data that leaves their devices and is seen by others.",
    "canary": "A made-up person, planted to see whether it can be found.",
    "ROC": "For an attack that may accuse falsely so often (across), the share of true cases that it finds (up). An "
    "attack that only guesses finds as many as it accuses falsely.",
    "control": "The same attack without the defence. It must succeed: where it does not, the attack is too weak to say "
    "anything of the defence.",
}


def verdict_word(check: Check) -> str:
    """Return a verdict in words; attacks refute no claim, so there is none to be found unviolated."""
    return "as it should be" if check.level == Level.ATTACKS and check.verdict == "passed" else VERDICTS[check.verdict]


def by_severity(checks: Iterable[Check]) -> list[Check]:
    """Return the checks, violations first, then warnings."""
    return sorted(checks, key=lambda check: _ORDER.index(check.verdict))


def shown(epsilon: Epsilon, digits: int = 2) -> str:
    """Return an upper bound rounded up, or ``infinite``."""
    return "infinite" if epsilon is None else epsilon_label(epsilon, digits)


def shown_below(epsilon: Epsilon, digits: int = 2) -> str:
    """Return a lower bound rounded down, or ``infinite``."""
    return "infinite" if epsilon is None else f"{int(epsilon * 10**digits + 1e-9) / 10**digits:.{digits}f}"


def claim_sentence(claim: AuditedClaim) -> str:
    """Return unit, adversary, epsilon and delta in one sentence."""
    whom = claim.adversary.partition(": ")[2] or claim.adversary
    return (
        f"In figures: for each {claim.unit.partition(':')[0]}, epsilon is at most {shown(claim.epsilon)} at delta "
        f"{claim.delta:.3g}, against {whom}."
    )


def claim_title(claim: AuditedClaim) -> str:
    """Return what a claim is called: whom it protects, against whom."""
    return f"For each {claim.unit.partition(':')[0]}, against {claim.adversary.partition(': ')[2] or claim.adversary}"


def recomputed(claim: AuditedClaim) -> str:
    """Return what the audit's own accountants say of a claim's releases."""
    low, high = claim.recomputed_at_least, claim.recomputed_at_most
    if low is None and high is None:
        return "not known, or infinite: the checks below say which"
    at_least = "?" if low is None else shown_below(low, 4)
    again = claim.recomputed_again
    second = "" if again is None else f"; {shown(again, 4)} by a second accountant"
    return f"between {at_least} and {shown(high, 4)}{second}"


def sentence(text: str) -> str:
    """Return a text as a sentence: a capital first, unless a file or setting is named first, a full stop last."""
    named = {".", "_"} & set(text.partition(" ")[0][:-1])
    return f"{text[:1] if named else text[:1].upper()}{text[1:].rstrip('.')}."


def verdict_sentence(report: AuditReport) -> str:
    """Return what was found, in one sentence that promises nothing."""
    if report.verdict == "nothing to audit":
        return f"There is nothing to audit: {report.subject.name} claims no privacy."
    if report.violations:
        first, number = by_severity(report.checks)[0], len(report.violations)
        more = "" if number == 1 else f" (and {number - 1} more)"
        return f"Violation found. {first.asks} {sentence(first.found).rstrip('.')}{more}."
    if report.unfinished:
        return f"No verdict: {'; '.join(report.unfinished).rstrip('.')}. What was made found no violation."
    asked = sum(check.verdict in ("passed", "warned") for check in report.checks)
    return (
        f"No violation found in {asked} checks. That is no proof: it says that nothing which was tried has refuted the "
        "claim."
    )


def chance(probability: float) -> str:
    """Return a small probability as people say it."""
    if probability <= 0:
        return "none: nothing was judged by chance"
    return f"1 in {1 / probability:,.0f}" if probability < 0.5 else f"{probability:.0%}"


def duration(seconds: float) -> str:
    """Return a duration for people."""
    return f"{seconds:.1f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def levels_words(levels: Iterable[Level]) -> str:
    """Return ``1 to 3`` or ``1, 3``."""
    numbers = sorted(map(int, levels))
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))
