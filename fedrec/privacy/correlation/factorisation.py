"""Banded matrix factorisation of prefix sums: which correlation of noise over rounds harms running sums least.

The workload ``A`` (``[T, T]``, ones on and below the diagonal) sums the first rounds; ``A = B C`` with a lower
triangular encoder ``C`` of ``b`` bands. ``C x + z`` is a Gaussian mechanism, so ``x + C^-1 z`` costs what it does, and
running sums of the latter have noise ``B z`` (Denisov et al., 2022). Columns of ``C`` at a distance of ``b`` or more
are orthogonal, so that a user who takes part in rounds at least ``b`` apart moves ``C x`` by the root of the squared
norms of its columns (Choquette-Choo et al., 2023, "(Amplified) Banded Matrix Factorization"). Numbers alone;
knows nothing of models, clip norms or epsilon.
"""

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

ITERATIONS = 60
"""Of L-BFGS, after which the squared error is within one percent of the least possible (``certificate``)."""
DENSE_ROUNDS = 3000
DENSE_WORK = 10**9
"""Rounds, and squared rounds times bands, beyond which one row of bands stands for all columns."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Factorisation:
    """An encoder by its bands. ``bands``: float64 ``[b, T]``, ``bands[j, t] = C[t + j, t]``, zero beyond the last row.

    Scaled so that the squared norms of columns that one user can meet, ``b`` or more apart, sum to ``participations``
    at most: its sensitivity to that pattern is their root.
    """

    bands: Matrix

    def __post_init__(self) -> None:
        if self.bands.ndim != 2 or not 1 <= len(self.bands) <= self.rounds:
            raise ValueError(f"bands must be [b, T] with 1 <= b <= T, got shape {self.bands.shape}")
        if not np.isfinite(self.bands).all() or not (self.bands[0] > 0).all():
            raise ValueError("bands must be finite, and positive on the diagonal")
        below = np.arange(len(self.bands))[:, None] + np.arange(self.rounds) >= self.rounds
        if self.bands[below].any():
            raise ValueError("bands must be zero beyond the last round")

    @property
    def rounds(self) -> int:
        """Rounds of the stream, ``T``."""
        return int(self.bands.shape[1])

    @property
    def width(self) -> int:
        """Number of bands, ``b``: a stream of noise keeps the ``b - 1`` latest rounds."""
        return int(self.bands.shape[0])

    @property
    def participations(self) -> int:
        """Most participations of a user in rounds ``b`` or more apart."""
        return -(-self.rounds // self.width)

    def encoder(self) -> Matrix:
        """Return ``C``, ``[T, T]``."""
        return _dense(self.bands)

    def squared_error(self) -> float:
        """Return ``|A C^-1|_F^2``: summed over the ``T`` prefix sums, for noise of standard deviation one."""
        return float(np.sum(_decoder(self.encoder(), self.width) ** 2))


def factorise(rounds: int, width: int, *, equal_norms: bool = False) -> Factorisation:
    """Return the encoder of ``width`` bands with nearly the least squared error for its sensitivity.

    The squared norm of columns falls from block to block of ``width`` rounds. The j-th participation of a user lies in
    block j or later, so the norms of the blocks, one each, bound what it meets. This is better by several percent than
    ``equal_norms``, the constraint of Choquette-Choo et al. (2023). Deterministic. Raises ``ValueError`` unless
    ``1 <= width <= rounds``.
    """
    if not 1 <= width <= rounds:
        raise ValueError(f"width must be in [1, rounds], got {width} bands for {rounds} rounds")
    start = _toeplitz(rounds, width)
    if rounds > DENSE_ROUNDS or rounds**2 * width > DENSE_WORK:
        return Factorisation(bands=start / np.linalg.norm(start, axis=0))
    blocks = np.arange(rounds) // width
    filled = _filled(rounds, width)
    scales = 0 if equal_norms else int(blocks[-1]) + 1

    def objective(numbers: Matrix) -> tuple[float, Matrix]:
        bands = np.zeros_like(start)
        bands[filled] = numbers[: len(numbers) - scales]
        value, slope, inclines = _error_and_slope(bands, numbers[len(numbers) - scales :], blocks)
        return value, np.concatenate([slope[filled], inclines[:scales]])

    guess = np.concatenate([start[filled], np.zeros(scales)])
    found: Matrix = minimize(
        objective, guess, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS, "ftol": 1e-9}
    ).x
    bands = np.zeros_like(start)
    bands[filled] = found[: len(found) - scales]
    bands = _normalised(bands, found[len(found) - scales :], blocks)[0]
    met = column_sum(np.sum(bands**2, axis=0), width, int(blocks[-1]) + 1)  # that of the blocks, as their norms fall
    return Factorisation(bands=bands * math.sqrt((blocks[-1] + 1) / met))


def column_sum(squares: Matrix, separation: int, participations: int) -> float:
    """Return the largest sum of ``squares`` over rounds at least ``separation`` apart, ``participations`` at most.

    ``squares``: ``[T]``, not negative. With squared column norms of an encoder of at most ``separation`` bands, it is
    the squared sensitivity, exactly.
    """
    return float(best_patterns(squares[None], separation, participations)[0])


def best_patterns(weights: Matrix, separation: int, participations: int) -> Matrix:
    """Return for each row of ``weights``, ``[R, T]`` and not negative, the largest sum over a pattern, ``[R]``.

    By dynamic programming over rounds: with one participation more, either the round is left out or it is the last.
    """
    if separation < 1 or participations < 1:
        raise ValueError(f"separation and participations must be positive, got {separation}, {participations}")
    before = np.zeros((len(weights), weights.shape[1] + 1))  # best among the first t rounds, t = 0 ... T
    for _ in range(min(participations, -(-weights.shape[1] // separation))):
        reachable = before[:, np.maximum(np.arange(1, weights.shape[1] + 1) - separation, 0)]
        before = np.concatenate([before[:, :1], np.maximum.accumulate(reachable + weights, axis=1)], axis=1)
    return before[:, -1]


def certificate(found: Factorisation) -> float:
    """Return a lower bound on the squared error of **every** encoder of as many bands and the same sensitivity.

    Weak duality: let ``V`` be positive semidefinite and zero within the bands but for its diagonal ``v``. For
    ``X = C'C``, ``tr(A'A X^-1) >= 2 tr((A V A')^(1/2)) - tr(V X)``. ``tr(V X)`` is ``sum_t v_t X_tt``, and ``v`` is
    covered by patterns of total weight ``m``, its largest sum over ``b`` successive rounds (weighted Dilworth: rounds
    less than ``b`` apart are the antichains), so ``tr(V X) <= k m``. The best multiple of ``V`` gives
    ``tr((A V A')^(1/2))^2 / (k m)``. ``V`` is taken from ``found``, where an optimum has its own.
    """
    dual = _dual(found)
    diagonal = np.diag(dual).copy()
    sums = _window_sums(diagonal, found.width)
    bounds = []
    for share in (0.2, 0.4, 0.6, 1.0):
        levelled = _levelled(diagonal, found.width, float(np.quantile(sums, share)))
        scale = np.sqrt(levelled / diagonal)
        spectrum = np.linalg.eigvalsh(np.cumsum(np.cumsum(dual * scale[:, None] * scale, axis=0), axis=1))
        trace = float(np.sqrt(np.maximum(spectrum, 0)).sum())
        bounds.append(trace**2 / (found.participations * float(_window_sums(levelled, found.width).max())))
    return max(bounds)


def _dual(found: Factorisation) -> Matrix:
    """Return ``X^-1 A'A X^-1`` without what lies off the diagonal within the bands, shifted to be semidefinite."""
    encoder = found.encoder()
    inverse = solve_triangular(encoder, np.eye(found.rounds), lower=True)
    half = inverse @ _decoder(encoder, found.width).T
    dual = half @ half.T
    distance = np.abs(np.subtract.outer(np.arange(found.rounds), np.arange(found.rounds)))
    dual[(distance > 0) & (distance < found.width)] = 0
    least = float(np.linalg.eigvalsh(dual)[0])
    margin = 1e-12 * float(np.trace(dual))
    return dual + max(0.0, margin - least) * np.eye(found.rounds)


def _window_sums(values: Matrix, width: int) -> Matrix:
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return cast(Matrix, sums[width:] - sums[:-width])


def _levelled(values: Matrix, width: int, level: float) -> Matrix:
    """Return positive ``values`` with the last round of each window lowered until the window's sum is ``level``."""
    lowered = values.copy()
    for start in range(len(values) - width + 1):
        window = lowered[start : start + width]
        excess = window.sum() - level
        position = int(np.argmax(window)) if start == 0 else width - 1
        if excess > 0:
            window[position] = max(window[position] - excess, 1e-3 * window[position])
    return lowered


def _filled(rounds: int, width: int) -> NDArray[np.bool_]:
    return np.arange(width)[:, None] + np.arange(rounds) < rounds


def _dense(bands: Matrix) -> Matrix:
    width, rounds = bands.shape
    encoder = np.zeros((rounds, rounds))
    for j in range(width):
        columns = np.arange(rounds - j)
        encoder[columns + j, columns] = bands[j, : rounds - j]
    return encoder


def _toeplitz(rounds: int, width: int) -> Matrix:
    """Return the first bands of the square root of ``A``, optimal without bands up to a constant (Fichtenberger 2023).

    Its entries are the coefficients of ``(1 - x)^(-1/2)``.
    """
    steps = np.arange(1, width)
    row = np.concatenate([[1.0], np.cumprod((2 * steps - 1) / (2 * steps))])
    return cast(Matrix, np.where(_filled(rounds, width), row[:, None], 0.0))


def _normalised(bands: Matrix, logits: Matrix, blocks: NDArray[np.int64]) -> tuple[Matrix, Matrix, Matrix]:
    """Return bands of the asked norms, the bands of norm one, and each block's share of the squared norms."""
    unit = bands / np.linalg.norm(bands, axis=0)
    if not len(logits):
        return unit, unit, np.ones(0)
    powers = np.exp(logits - logits.max())
    shares = powers / powers.sum()
    return unit * np.sqrt(shares * len(logits))[blocks], unit, shares


def _error_and_slope(bands: Matrix, logits: Matrix, blocks: NDArray[np.int64]) -> tuple[float, Matrix, Matrix]:
    """Return the squared error, and its slopes by the bands before they are normalised and by ``logits``.

    ``d|A C^-1|^2 = <G, dC>`` with ``G = -2 B'B C^-T``, of which only what lies within the bands is computed.
    """
    width, rounds = bands.shape
    scaled, unit, shares = _normalised(bands, logits, blocks)
    encoder = _dense(scaled)
    decoder = _decoder(encoder, width)
    half = _solve(encoder, np.ascontiguousarray(decoder.T), width)  # (B C^-T)'
    slope = np.zeros_like(bands)
    for first in range(0, rounds, width):
        columns = np.arange(first, min(first + width, rounds))
        last = min(first + 2 * width, rounds)
        product = -2 * decoder[:, first:last].T @ half[columns].T  # rows of G from ``first``, for these columns
        below = np.arange(width)[:, None] + columns - first
        inside = below < len(product)
        slope[:, columns] = np.where(inside, product[np.minimum(below, len(product) - 1), columns - first], 0.0)
    norms = np.linalg.norm(bands, axis=0)
    sizes = np.linalg.norm(scaled, axis=0)
    along = np.sum(slope * unit, axis=0)
    inclines = np.zeros(len(logits))
    if len(logits):
        pulls = np.bincount(blocks, along * sizes) / 2
        inclines = pulls - shares * pulls.sum()
    return float(np.sum(decoder**2)), (slope - unit * along) * sizes / norms, inclines


def _decoder(encoder: Matrix, width: int) -> Matrix:
    """Return ``B = A C^-1``, from ``C' B' = A'``."""
    rounds = len(encoder)
    solved = np.triu(np.ones((rounds, rounds)))
    for first in reversed(range(0, rounds, width)):
        rows, after = slice(first, first + width), slice(first + width, first + 2 * width)
        known = solved[rows] - encoder[after, rows].T @ solved[after]
        solved[rows] = solve_triangular(encoder[rows, rows], known, lower=True, trans=1, check_finite=False)
    return np.ascontiguousarray(solved.T)


def _solve(encoder: Matrix, right: Matrix, width: int) -> Matrix:
    """Return ``C^-1 right`` block by block, as a banded matrix allows."""
    for first in range(0, len(right), width):
        rows, before = slice(first, first + width), slice(max(0, first - width), first)
        known = right[rows] - encoder[rows, before] @ right[before]
        right[rows] = solve_triangular(encoder[rows, rows], known, lower=True, check_finite=False)
    return right
