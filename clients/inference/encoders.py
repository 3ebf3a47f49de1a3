"""The sequence branch's encoders for one user, by numpy: the same maths as ``fedrec.models``, forward only.

An encoder takes the item vectors of the latest events, float32 ``[L, dim]`` with ``L`` at least 1, oldest first, and
its parameters by name, to the states after each event, ``[L, dim]``.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Parameters = Mapping[str, NDArray[np.float32]]

EPSILON = 1e-5
"""Of layer normalisation, as ``torch.nn.functional.layer_norm`` has it."""
HALF = np.float32(0.5)
TAPS, DILATIONS = 3, (1, 3)
"""Of the convolution (``fedrec.models.convolution``)."""


def linear(inputs: Array, parameters: Parameters, name: str) -> Array:
    """Return ``inputs @ weight.T + bias`` of the layer of this name."""
    outputs: Array = inputs @ parameters[f"{name}.weight"].T + parameters[f"{name}.bias"]
    return outputs


def gru(events: Array, own: Parameters, heads: int) -> Array:
    """Return the states of a gated recurrent unit through the output layer (``fedrec.models.gru``).

    Gates are ``(1 + tanh(x / 2)) / 2``, their halves taken before the loop, which is a list's dearest part; a product
    with the state on the left takes half the time.
    """
    dim = events.shape[1]
    inputs = events @ own["weight_ih"].T + own["bias_ih"]
    inputs[:, : 2 * dim] += own["bias_hh"][: 2 * dim]
    inputs[:, : 2 * dim] *= HALF
    weight, recalled = own["weight_hh"].T.copy(), own["bias_hh"][2 * dim :]
    weight[:, : 2 * dim] *= HALF
    state = np.zeros(dim, np.float32)
    states = np.empty_like(events)
    for at, step in enumerate(inputs):
        hidden = state @ weight
        gate = _opened(hidden[: 2 * dim], step[: 2 * dim])
        candidate = hidden[2 * dim :]
        candidate += recalled
        candidate *= gate[:dim]
        candidate += step[2 * dim :]
        np.tanh(candidate, out=candidate)
        state -= candidate
        state *= gate[dim:]
        state += candidate
        states[at] = state
    return linear(states, own, "output")


def lstm(events: Array, own: Parameters, heads: int) -> Array:
    """Return the states of a long short-term memory through the output layer (``fedrec.models.lstm``)."""
    dim = events.shape[1]
    scale = np.full(4 * dim, HALF, np.float32)
    scale[2 * dim : 3 * dim] = 1
    inputs = (events @ own["weight_ih"].T + own["bias_ih"] + own["bias_hh"]) * scale
    weight = np.ascontiguousarray(own["weight_hh"].T) * scale
    state, cell = np.zeros((2, dim), np.float32)
    states = np.empty_like(events)
    for at, step in enumerate(inputs):
        sums = state @ weight
        sums += step
        np.tanh(sums, out=sums)
        candidate = sums[2 * dim : 3 * dim].copy()
        sums += 1
        sums *= HALF
        cell *= sums[dim : 2 * dim]
        candidate *= sums[:dim]
        cell += candidate
        np.tanh(cell, out=state)
        state *= sums[3 * dim :]
        states[at] = state
    return linear(states, own, "output")


def sasrec(events: Array, own: Parameters, heads: int) -> Array:
    """Return the states of causal self-attention through the output layer (``fedrec.models.attention``)."""
    length, dim = events.shape
    states: Array = np.float32(math.sqrt(dim)) * events + own["positions"][:length]
    ahead = np.triu(np.ones((length, length), np.bool_), 1)
    block = 0
    while f"blocks.{block}.norm1.weight" in own:
        prefix = f"blocks.{block}."
        normed = layer_norm(states, own, f"{prefix}norm1")
        projected = linear(normed, own, f"{prefix}in_proj").reshape(length, 3, heads, dim // heads)
        queries, keys, values = projected.transpose(1, 2, 0, 3)
        products = queries @ keys.transpose(0, 2, 1) * np.float32(1 / math.sqrt(dim // heads))
        products[:, ahead] = -np.inf
        mixed = (softmax(products) @ values).transpose(1, 0, 2).reshape(length, dim)
        states = states + linear(mixed, own, f"{prefix}out_proj")
        hidden = np.maximum(linear(layer_norm(states, own, f"{prefix}norm2"), own, f"{prefix}linear1"), 0)
        states = states + linear(hidden, own, f"{prefix}linear2")
        block += 1
    return linear(layer_norm(states, own, "norm"), own, "output")


def convolution(events: Array, own: Parameters, heads: int) -> Array:
    """Return the states of a dilated causal convolution through the output layer (``fedrec.models.convolution``)."""
    states, length = events, len(events)
    for at, dilation in enumerate(DILATIONS):
        normed = np.maximum(layer_norm(states, own, f"norms.{at}"), 0)
        padded = np.concatenate([np.zeros(((TAPS - 1) * dilation, events.shape[1]), np.float32), normed])
        taps = np.concatenate([padded[tap * dilation : tap * dilation + length] for tap in range(TAPS)], axis=1)
        states = states + linear(taps, own, f"taps.{at}")
    return linear(states, own, "output")


ENCODERS: dict[str, Callable[[Array, Parameters, int], Array]] = {
    "gru": gru,
    "lstm": lstm,
    "sasrec": sasrec,
    "cnn": convolution,
}
"""By the name in ``model.sequence_encoder``. The last argument is the number of attention heads."""


def _opened(hidden: Array, step: Array) -> Array:
    """Return gates from the two halves of what they read, in the place of ``hidden``."""
    hidden += step
    np.tanh(hidden, out=hidden)
    hidden += 1
    hidden *= HALF
    return hidden


def softmax(values: Array) -> Array:
    """Return the softmax over the last axis."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    found: Array = powers / powers.sum(axis=-1, keepdims=True)
    return found


def layer_norm(inputs: Array, own: Parameters, name: str) -> Array:
    """Return rows of zero mean and unit variance, scaled and shifted."""
    centred = inputs - inputs.mean(axis=-1, keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + np.float32(EPSILON))
    normed: Array = centred / deviation * own[f"{name}.weight"] + own[f"{name}.bias"]
    return normed
