"""Whether numbers that should be noise are the noise that was declared: all tests together, and those of its amount.

Noise of less than the declared variance breaks the claim; of more, it costs accuracy alone: a warning. Knows residuals
(what was released less what it would be without noise), no mechanism.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fedrec.audit.evidence.noise_correlation import across_rounds, across_tensors, along_coordinates
from fedrec.audit.evidence.noise_shape import shape
from fedrec.audit.findings import SIGNIFICANCE, Check, Level, Verdict

SMALLEST_ROW = 8
"""Numbers that a row has at least to be tested alone, over all rounds."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What is declared of noise, beside its standard deviation.

    ``excess_kurtosis``: fourth standardised moment less 3; 0 for a Gaussian, ``1 / variance`` for a Skellam law in
    units of its grid. ``spacing``: step of the grid that discrete noise lies on, in standard deviations; 0 for none.
    """

    excess_kurtosis: float = 0.0
    spacing: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.excess_kurtosis) and self.excess_kurtosis > -2):
            raise ValueError(f"excess_kurtosis must be finite and above -2, got {self.excess_kurtosis}")
        if not (math.isfinite(self.spacing) and self.spacing >= 0):
            raise ValueError(f"spacing must not be negative, got {self.spacing}")


GAUSSIAN = Declared()


def noise_checks(
    residuals: Mapping[str, NDArray[np.floating]],
    stds: Mapping[str, float | Floats],
    *,
    declared: Declared = GAUSSIAN,
    level: Level = Level.MECHANISM,
    prefix: str = "",
) -> tuple[Check, ...]:
    """Return the checks of noise: variance, rows, across rounds, across tensors, along coordinates, shape.

    ``residuals``: by tensor, ``[rounds, ...]``, what was released less the same without noise; as many rounds for all.
    ``stds``: the declared standard deviation of each number of a tensor, one or one for each round ``[rounds]``.
    ``prefix``: of the names of the checks. Each check is one test at ``SIGNIFICANCE``, divided among what it looks at;
    too much noise is warned of at as much again. Where a number is not finite there is one check only, which is
    violated. Raises ``ValueError`` if tensors, rounds and standard deviations do not belong together.
    """
    noise = _standardised(residuals, stds)
    broken = [name for name, numbers in noise.items() if not np.isfinite(numbers).all()]
    if broken:
        return (_not_finite(broken[0], int((~np.isfinite(noise[broken[0]])).sum()), level, prefix),)
    scaled = {name: numbers / max(1.0, _excess_std(numbers)) for name, numbers in noise.items()}
    return (
        variance(noise, declared, level, prefix),
        rows(noise, declared, level, prefix),
        across_rounds(noise, level, prefix),
        across_tensors(noise, level, prefix),
        along_coordinates(scaled, level, prefix),
        shape(scaled, declared.excess_kurtosis, declared.spacing, level, prefix),
    )


def variance(noise: Mapping[str, Floats], declared: Declared, level: Level, prefix: str) -> Check:
    """Test the variance of all numbers together and of each tensor: chi-square, both tails.

    ``noise``: residuals over their standard deviations, ``[rounds, ...]`` by tensor.
    """
    parts = {"all tensors": (sum(float((x * x).sum()) for x in noise.values()), sum(x.size for x in noise.values()))}
    parts |= {f"tensor {name!r}": (float((x * x).sum()), x.size) for name, x in noise.items()}
    error = SIGNIFICANCE / len(parts)
    little = {part: _too_little(total, size, declared) for part, (total, size) in parts.items()}
    much = {part: _too_much(total, size, declared) for part, (total, size) in parts.items()}
    worst = min(little, key=lambda part: little[part])
    most = min(much, key=lambda part: much[part])
    ratios = {part: math.sqrt(total / size) for part, (total, size) in parts.items()}
    figures: dict[str, float | None] = {
        "std_ratio": ratios["all tensors"],
        "numbers": float(parts["all tensors"][1]),
        "p_value": little[worst],
    }
    verdict: Verdict = "passed"
    found = f"No violation found: the noise has {ratios['all tensors']:.4f} of the declared standard deviation."
    if much[most] < error:
        verdict = "warned"
        found = f"The noise of {most} has {ratios[most]:.4f} of the declared standard deviation: more than is needed."
        figures |= {"std_ratio": ratios[most], "p_value": much[most]}
    if little[worst] < error:
        verdict = "violated"
        found = f"The noise of {worst} has only {ratios[worst]:.4f} of the declared standard deviation."
        figures |= {"std_ratio": ratios[worst], "p_value": little[worst]}
    return Check(
        level=level,
        name=f"{prefix}noise-variance",
        asks="Is there as much noise as was declared?",
        verdict=verdict,
        found=found,
        figures=figures,
        method=f"chi-square of the variance, two-sided, over {len(parts)} parts (Bonferroni)",
        tests=1,
    )


def rows(noise: Mapping[str, Floats], declared: Declared, level: Level, prefix: str) -> Check:
    """Test that no row of a tensor has too little noise; of a vector, that no coordinate has.

    Over all rounds; rows of fewer than ``SMALLEST_ROW`` numbers are left out.
    """
    least: list[tuple[float, str, int, float]] = []
    tested = 0
    for name, numbers in noise.items():
        by_row = np.moveaxis(numbers.reshape(len(numbers), numbers.shape[1] if numbers.ndim > 1 else 1, -1), 1, 0)
        size = by_row[0].size if len(by_row) else 0
        if size < SMALLEST_ROW:
            continue
        # What lies on a grid may lie half a step further out before it is rounded.
        totals = ((np.abs(by_row) + declared.spacing / 2) ** 2).sum(axis=(1, 2))
        row = int(totals.argmin())
        tested += len(totals)
        exact = float((by_row[row] ** 2).sum())
        least.append((_too_little(float(totals[row]), size, declared), name, row, math.sqrt(exact / size)))
    if not least:
        return _not_run("noise-rows", "Is there noise in every row?", "rows hold too few numbers", level, prefix)
    p_value, name, row, ratio = min(least)
    broken = p_value < SIGNIFICANCE / tested
    told = f"row {row} of tensor {name!r} has {'no noise' if ratio == 0 else f'{ratio:.3f} of the declared noise'}"
    return Check(
        level=level,
        name=f"{prefix}noise-rows",
        asks="Is there noise in every row, also of those that nobody touched?",
        verdict="violated" if broken else "passed",
        found=f"No: {told}." if broken else f"No violation found in {tested} rows: at least, {told}.",
        figures={"rows": float(tested), "least_std_ratio": ratio, "p_value": p_value},
        method=f"chi-square of each row's variance, least of {tested} (Bonferroni)",
        tests=1,
    )


def _standardised(
    residuals: Mapping[str, NDArray[np.floating]], stds: Mapping[str, float | Floats]
) -> dict[str, Floats]:
    if not residuals:
        raise ValueError("no tensors: there is no noise to test")
    if missing := sorted(set(residuals) - set(stds)):
        raise ValueError(f"no standard deviation is declared for tensor {missing[0]!r}")
    rounds = {name: numbers.shape[:1] for name, numbers in residuals.items()}
    if len(set(rounds.values())) != 1 or not next(iter(rounds.values())):
        raise ValueError(f"residuals need the same number of rounds first, got shapes {rounds}")
    if empty := [name for name, numbers in residuals.items() if numbers.size == 0]:
        raise ValueError(f"tensor {empty[0]!r} has no numbers: there is no noise to test")
    noise = {}
    for name in sorted(residuals):
        numbers = np.asarray(residuals[name], dtype=np.float64)
        std = np.asarray(stds[name], dtype=np.float64)
        if std.shape not in ((), numbers.shape[:1]) or not (np.isfinite(std).all() and (std > 0).all()):
            raise ValueError(f"the standard deviation of tensor {name!r} must be positive, one or one for each round")
        noise[name] = numbers / std.reshape(-1, *[1] * (numbers.ndim - 1)) if std.shape else numbers / std
    return noise


def _too_little(total: float, size: int, declared: Declared) -> float:
    return float(stats.chi2.cdf(_as_gaussian(total, size, declared), size))


def _too_much(total: float, size: int, declared: Declared) -> float:
    return float(stats.chi2.sf(_as_gaussian(total, size, declared), size))


def _as_gaussian(total: float, size: int, declared: Declared) -> float:
    """Return the sum of squares brought to the variance that a Gaussian's has; that of one is its kurtosis less 1."""
    return max(0.0, size + (total - size) * math.sqrt(2 / (2 + max(0.0, declared.excess_kurtosis))))


def _excess_std(numbers: Floats) -> float:
    """Return the standard deviation where it is certain that it is above the declared, else 1.

    So that too much noise, which is another check's, does not look like correlation or a wrong shape.
    """
    total = float((numbers * numbers).sum())
    return math.sqrt(total / numbers.size) if stats.chi2.sf(total, numbers.size) < SIGNIFICANCE else 1.0


def _not_finite(name: str, count: int, level: Level, prefix: str) -> Check:
    return Check(
        level=level,
        name=f"{prefix}noise-variance",
        asks="Is there as much noise as was declared?",
        verdict="violated",
        found=f"{count} released numbers of tensor {name!r} are not finite: they show no noise.",
        figures={"not_finite": float(count)},
        method="looked at",
    )


def _not_run(name: str, asks: str, why: str, level: Level, prefix: str) -> Check:
    return Check(level=level, name=f"{prefix}{name}", asks=asks, verdict="not run", found=f"Not tested: {why}.")
