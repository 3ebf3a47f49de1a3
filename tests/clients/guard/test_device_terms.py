"""The owner's terms win over every request of a server, before a private row is read or the ledger gets a line."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Context, Message, RecordDict

from clients.app import app
from clients.artefacts import versions
from clients.device_node import DeviceNode
from clients.local_store import LocalStore
from clients.node import answer
from clients.policy import Policy
from clients.private_shards import PrivateShards
from fedrec.config import ModelConfig
from fedrec.data.catalogue import FILES, Catalogue
from fedrec.errors import ConfigError
from fedrec.flower.wire import read_reply, task_message, write_arrays
from fedrec.models import build_model
from fedrec.models.split import SharedState, structure_digest
from fedrec.privacy.mechanism import Mechanism
from fedrec.rounds import Contribution, RefusalReason, TrainReply
from fedrec.signing.manifest import Manifest, ManifestFile

DAY = 24 * 3600.0


@pytest.fixture
def nothing_is_read(monkeypatch) -> None:
    """Whoever reads a private row fails."""

    def read(*arguments, **options):
        pytest.fail("a private row was read")

    for name in ("events", "histories", "num_events", "last_event"):
        monkeypatch.setattr(LocalStore, name, read)
    monkeypatch.setattr(DeviceNode, "histories", read)
    for name in ("read", "put", "commit"):
        monkeypatch.setattr(PrivateShards, name, read)


def with_mechanism(**change) -> Callable:
    return lambda task: replace(task, mechanism=replace(task.mechanism, **change))


def with_local(**change) -> Callable:
    return lambda task: replace(task, local=task.local.model_copy(update=change))


def with_tensor(name: str, value: torch.Tensor) -> Callable:
    def change(task):
        shared = SharedState({**task.shared, name: value})
        return replace(task, shared=shared, model_digest=structure_digest(shared))

    return change


def central(noise: float, cohort: float) -> Callable:
    mechanism = Mechanism(clip_norm=1.0, noise_multiplier=noise, sample_rate=cohort / 50, population=50)
    return lambda task: replace(task, mechanism=mechanism)


REFUSED = {
    "epsilon of a round": (
        {"epsilon_per_round": 1.0},
        lambda task: task,
        RefusalReason.BUDGET,
        "epsilon_per_round = 1, asked was epsilon",
    ),
    "epsilon for life": ({"epsilon": 0.5}, lambda task: task, RefusalReason.BUDGET, "budget of epsilon 0.5"),
    "no noise": ({}, lambda task: replace(task, mechanism=None), RefusalReason.NOISE, "allow_unprotected = false"),
    "little noise": (
        {"min_noise_multiplier": 0.5},
        with_mechanism(noise_multiplier=1e-9),
        RefusalReason.NOISE,
        "min_noise_multiplier = 0.5",
    ),
    "no noise of its own": (
        {"required_placement": "device"},
        central(9.0, 50),
        RefusalReason.NOISE,
        'required_placement = "device", asked was central noise',
    ),
    "a huge clip": (
        {},
        with_mechanism(clip_norm=1e9),
        RefusalReason.CLIP,
        "max_clip_norm = 10, asked was clip norm 1e+09",
    ),
    "many steps": ({}, with_local(steps=10_000), RefusalReason.MODEL, "max_local_steps = 100, asked was 10000 steps"),
    "many epochs": (
        {},
        with_local(epochs=10_000),
        RefusalReason.MODEL,
        "max_local_epochs = 100, asked was 10000 epochs",
    ),
    "a cohort of one": (
        {"min_expected_cohort": 20.0},
        with_mechanism(population=1),
        RefusalReason.COHORT,
        "min_expected_cohort = 20, asked was a round of 1 users",
    ),
    "a cohort of many that is sampled to few": (
        {"min_expected_cohort": 20.0},
        central(9.0, 19),
        RefusalReason.COHORT,
        "asked was a round of 19 users",
    ),
    "a kind that is not allowed": (
        {"allowed_contributions": ("update",)},
        lambda task: replace(task, contribution=Contribution.POPULARITY),
        RefusalReason.NOT_ALLOWED,
        'allowed_contributions = ["update"], asked was popularity',
    ),
    "a tensor that is not allowed": (
        {"allowed_tensors": ("fusion.*", "item_tower.*", "behaviour_tower.*", "sequence.*")},
        lambda task: task,
        RefusalReason.NOT_ALLOWED,
        "asked was tensor 'factors.bias'",
    ),
    "many bytes": ({"max_bytes_per_task": 1000}, lambda task: task, RefusalReason.BYTES, "max_bytes_per_task = 1000"),
    "many bytes for a day": (
        {"max_bytes_per_day": 999},
        lambda task: task,
        RefusalReason.BYTES,
        "max_bytes_per_day = 999",
    ),
    "a wide model": (
        {"max_model_dim": 3},
        lambda task: task,
        RefusalReason.MODEL,
        "max_model_dim = 3, asked was dim 4",
    ),
    "an unsigned catalogue": (
        {"catalogue_signer": "ab" * 32},
        lambda task: task,
        RefusalReason.CATALOGUE,
        "not signed by catalogue_signer = abababab",
    ),
}


@pytest.mark.abuse
@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.usefixtures("nothing_is_read")
def test_e58_a_task_above_a_term_is_refused_by_type_with_no_row_read_and_the_ledger_as_it_was(make_device, task, case):
    terms, change, reason, said = REFUSED[case]
    device = make_device(Policy(consent=True, **{"epsilon": 100.0, **terms}))
    refusal = answer(change(task), device.open())
    assert (refusal.reason, refusal.nonce) == (reason, task.nonce)
    assert said in refusal.detail
    assert not device.home.ledger.exists()


@pytest.mark.abuse
def test_e58_terms_that_are_met_exactly_are_met(make_device, task):
    terms = Policy(
        consent=True,
        epsilon=100.0,
        min_noise_multiplier=2.0,
        max_clip_norm=1.0,
        min_expected_cohort=50.0,
        max_local_steps=1,
        max_local_epochs=0,
        max_model_dim=4,
        max_tasks_per_day=1,
        allowed_contributions=("update",),
        allowed_tensors=("*.*",),
    )
    assert isinstance(answer(task, make_device(terms).open()), TrainReply)


def asked(device, message: Message):
    context = Context(1, 7, {"node": str(device.home.path)}, RecordDict(), {})
    return read_reply(app(message, context), lambda num_users: pytest.fail("a reply came"))


MALFORMED = {
    "no noise multiplier at all": {"mechanism": json.dumps({"clip_norm": 1.0, "sample_rate": 1.0, "population": 3})},
    "sigma 0": {"noise_multiplier": 0},
    "sigma below 0": {"noise_multiplier": -1.0},
    "sigma NaN": {"noise_multiplier": float("nan")},
    "sigma infinite": {"noise_multiplier": float("inf")},
    "sigma a text": {"noise_multiplier": "1"},
    "sigma true": {"noise_multiplier": True},
    "clip 0": {"clip_norm": 0.0},
    "clip NaN": {"clip_norm": float("nan")},
    "cohort 0": {"population": 0},
    "sampled above 1": {"sample_rate": 1.5},
    "an unknown placement": {"placement": "trust me"},
    "a term that is none": {"min_noise": 1},
    "epochs below 0": {"local": '{"epochs": -1}'},
    "epochs a text": {"local": '{"epochs": "many"}'},
    "an unknown kind": {"contribution": "everything"},
    "round below 0": {"round": -1},
    "round a text": {"round": "1"},
    "participants below 0": {"participants": [-1]},
    "participants twice": {"participants": [1, 1]},
    "no participants": {"participants": []},
    "a nonce that leads elsewhere": {"nonce": "../../policy"},
    "another version": {"version": 99},
}


@pytest.mark.abuse
@pytest.mark.parametrize("case", MALFORMED)
@pytest.mark.usefixtures("nothing_is_read")
def test_e58_a_task_that_makes_no_sense_is_refused_by_type_with_no_row_read_and_the_ledger_as_it_was(
    device, task, case
):
    message = task_message(task, write_arrays(task.shared), node_id=7, time_to_live=60.0)
    fields = message.content.config_records["task"]
    mechanism = {**task.mechanism.to_fields()}
    for name, value in MALFORMED[case].items():
        if name in fields:
            fields[name] = value
        else:
            fields["mechanism"] = json.dumps({**mechanism, name: value})
    refusal = asked(device, message)
    assert refusal.reason is (RefusalReason.UPGRADE if "version" in case else RefusalReason.PROTOCOL)
    assert not device.home.ledger.exists()


@pytest.mark.abuse
@pytest.mark.usefixtures("nothing_is_read")
def test_e58_each_field_that_is_missing_is_refused(device, task):
    for name in ("run", "round", "nonce", "contribution", "model", "mechanism", "local", "participants", "codec"):
        message = task_message(task, write_arrays(task.shared), node_id=7, time_to_live=60.0)
        del message.content.config_records["task"][name]
        assert asked(device, message).reason is RefusalReason.PROTOCOL
    assert not device.home.ledger.exists()


@pytest.mark.abuse
def test_e58_a_policy_of_a_newer_fedrec_is_no_policy(make_device, task):
    device = make_device()
    device.home.policy.write_text("consent = true\nmax_harm = 3\n")
    with pytest.raises(ConfigError, match="unknown key 'max_harm'"):
        device.open()


def test_the_policy_for_devices_sets_every_limit_and_survives_its_file(tmp_path):
    policy = Policy.for_device(catalogue_signer="cd" * 32, allowed_tensors=("item_tower.*", 'odd"name'))
    assert not policy.consent
    assert None not in vars(policy).values()
    (tmp_path / "policy.toml").write_text(policy.to_toml())
    assert Policy.load(tmp_path / "policy.toml") == policy


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('allowed_contributions = ["update", "everything"]', "allowed_contributions must be of"),
        ('allowed_contributions = "update"', "allowed_contributions must be a list of texts"),
        ("allowed_tensors = [1]", "allowed_tensors must be a list of texts"),
        ('catalogue_signer = "abc"', "catalogue_signer must be the 64 hex digits"),
        ("max_bytes_per_day = -1", "max_bytes_per_day must be a whole number"),
        ("max_tasks_per_day = 1.5", "max_tasks_per_day must be a whole number"),
        ("epsilon_per_round = nan", "epsilon_per_round must be a finite number"),
        ("min_separation_seconds = true", "min_separation_seconds must be a number"),
    ],
)
def test_an_odd_term_is_refused_by_file_and_key(tmp_path, text, said):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        Policy.load(path)


# --- pace -----------------------------------------------------------------------------------------------------------
@pytest.mark.abuse
def test_e59_a_thousand_tasks_in_a_minute_are_held_to_separation_and_to_the_tasks_of_a_day(make_device, task, later):
    device = make_device(Policy(consent=True, epsilon=1e6, max_tasks_per_day=2, min_separation_seconds=25.0))
    store, answers = device.open(), []
    for number in range(1, 1001):
        answers.append(answer(later(number, participants=task.participants, mechanism=task.mechanism), store))
        device.clocks.pass_(0.06)
    begun = [number for number, one in enumerate(answers) if isinstance(one, TrainReply)]
    assert begun == [0, 417]
    assert {one.reason for one in answers if not isinstance(one, TrainReply)} == {RefusalReason.TOO_SOON}
    assert "max_tasks_per_day = 2, asked was one more" in answers[-1].detail
    assert len(store.ledger.charges()) == 2


@pytest.mark.abuse
def test_e59_the_epsilon_and_the_bytes_of_a_day_hold_and_come_back_a_day_later(make_device, task, later):
    device = make_device(Policy(consent=True, epsilon=1e6, epsilon_per_day=4.0))

    def ask(number: int):
        device.clocks.pass_(60.0)
        return answer(later(number, participants=task.participants, mechanism=task.mechanism), device.open())

    answers = [ask(number) for number in range(1, 6)]
    kinds = [isinstance(one, TrainReply) for one in answers]
    assert {kinds[0], not kinds[-1]} == {True}
    assert kinds == sorted(kinds, reverse=True)
    assert "epsilon_per_day = 4, asked was epsilon" in answers[-1].detail
    bytes_ = device.open().guard.bytes_today() // sum(kinds)
    device.set(Policy(consent=True, epsilon=1e6, max_bytes_per_day=sum(kinds) * bytes_))
    assert ask(7).reason is RefusalReason.BYTES
    device.set(Policy(consent=True, epsilon=1e6, epsilon_per_day=4.0, max_bytes_per_day=sum(kinds) * bytes_))
    device.clocks.pass_(DAY)
    assert isinstance(ask(8), TrainReply)


# --- what arrives ---------------------------------------------------------------------------------------------------
@pytest.mark.abuse
@pytest.mark.usefixtures("nothing_is_read")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_tensor("imprint.weight", torch.ones(8, 8)), RefusalReason.TENSORS),
        (with_tensor("factors.bias", torch.zeros(9, 1)), RefusalReason.TENSORS),
        (with_tensor("factors.bias", torch.zeros(9, dtype=torch.float64)), RefusalReason.TENSORS),
        (with_tensor("factors.bias", torch.full((9,), float("inf"))), RefusalReason.TENSORS),
        (lambda task: replace(task, model=task.model.model_copy(update={"dim": 8})), RefusalReason.TENSORS),
        (lambda task: replace(task, model_digest="d" * 64), RefusalReason.MODEL),
        (with_tensor("factors.bias", torch.full((9,), -1e3)), RefusalReason.SUSPICIOUS),
        (with_tensor("factors.embedding", torch.full((9, 4), 0.25)), RefusalReason.SUSPICIOUS),
        (with_tensor("item_tower.id_embedding", torch.full((9, 4), 1e6)), RefusalReason.SUSPICIOUS),
    ],
)
def test_e63_another_architecture_or_a_built_model_is_refused_with_no_row_read(device, task, change, reason):
    refusal = answer(change(task), device.open())
    assert refusal.reason is reason
    assert not device.home.ledger.exists()


@pytest.mark.abuse
def test_e63_what_grows_too_fast_from_one_task_of_a_run_to_the_next_is_refused_and_another_run_begins_anew(
    device, task, later
):
    assert isinstance(answer(task, device.open()), TrainReply)
    grown = with_tensor("factors.embedding", task.shared["factors.embedding"] * 60)
    second = grown(later(2, participants=task.participants, mechanism=task.mechanism))
    refusal = answer(second, device.open())
    assert refusal.reason is RefusalReason.SUSPICIOUS
    assert "60 times as large as in the last task of this run" in refusal.detail
    assert isinstance(answer(replace(second, run_id="run-2"), device.open()), TrainReply)


# --- catalogues -----------------------------------------------------------------------------------------------------
def shuffled(catalogue: Catalogue) -> Catalogue:
    order = np.roll(np.arange(catalogue.num_items), 1)
    return replace(
        catalogue,
        item_ids=tuple(catalogue.item_ids[n] for n in order),
        titles=tuple(catalogue.titles[n] for n in order),
        features=catalogue.features[order],
    )


def put_in_place(device, catalogue: Catalogue, version: int, key: Ed25519PrivateKey | None = None) -> None:
    folder = device.home.catalogues / str(version)
    folder.mkdir(parents=True)
    catalogue.save(folder)
    if key:
        files = {name: ManifestFile(sha256="0" * 64, size=1) for name in FILES}
        manifest = Manifest(subject="catalogue", version=version, catalogue_digest=catalogue.digest, files=files)
        (folder / versions.MANIFEST).write_bytes(manifest.signed(key))
    versions.switch(device.home.catalogues, version)


def counting(later: Callable, catalogue: Catalogue, users: list[int]):
    """A round of statistics, whose tensors are by position in the catalogue."""
    shared = build_model(ModelConfig(dim=4, history_length=6, dropout=0.0), catalogue, seed=0).shared_state()
    told = {"shared": shared, "model_digest": structure_digest(shared), "catalogue_digest": catalogue.digest}
    mechanism = Mechanism(clip_norm=9.0, noise_multiplier=1.0, sample_rate=1.0, population=50)
    return later(0, contribution=Contribution.POPULARITY, participants=np.array(users), mechanism=mechanism, **told)


@pytest.mark.abuse
def test_e62_a_task_for_another_version_or_order_of_the_catalogue_is_refused_and_items_are_found_by_their_ids(
    make_device, later, catalogue
):
    device = make_device()
    other = shuffled(catalogue)
    refusal = answer(counting(later, other, [0]), device.open())
    assert refusal.reason is RefusalReason.CATALOGUE
    assert not device.home.ledger.exists()
    before = answer(counting(later, catalogue, [0]), device.open()).total["counts"]
    assert torch.nonzero(before).flatten().tolist() == [0, 1, 2, 3]
    put_in_place(device, other, 2)
    device.stack.close()
    again = counting(later, other, [0])
    after = answer(replace(again, nonce="b" * 32), device.open()).total["counts"]
    assert [other.item_ids[n] for n in torch.nonzero(after).flatten()] == ["i0", "i1", "i2", "i3"]
    assert answer(replace(counting(later, catalogue, [0]), nonce="c" * 32), device.open()).reason is (
        RefusalReason.CATALOGUE
    )


@pytest.mark.abuse
def test_e62_the_owner_may_name_the_one_signer_of_catalogues(make_device, task, catalogue):
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()
    device = make_device(Policy(consent=True, epsilon=100.0, catalogue_signer=raw))
    put_in_place(device, catalogue, 2, other)
    assert answer(task, device.open()).reason is RefusalReason.CATALOGUE
    put_in_place(device, catalogue, 3, key)
    assert isinstance(answer(task, device.open()), TrainReply)


@pytest.mark.fault
def test_a15_a_device_that_is_back_after_thirty_days_answers_nothing_old_and_needs_the_new_catalogue_first(
    make_device, task, later, catalogue
):
    device = make_device(Policy(consent=True, epsilon=100.0, max_tasks_per_day=2))
    assert isinstance(answer(task, device.open()), TrainReply)
    device.clocks.reboot("second", device.clocks.wall + 30 * DAY)
    device.clocks.synchronised = True
    new = shuffled(catalogue)
    shared = build_model(task.model, new, seed=0).shared_state()
    told = {"run_id": "run-2", "catalogue_digest": new.digest, "shared": shared}
    told |= {"participants": task.participants, "mechanism": task.mechanism}
    asked_now = later(5, **told, model_digest=structure_digest(shared))
    assert answer(asked_now, device.open()).reason is RefusalReason.CATALOGUE
    put_in_place(device, new, 2)
    reply = answer(asked_now, device.open())
    assert isinstance(reply, TrainReply)
    assert reply.nonce == asked_now.nonce  # and no reply of the run that it was in a month ago
    assert [charge.run_id for charge in device.open().ledger.charges()] == ["run-1", "run-2"]
    stricter = Policy(consent=True, epsilon=100.0, max_clip_norm=0.5)  # the owner's terms of today hold for all
    device.set(stricter)
    assert answer(asked_now, device.open()).reason is RefusalReason.CLIP


# --- a server that says it protects ---------------------------------------------------------------------------------
@pytest.mark.abuse
def test_e67_noise_that_a_server_says_it_adds_counts_for_nothing_where_the_owner_does_not_trust_it(make_device, task):
    device = make_device(Policy(consent=True, epsilon=100.0, required_placement="device", min_own_noise_multiplier=0.5))
    refusal = answer(central(1e6, 50)(task), device.open())
    assert refusal.reason is RefusalReason.NOISE
    assert not device.home.ledger.exists()
    reply = answer(task, device.open())
    assert isinstance(reply, TrainReply)
    (charge,) = device.open().ledger.charges()
    assert (charge.guarantee.adversary, charge.mechanism) == ("server", task.mechanism)


@pytest.mark.abuse
def test_e67_the_device_clips_and_charges_by_the_same_clip_norm_whatever_the_server_does_later(device, task, later):
    small = with_mechanism(clip_norm=1e-3)(task)
    noiseless = replace(small, mechanism=replace(small.mechanism, placement="central", amplified=False))
    reply = answer(noiseless, device.open())
    norm = float(sum(value.double().square().sum() for value in reply.total.values()).sqrt())
    assert norm <= 2 * 1e-3 * (1 + 1e-6)  # two users
    (charge,) = device.open().ledger.charges()
    assert charge.mechanism.clip_norm == 1e-3


def test_paths_of_the_guard_lie_beside_the_ledger(device, task):
    answer(task, device.open())
    names = {path.name for path in Path(device.home.path).glob("ledger.*")}
    assert names == {"ledger.jsonl", "ledger.counter", "ledger.clock", "ledger.day"}
    modes = {path.name: path.stat().st_mode & 0o777 for path in Path(device.home.path).glob("ledger.*")}
    assert all(mode & 0o077 == 0 for name, mode in modes.items() if name != "ledger.jsonl"), modes
