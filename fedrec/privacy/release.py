"""The one place where noise is added: on the devices before they send, at the server to the sum, or some at each.

Simulation, nodes, server and audit call the same two functions. They know contributions, one sum and one mechanism;
they do not know who contributed, and neither write nor count anything: the ledger's charge comes first and is the
caller's duty.
"""

from collections.abc import Callable, Iterable, Mapping
from math import sqrt

import torch
from torch import Tensor

from fedrec.errors import ProtocolError
from fedrec.models.split import SharedState
from fedrec.privacy.adaptive_clipping import WITHIN
from fedrec.privacy.mechanism import FixedPoint, Mechanism
from fedrec.privacy.noise.discrete import SKELLAM_MAX, discrete_gaussian, skellam
from fedrec.privacy.noise.fixed_point import decoded, encoded, stochastically_rounded, wrapped
from fedrec.privacy.noise.source import NoiseSource


def device_part(
    parts: Iterable[SharedState], users: int, mechanism: Mechanism | None, source: NoiseSource
) -> SharedState:
    """Return what a node sends for ``users`` participants, whose clipped contributions add up to ``parts``.

    ``central``, or without a mechanism: their sum, taken in float64, in their dtypes. ``device``: that with Gaussian
    noise of ``noise_std`` for each participant on every coordinate, all drawn at once. ``distributed``: the sum modulo
    ``2**bits`` of integers, int32, with one share of noise for each participant; then each part is of one participant.
    Raises ``ProtocolError`` if a number is not finite, or the mechanism's encoding does not fit the contributions.
    """
    if mechanism is None or mechanism.placement == "central":
        return summed(parts)
    if mechanism.placement == "distributed":
        return _masked(parts, users, mechanism, source)
    total = summed(parts)
    _check(total)
    std = sqrt(users) * mechanism.noise_std  # one participant's noise is independent of all others'
    bare, noisy = dict(total), {}
    del total
    for name in sorted(bare):
        tensor = bare.pop(name)  # one table at a time: a small device has no room for all of them twice
        noisy[name] = _noisy(tensor, std, source).to(tensor.dtype)
    return SharedState(noisy)


def release(
    total: SharedState, mechanism: Mechanism, source: NoiseSource, row: Mapping[str, Tensor] | None = None
) -> SharedState:
    """Return the noisy mean: ``total`` and noise, over ``q*N``, in the shapes and dtypes of ``total``.

    ``total``: the sum of what ``device_part`` returned for all participants; an empty cohort's is all zeros and is
    released like any other. The divisor is public. ``central``: independent noise of standard deviation
    ``mechanism.noise_std`` is added to **every** coordinate, tensors in order of name: Gaussian in float64, or discrete
    on the sum rounded to integers; under ``correlation`` that of ``row``, float64 by name, which is the round's of the
    stream (``fedrec.privacy.correlation.stream``). ``device``: the noise is in the sum. ``distributed``: ``total`` is
    of integers, the noise is in it, and the mean is float64. The count of users within the clip norm, where there is
    one, has noise of ``mechanism.count_noise`` (``fedrec.privacy.adaptive_clipping``). Raises ``ProtocolError`` naming
    the tensor if the sum is not finite or of the wrong kind; nothing is drawn then.
    """
    if mechanism.placement == "distributed":
        return SharedState({name: _decoded_mean(name, total[name], mechanism) for name in sorted(total)})
    _check(total)
    if mechanism.correlation:
        return _along_stream(total, mechanism, row or {})
    add = _adding(total, mechanism, source)
    return SharedState(
        {name: (add(name, total[name]) / mechanism.expected_cohort).to(total[name].dtype) for name in sorted(total)}
    )


def summed(parts: Iterable[SharedState]) -> SharedState:
    """Return the sum of one or more parts as they come, taken in float64; one alone is returned as it is."""
    ways = iter(parts)
    first = next(ways)
    total: dict[str, Tensor] = {}
    for part in ways:
        total = total or {name: value.double() for name, value in first.items()}
        for name, value in part.items():
            total[name] += value
    return SharedState({name: total[name].to(value.dtype) if total else value for name, value in first.items()})


def _check(total: SharedState) -> None:
    for name in sorted(total):
        tensor = total[name]
        if not tensor.is_floating_point():
            raise ProtocolError(
                f"sum of tensor {name!r} is {tensor.dtype}, not a float type: noise cannot be added to it"
            )
        if not bool(tensor.isfinite().all()):
            raise ProtocolError(
                f"sum of tensor {name!r} is not finite: quarantine the reply that brought it, nothing is released"
            )


# --- at the server ------------------------------------------------------------------------------------------------
def _adding(total: SharedState, mechanism: Mechanism, source: NoiseSource) -> Callable[[str, Tensor], Tensor]:
    """Return how the server makes the sum of the tensor of a name noisy, in float64."""
    if mechanism.placement == "device":
        return lambda name, tensor: tensor.to(torch.float64)
    if mechanism.noise == "gaussian":
        stds = {WITHIN: mechanism.count_noise or mechanism.noise_std}
        return lambda name, tensor: _noisy(tensor, stds.get(name, mechanism.noise_std), source)
    fixed_point = _fixed_point(mechanism)
    dimension = sum(tensor.numel() for tensor in total.values())
    # Rounded with the same coins, sums that differ by one user differ by that user and less than 1 in each coordinate.
    certain = fixed_point.scale * mechanism.clip_norm + sqrt(dimension)
    if fixed_point.norm_bound < certain * (1 - 1e-9):
        raise ProtocolError(
            f"the sum has {dimension} numbers, its fixed-point encoding was planned for {fixed_point.dimension}: plan "
            "the run for its own model"
        )
    return lambda name, tensor: _discrete(tensor, mechanism, fixed_point, source)


def _along_stream(total: SharedState, mechanism: Mechanism, row: Mapping[str, Tensor]) -> SharedState:
    if {name: tensor.shape for name, tensor in row.items()} != {name: tensor.shape for name, tensor in total.items()}:
        raise ValueError("a round of correlated noise needs the noise of its stream, for the tensors that are summed")
    noisy = {name: total[name].double() + mechanism.noise_std * row[name].to(total[name].device) for name in total}
    return SharedState(
        {name: (noisy[name] / mechanism.expected_cohort).to(total[name].dtype) for name in sorted(total)}
    )


def _noisy(tensor: Tensor, std: float, source: NoiseSource) -> Tensor:
    noise = source.gaussian(tuple(tensor.shape)).to(tensor.device)
    return noise.mul_(std).add_(tensor)  # in place: in float64 a table is large for a small device


def _discrete(tensor: Tensor, mechanism: Mechanism, fixed_point: FixedPoint, source: NoiseSource) -> Tensor:
    units = stochastically_rounded(tensor.to("cpu", torch.float64) * fixed_point.scale, source)
    noise = _integers(tuple(tensor.shape), mechanism, fixed_point, 1, source)
    return decoded(units + noise, fixed_point).to(tensor.device)


def _decoded_mean(name: str, total: Tensor, mechanism: Mechanism) -> Tensor:
    if total.is_floating_point() or total.is_complex():
        raise ProtocolError(f"sum of tensor {name!r} is {total.dtype}, not of integers: devices encode their shares")
    return decoded(total.to(torch.int64), _fixed_point(mechanism)) / mechanism.expected_cohort


# --- on the devices -----------------------------------------------------------------------------------------------
def _masked(parts: Iterable[SharedState], users: int, mechanism: Mechanism, source: NoiseSource) -> SharedState:
    """Return the modular sum of the participants' integers and of as many shares of noise."""
    fixed_point = _fixed_point(mechanism)
    total: dict[str, Tensor] = {}
    seen = 0
    for part in parts:
        seen += 1
        own = encoded({name: value[None] for name, value in part.items()}, fixed_point, mechanism.clip_norm, source)
        total = {name: total.get(name, 0) + value[0] for name, value in own.items()}
    if not 0 < seen <= users:
        raise ValueError(f"{seen} contributions are not those of {users} participants: encode each alone")
    for name in total:
        total[name] += _integers(tuple(total[name].shape), mechanism, fixed_point, users, source)
    return SharedState({name: wrapped(value, fixed_point.bits).to(torch.int32) for name, value in total.items()})


def _integers(
    shape: tuple[int, ...], mechanism: Mechanism, fixed_point: FixedPoint, shares: int, source: NoiseSource
) -> Tensor:
    """Return the sum of ``shares`` shares of discrete noise, int64, of which ``minimum_users`` make up the whole."""
    whole = mechanism.minimum_users if mechanism.placement == "distributed" else 1
    std = mechanism.noise_std * fixed_point.scale / sqrt(whole)
    if mechanism.noise == "skellam":  # closed under sums: many shares are one draw
        most = max(1, int(SKELLAM_MAX // std**2))
        groups = [min(most, shares - first) for first in range(0, shares, most)]
        draws = (skellam(shape, count * std**2, source) for count in groups)
    else:
        draws = (discrete_gaussian(shape, std, source) for _ in range(shares))
    total = torch.zeros(shape, dtype=torch.int64)
    for draw in draws:
        total += torch.from_numpy(draw)
    return total


def _fixed_point(mechanism: Mechanism) -> FixedPoint:
    assert mechanism.fixed_point is not None  # Mechanism gives discrete noise its encoding, and asks for it here alone
    return mechanism.fixed_point
