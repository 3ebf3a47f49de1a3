"""What every update codec must satisfy; a new one is tested by one more line of CASES."""

import math
from collections.abc import Mapping, Sequence
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedrec.codecs import CODECS, Codec, bounded_roundtrip, codec_for, encode_bounded
from fedrec.codecs.row_subset import MANY_ROWS
from fedrec.config import CodecConfig, CodecName
from fedrec.errors import ProtocolError
from fedrec.models.split import SharedState

SHAPES: dict[str, tuple[int, ...]] = {
    "items": (MANY_ROWS + 44, 8),
    "tower.weight": (5, 7),
    "tower.bias": (7,),
    "kernel": (3, 2, 9),
    "logit": (),
    "nothing": (0, 4),
    "narrow": (6, 0),
}
LIKE = {name: torch.empty(shape) for name, shape in SHAPES.items()}
ROUNDING = 1 + 1e-6
few = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 2**32 - 1)
scales = st.floats(-9, 4).map(lambda power: 10.0**power)


def drawn(seed: int, scale: float = 1.0) -> SharedState:
    """A user's update: rows of very different sizes, some of them zero, as a recommender's are."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in SHAPES.items():
        tensor = torch.randn(shape, generator=generator)
        if tensor.dim() > 1 and len(tensor):
            sizes = 10.0 ** torch.randint(-6, 2, (len(tensor),), generator=generator)
            sizes[torch.rand(len(tensor), generator=generator) < 0.3] = 0.0
            tensor = tensor * sizes.reshape(-1, *[1] * (tensor.dim() - 1))
        state[name] = scale * tensor
    return SharedState(state)


def norm(state: Mapping[str, Tensor]) -> float:
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in state.values()))


def clipped(state: SharedState, clip_norm: float) -> SharedState:
    factor = min(1.0, clip_norm / max(norm(state), 1e-30)) * (1 - 1e-7)
    return SharedState({name: tensor * factor for name, tensor in state.items()})


def added(states: list[SharedState]) -> SharedState:
    return SharedState({name: torch.stack([state[name].double() for state in states]).sum(0) for name in SHAPES})


def less(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> SharedState:
    return SharedState({name: one[name].double() - other[name].double() for name in one})


CASES = (
    CodecConfig(name="none"),
    CodecConfig(name="fp16"),
    CodecConfig(name="int8"),
    CodecConfig(name="low-rank", rank=4),
    CodecConfig(name="row-subset", row_share=0.3),
)


def over(cases: Sequence[CodecConfig]) -> pytest.MarkDecorator:
    codecs = [codec_for(case, 1, 3) for case in cases]
    return pytest.mark.parametrize("codec", codecs, ids=[case.name for case in cases])


every_codec = over(CASES)
every_linear_codec = over([case for case in CASES if codec_for(case, 1, 3).linear])


def through(codec: Codec, state: SharedState) -> SharedState:
    return codec.decode(codec.encode(state), LIKE)


def test_every_codec_of_the_settings_is_there_and_is_tested_here() -> None:
    assert set(CODECS) == set(get_args(CodecName)) == {config.name for config in CASES}


# --- what goes in comes out ---------------------------------------------------------------------------------
@few
@given(seeds, scales)
@every_codec
def test_an_encoding_has_the_names_shapes_and_dtypes_of_the_template(codec: Codec, seed: int, scale: float) -> None:
    encoded, template = codec.encode(drawn(seed, scale)), codec.template(LIKE)
    assert {name: (t.shape, t.dtype) for name, t in encoded.items()} == {
        name: (t.shape, t.dtype) for name, t in template.items()
    }


@few
@given(seeds, scales)
@every_codec
def test_what_is_decoded_has_the_names_shapes_and_dtypes_of_the_update(codec: Codec, seed: int, scale: float) -> None:
    update = drawn(seed, scale)
    decoded = through(codec, update)
    assert {name: (t.shape, t.dtype) for name, t in decoded.items()} == {
        name: (t.shape, t.dtype) for name, t in update.items()
    }


@every_codec
def test_zeros_stay_zeros(codec: Codec) -> None:
    zeros = SharedState({name: torch.zeros(shape) for name, shape in SHAPES.items()})
    assert norm(through(codec, zeros)) == 0.0


@every_codec
def test_an_update_is_not_changed_by_being_encoded(codec: Codec) -> None:
    update = drawn(0)
    before = {name: tensor.clone() for name, tensor in update.items()}
    through(codec, update)
    assert all(torch.equal(update[name], before[name]) for name in before)


@every_codec
def test_a_state_without_tensors_has_an_encoding(codec: Codec) -> None:
    assert codec.decode(codec.encode({}), {}) == {}


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
@over([case for case in CASES if case.name != "none"])  # which hides nothing from the server's own check
def test_what_is_not_finite_is_refused_by_name(codec: Codec, odd: float) -> None:
    update = drawn(0)
    update["tower.bias"][2] = odd
    with pytest.raises(ProtocolError, match=r"'tower\.bias' is not finite"):
        codec.encode(update)


# --- the same everywhere, whatever the data ------------------------------------------------------------------
@pytest.mark.parametrize("config", CASES, ids=lambda config: config.name)
def test_an_encoding_is_the_same_on_every_machine(config: CodecConfig) -> None:
    one = codec_for(config, 1, 3).encode(drawn(0))
    codec_for.cache_clear()
    other = codec_for(config, 1, 3).encode(drawn(0))
    assert all(torch.equal(one[name], other[name]) for name in one)


@few
@given(seeds, seeds)
@every_codec
def test_the_template_does_not_depend_on_data(codec: Codec, seed: int, other: int) -> None:
    one, two = codec.template(drawn(seed)), codec.template(drawn(other))
    assert {name: t.shape for name, t in one.items()} == {name: t.shape for name, t in two.items()}


# --- sensitivity -----------------------------------------------------------------------------------------------
@few
@given(seeds, scales)
@every_linear_codec
def test_a_linear_codec_makes_no_update_longer(codec: Codec, seed: int, scale: float) -> None:
    update = drawn(seed, scale)
    assert norm(through(codec, update)) <= norm(update) * ROUNDING


@few
@given(seeds, seeds)
@every_linear_codec
def test_a_linear_codec_commutes_with_sums(codec: Codec, seed: int, other: int) -> None:
    users = [drawn(seed), drawn(other)]
    together, apart = through(codec, added(users)), added([through(codec, user) for user in users])
    assert norm(less(together, apart)) <= 1e-6 * (1 + norm(apart))


@few
@given(seeds)
@every_codec
def test_what_was_decoded_is_in_the_subspace_on_which_noise_is_projected(codec: Codec, seed: int) -> None:
    decoded = through(codec, drawn(seed))
    assert norm(less(codec.project(decoded), decoded)) <= 1e-6 * norm(decoded)


@few
@given(seeds)
@every_codec
def test_projecting_twice_is_projecting_once_and_never_lengthens(codec: Codec, seed: int) -> None:
    once = codec.project(drawn(seed))
    assert norm(once) <= norm(drawn(seed)) * ROUNDING
    assert norm(less(codec.project(once), once)) <= 1e-6 * (1e-9 + norm(once))


@few
@given(st.lists(seeds, min_size=1, max_size=6, unique=True), st.floats(0.01, 100.0))
@every_codec
def test_one_user_changes_the_decoded_sum_by_at_most_the_clip_norm(codec: Codec, users: list[int], clip: float) -> None:
    """By the rule of ``fedrec.codecs.replies``: linear codecs code the sum, others each user's update."""
    updates = [clipped(drawn(user, 100.0), clip) for user in users]

    def decoded_sum(updates: list[SharedState]) -> SharedState:
        if codec.linear:
            total = SharedState({name: tensor.float() for name, tensor in added(updates).items()})
            return through(codec, total)
        return added([bounded_roundtrip(update, codec, clip) for update in updates])

    without = SharedState({name: torch.zeros(shape) for name, shape in SHAPES.items()})
    if len(updates) > 1:
        without = decoded_sum(updates[1:])
    change = norm(less(decoded_sum(updates), without))
    assert change <= clip * (1 + 1e-6 * len(users))


@few
@given(seeds, scales, st.floats(1e-4, 100.0))
@every_codec
def test_a_bounded_encoding_decodes_to_at_most_the_clip_norm(
    codec: Codec, seed: int, scale: float, clip: float
) -> None:
    update = clipped(drawn(seed, scale), clip)
    encoded = encode_bounded(update, codec, clip)
    decoded = codec.decode(encoded, LIKE)
    assert norm(decoded) <= clip
    sent = bounded_roundtrip(update, codec, clip)
    assert all(torch.equal(decoded[name], sent[name]) for name in sent)
