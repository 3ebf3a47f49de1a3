from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clients.node import answer
from clients.policy import Policy
from clients.store import NodeStore
from fedrec.codecs import reply_codec
from fedrec.config import CodecConfig
from fedrec.flower.templates import allowed_reply
from fedrec.models import build_model
from fedrec.models.split import SharedState
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.noise.fixed_point import fixed_point_for
from fedrec.privacy.noise.source import noise_generator
from fedrec.rounds import Contribution, TrainReply, TrainTask
from simulations.audits.attacks.calibration import features_of, halves, log_odds
from simulations.audits.attacks.people import People
from simulations.audits.attacks.roc import roc
from simulations.audits.attacks.uploads import Devices, Upload, task_of
from simulations.audits.attacks.views import CONTROL, View
from simulations.audits.attacks.watching import watch

CLIP = Mechanism(clip_norm=0.05, noise_multiplier=1.0, sample_rate=1.0, population=60)


def view(mechanism: Mechanism | None, users: int = 1, codec: str = "none") -> View:
    asked = CodecConfig.model_validate({"name": codec})
    return View(key="view", sees="", defence="", mechanism=mechanism, users=users, codec=asked)


def task_for(people: People, seen: View, kind: Contribution = Contribution.UPDATE) -> TrainTask:
    model = build_model(people.scenario.model, people.catalogue, people.scenario.run.seed)
    return task_of(people, kind, model.shared_state(), int(kind is Contribution.UPDATE), seen)


def upload(people: People, devices: Devices, seen: View, users: list[int]) -> SharedState:
    task = task_for(people, seen)
    made = Upload(task, seen, people.catalogue.num_items, noise_generator(0))
    for user in users:
        made.add(devices.part(task, user))
    return made.seen()


@pytest.mark.parametrize("codec", ["none", "int8", "row-subset"])
@pytest.mark.parametrize("mechanism", [None, CLIP])
@pytest.mark.parametrize("users", [1, 3])
def test_an_upload_is_what_a_node_answers(
    people: People, devices: Devices, tmp_path: Path, codec: str, mechanism: Mechanism | None, users: int
) -> None:
    seen = view(mechanism, users, codec)
    task = replace(task_for(people, seen), participants=np.arange(users))
    store = NodeStore.create(
        tmp_path / "answering",
        key="answering",
        users=people.keys,
        histories=people.histories,
        catalogue="../catalogue",
        policy=Policy(consent=True, allow_unprotected=True, epsilon=1e9, min_noise_multiplier=0.0, max_clip_norm=9.0),
        durable=False,
    )

    reply = answer(task, store)

    assert isinstance(reply, TrainReply)
    like = allowed_reply(replace(task, codec=CodecConfig()), people.catalogue.num_items)
    expected = reply_codec(task, users).decode(reply.total, like)
    found = upload(people, devices, seen, list(range(users)))
    for name, tensor in expected.items():
        step = float(tensor.abs().max()) / 120 if codec == "int8" else 0.0  # a sum in another order may round otherwise
        assert torch.allclose(found[name], tensor, atol=step + 1e-6), name


def test_a_secure_sum_opens_to_the_sum_of_the_contributions(people: People, devices: Devices) -> None:
    task = task_for(people, view(CLIP))
    parts = [devices.part(task, user) for user in range(10)]
    dimension = sum(value.numel() for value in parts[0].values())
    encoding = fixed_point_for(
        placement="distributed",
        noise="skellam",
        clip_norm=CLIP.clip_norm,
        noise_multiplier=0.05,
        dimension=dimension,
        users=20,
        minimum_users=12,
        bits=31,
    )
    quiet = replace(
        CLIP,
        noise_multiplier=0.05,
        placement="distributed",
        noise="skellam",
        minimum_users=12,
        fixed_point=encoding,
        amplified=False,
    )

    found = upload(people, devices, view(quiet, users=10), list(range(10)))

    for name in parts[0]:
        total = torch.stack([part[name] for part in parts]).sum(0) / quiet.expected_cohort
        assert torch.allclose(found[name], total, atol=6 * 0.05 * CLIP.clip_norm / quiet.expected_cohort), name


def test_more_noise_on_devices_shows_fewer_items(people: People, devices: Devices) -> None:
    noises = (0.001, 0.05, 0.2, 20.0)
    on_device = replace(CLIP, placement="device", amplified=False)
    views = [
        View(key=str(noise), sees="", defence="", mechanism=replace(on_device, noise_multiplier=noise), later=False)
        for noise in noises
    ]

    watched = watch(people.first(14), devices, Contribution.UPDATE, [CONTROL, *views], 1, noise_generator(3))

    areas = []
    for seen in watched.seen:
        truth = watched.spoken_of[seen.users]
        scores = log_odds(features_of(seen.readings[0]), truth, halves(14), np.random.default_rng(0))
        areas.append(roc(scores[truth], scores[~truth]).auc)
    assert areas[0] > 0.97
    assert areas[1] > areas[2] > areas[3] > areas[4]
    assert areas[4] == pytest.approx(0.5, abs=0.08)
