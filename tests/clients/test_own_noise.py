"""Noise that the node adds itself: before anything is sent, of its own source, charged in full, and never weakened."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from clients.node import answer
from fedrec.config import CodecConfig
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.noise.fixed_point import decoded, fixed_point_for
from fedrec.rounds import Contribution, Refusal, RefusalReason, TrainReply, TrainTask

CENTRAL = Mechanism(clip_norm=1.0, noise_multiplier=1.0, sample_rate=1.0, population=3, amplified=False)


def on_device(task: TrainTask, noise_multiplier: float = 1.0, **change: object) -> TrainTask:
    mechanism = replace(CENTRAL, placement="device", noise_multiplier=noise_multiplier)
    return replace(task, mechanism=mechanism, **change)


def in_shares(
    task: TrainTask, noise_multiplier: float = 1.0, dimension: int | None = None, **change: object
) -> TrainTask:
    own = sum(value.numel() for value in task.shared.values()) if dimension is None else dimension
    fixed_point = fixed_point_for(
        placement="distributed",
        noise="skellam",
        clip_norm=1.0,
        noise_multiplier=noise_multiplier,
        dimension=own,
        users=3,
        minimum_users=2,
        bits=31,
    )
    shares = {"placement": "distributed", "noise": "skellam", "minimum_users": 2, "fixed_point": fixed_point}
    return replace(task, mechanism=replace(CENTRAL, noise_multiplier=noise_multiplier, **shares), **change)


def total_of(task: TrainTask, reply: TrainReply | Refusal) -> np.ndarray:
    assert isinstance(reply, TrainReply), reply
    values = [reply.total[name] for name in sorted(reply.total)]
    if task.mechanism.fixed_point:
        values = [decoded(value.long(), task.mechanism.fixed_point) for value in values]
    return torch.cat([value.double().reshape(-1) for value in values]).numpy()


@pytest.mark.parametrize("kind", [Contribution.UPDATE, Contribution.POPULARITY])
@pytest.mark.parametrize("noisy", [on_device, in_shares])
def test_almost_without_noise_the_reply_is_the_clipped_sum(make_store, task, later, noisy, kind):
    usual = later(1, contribution=kind, mechanism=CENTRAL)
    expected = total_of(usual, answer(usual, make_store(number=1)))
    asked = replace(
        noisy(task, 1e-5, dimension=len(expected)) if noisy is in_shares else noisy(task, 1e-5), contribution=kind
    )
    generous = replace(make_store(number=2).policy, min_noise_multiplier=0.0, epsilon=1e13)
    np.testing.assert_allclose(total_of(asked, answer(asked, make_store(generous, number=3))), expected, atol=1e-3)


@pytest.mark.parametrize("noisy", [on_device, in_shares])
def test_every_participant_brings_its_own_noise_on_every_number(make_store, task, noisy):
    one, other = (total_of(noisy(task), answer(noisy(task), make_store(number=number))) for number in (1, 2))
    difference = one - other  # the same users, twice: what differs is noise
    share = 1.0 if noisy is on_device else 1 / 2
    expected = math.sqrt(2 * len(task.participants) * share)
    assert (difference != 0).mean() > 0.95  # on the grid of shares one number in 750 falls on the other
    assert difference.std() == pytest.approx(expected, rel=6 / math.sqrt(2 * len(difference)))


@pytest.mark.parametrize("noisy", [on_device, in_shares])
def test_a_task_that_comes_again_is_answered_with_the_same_noise(store, task, noisy):
    first, again = answer(noisy(task), store), answer(noisy(task), store)
    assert all(torch.equal(first.total[name], again.total[name]) for name in first.total)
    assert len(store.ledger.charges()) == 1


def test_shares_travel_as_32_bit_integers(store, task):
    reply = answer(in_shares(task), store)
    assert {value.dtype for value in reply.total.values()} == {torch.int32}


@pytest.mark.parametrize(("noisy", "adversary"), [(on_device, "server"), (in_shares, "secure-sum")])
def test_only_rounds_that_asked_this_node_are_charged_each_in_full(store, task, noisy, adversary):
    for number in (1, 5):
        assert isinstance(answer(noisy(replace(task, round=number, nonce=f"{number:032x}")), store), TrainReply)
    charges = store.ledger.charges()
    assert [charge.event.steps for charge in charges] == [1, 1]
    assert {charge.guarantee.adversary for charge in charges} == {adversary}
    assert charges[0].event == noisy(task).mechanism.event


def test_a_codec_over_the_devices_noise_is_refused(store, task):
    refusal = answer(on_device(task, codec=CodecConfig(name="int8")), store)
    assert refusal.reason is RefusalReason.PROTOCOL
    assert "codec int8 would change" in refusal.detail


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"norm_bound": 10.0}, "its sensitivity is understated"),
        ({"dimension": 3}, "is for 3 numbers, a contribution has"),
        ({"bits": 40}, "has 40 bits, a message 32"),
    ],
)
def test_an_encoding_that_would_not_keep_its_bound_is_refused_before_it_is_charged(store, task, change, said):
    asked = in_shares(task)
    weak = replace(asked.mechanism, fixed_point=replace(asked.mechanism.fixed_point, **change))
    refusal = answer(replace(asked, mechanism=weak), store)
    assert refusal.reason is RefusalReason.PROTOCOL
    assert said in refusal.detail
    assert store.ledger.charges() == []


def test_an_encoding_whose_rounding_drowns_the_noise_is_judged_by_what_is_left(store, task):
    asked = in_shares(task)
    coarse = replace(asked.mechanism.fixed_point, scale=asked.mechanism.fixed_point.scale / 1000)
    refusal = answer(replace(asked, mechanism=replace(asked.mechanism, fixed_point=coarse)), store)
    assert refusal.reason is RefusalReason.NOISE
    assert "min_noise_multiplier = 0.3" in refusal.detail
