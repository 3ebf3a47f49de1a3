"""Checkpoints: everything comes back, a crash leaves the one before, and what does not belong is refused by name."""

import json
import os
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from fedrec.errors import DataError, ModelMismatchError
from fedrec.flower.roster import Roster
from fedrec.flower.state import RunState
from fedrec.models.split import SharedState
from fedrec.rounds import NodeCard
from server.checkpoint import KEPT, SCHEMA, Checkpoints, read_checkpoint

CATALOGUE = "c" * 64
SHARED = SharedState({"tower.weight": torch.randn(2, 3, generator=torch.Generator().manual_seed(0))})


@pytest.fixture
def kept(tmp_path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", CATALOGUE)


def state(number: int = 4) -> RunState:
    card = NodeCard(key="node-1", num_users=3, catalogue_digest=CATALOGUE)
    return RunState(
        run_id="run-1",
        round=number,
        roster=Roster(cards=(card, replace(card, key="node-2"))),
        shared=SHARED,
        optimizer={"first.tower.weight": torch.ones(2, 3), "steps": torch.tensor(number)},
        popularity=torch.arange(5.0),
        clip_norm=0.1 + 0.2,
        ledger_head="a" * 64,
    )


def test_a_state_comes_back_whole(kept):
    kept.save(state())
    back = kept.latest(SHARED)
    assert replace(back, shared=SHARED, optimizer={}, popularity=None) == replace(
        state(), shared=SHARED, optimizer={}, popularity=None
    )
    assert torch.equal(back.shared["tower.weight"], SHARED["tower.weight"])
    assert torch.equal(back.popularity, torch.arange(5.0))
    assert set(back.optimizer) == {"first.tower.weight", "steps"}
    assert int(back.optimizer["steps"]) == 4


def test_a_run_without_popularity_or_optimiser_state_comes_back_so(kept):
    kept.save(replace(state(), popularity=None, optimizer={}))
    back = kept.latest(SHARED)
    assert back.popularity is None
    assert back.optimizer == {}


def test_before_the_first_there_is_none(kept):
    assert kept.latest(SHARED) is None


def test_the_latest_counts_and_only_three_are_kept(kept, tmp_path):
    for number in (8, 9, 10, 11, 100):
        kept.save(state(number))
    assert kept.latest(SHARED).round == 100
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == [f"round-{number:06d}.safetensors" for number in (10, 11, 100)]
    assert len(names) == KEPT


def test_a_crash_while_saving_leaves_the_one_before(kept, tmp_path, monkeypatch):
    kept.save(state(4))

    def crash(descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", crash)
        with pytest.raises(KeyboardInterrupt):
            kept.save(state(5))
    assert kept.latest(SHARED).round == 4
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ({"tower.weight": torch.zeros(3, 2)}, r"tower\.weight.*belongs to another model"),
        ({"tower.weight": torch.zeros(2, 3).double()}, r"tower\.weight"),
        ({"tower.weight": torch.zeros(2, 3), "gru.bias": torch.zeros(1)}, r"lacks tensor 'gru\.bias'"),
        ({"other": torch.zeros(2, 3)}, r"lacks tensor 'other'"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused_by_tensor_and_file(kept, template, named):
    kept.save(state())
    with pytest.raises(ModelMismatchError, match=named) as caught:
        kept.latest(SharedState(template))
    assert "round-000004.safetensors" in str(caught.value)


def test_a_checkpoint_of_another_catalogue_is_refused(kept, tmp_path):
    kept.save(state())
    with pytest.raises(ModelMismatchError, match="is of catalogue cccccccccccc, this run has dddddddddddd"):
        Checkpoints(tmp_path / "checkpoints", "d" * 64).latest(SHARED)


def damages(intact: bytes) -> list[bytes]:
    """Cut short, emptied, zeroed, and flipped in a number or in the head."""
    flipped = [intact[:at] + bytes([intact[at] ^ 1]) + intact[at + 1 :] for at in (-5, intact.index(b"run-1") + 4)]
    return [intact[:-1], intact[:10], b"", bytes(len(intact)), *flipped]


@pytest.mark.fault
def test_a3_a_damaged_newest_checkpoint_is_named_and_the_one_before_it_counts(kept, tmp_path):
    folder = tmp_path / "checkpoints"
    for number in (3, 4):
        kept.save(state(number))
    intact = (folder / "round-000004.safetensors").read_bytes()
    for damaged in damages(intact):
        (folder / "round-000004.safetensors").write_bytes(damaged)
        reader = Checkpoints(folder, CATALOGUE)
        assert reader.latest(SHARED).round == 3
        assert (folder / "round-000004.safetensors").read_bytes() == damaged  # who only reads changes nothing
        opened = Checkpoints(folder, CATALOGUE)
        with opened.locked():
            assert opened.latest(SHARED).round == 3
        (said,) = opened.lost
        assert "round-000004.safetensors is damaged" in said
        assert "the checkpoint before it counts" in said
        assert (folder / "round-000004.safetensors.damaged").read_bytes() == damaged


@pytest.mark.fault
def test_a3_when_every_checkpoint_is_damaged_no_run_is_begun_in_their_place(kept, tmp_path):
    kept.save(state())
    (tmp_path / "checkpoints" / "round-000004.safetensors").write_bytes(b"")
    for _ in range(2):
        with pytest.raises(DataError, match=r"no checkpoint in .* is whole"):
            Checkpoints(tmp_path / "checkpoints", CATALOGUE).latest(SHARED)


def rewritten(path, change):
    """Change the head of a checkpoint, or remove it."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
        head = json.loads(file.metadata()["checkpoint"])
    if change is not None:
        head = {key: value for key, value in {**head, **change}.items() if value != "gone"}
    save_file(tensors, path, metadata=None if change is None else {"checkpoint": json.dumps(head)})


@pytest.mark.fault
def test_a4_a_checkpoint_of_the_former_schema_is_read_as_this_one_s(kept, tmp_path):
    kept.save(state())
    path = next((tmp_path / "checkpoints").iterdir())
    rewritten(path, {"schema": 1, "head_digest": "gone", "abandoned": "gone", "awaits_statistics": "gone"})
    back, _ = read_checkpoint(path)
    assert (back.round, back.abandoned, back.awaits_statistics) == (4, 0, False)


@pytest.mark.fault
def test_a4_a_checkpoint_of_a_newer_schema_is_refused_and_left_alone(kept, tmp_path):
    kept.save(state())
    path = next((tmp_path / "checkpoints").iterdir())
    rewritten(path, {"schema": SCHEMA + 1})
    before = path.read_bytes()
    with pytest.raises(DataError, match=f"has schema {SCHEMA + 1}, this fedrec knows {SCHEMA}") as caught:
        kept.latest(SHARED)
    assert caught.value.exit_code != 0
    assert path.read_bytes() == before


@pytest.mark.fault
def test_a12_a_second_server_on_one_folder_is_refused_and_told_who_has_it(kept, tmp_path):
    second = Checkpoints(tmp_path / "checkpoints", CATALOGUE).locked()
    with kept.locked(), pytest.raises(DataError, match=f"is written by process {os.getpid()}"):
        second.__enter__()
    with kept.locked():  # whoever is gone holds nothing
        pass


def test_a_state_before_its_first_release_comes_back_as_one(kept):
    kept.save(replace(state(), awaits_statistics=True, abandoned=2))
    back = kept.latest(SHARED)
    assert (back.awaits_statistics, back.abandoned) == (True, 2)


@pytest.mark.parametrize("change", [{"roster": []}, {"roster": [{"key": "a"}]}, {"round": "gone"}, {"round": 5}, None])
def test_a_head_that_is_not_ours_is_refused_by_file(kept, tmp_path, change):
    kept.save(state())
    path = next((tmp_path / "checkpoints").iterdir())
    rewritten(path, change)
    with pytest.raises(DataError, match=r"round-000004\.safetensors is damaged"):
        read_checkpoint(path)


def test_a_missing_checkpoint_is_refused_by_file(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_checkpoint(tmp_path / "none.safetensors")
