"""A device that recommends: before any model, by a model, with another catalogue, after damage, after feedback."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from clients.artefacts.install import install
from clients.artefacts.versions import current
from clients.device.home import DeviceHome
from clients.inference.items import POPULARITY
from clients.inference.recommender import Recommender, best_items
from clients.local_store import Event, LocalStore
from clients.local_store.records import DISMISSAL
from clients.private_shards import PrivateShards
from fedrec.data.canaries import with_reserved_items
from fedrec.data.catalogue import Catalogue
from fedrec.data.histories import Histories
from fedrec.errors import DataError
from fedrec.faults import Fault, FaultPlan, InjectedCrashError, What, installed
from fedrec.models import PrivateState
from fedrec.ranking import top_k
from fedrec.training.scoring import fold_in, score_users

Make = Callable[..., Any]


@dataclass
class Device:
    """A device's folder without a node: its store, what a server published to it, and its recommender."""

    home: DeviceHome
    store: LocalStore
    publisher: Any
    versions: dict[str, int] = field(default_factory=lambda: {"catalogue": 0, "model": 0})
    _recommender: Recommender | None = None

    def record(self, *items: str, kind: str = "interaction") -> None:
        for item in items:
            self.store.record(Event("me", item, 1e9 + self.store.last_event(), kind))

    def install_catalogue(self, catalogue: Catalogue, popularity: Any = None) -> None:
        folder = self.home.path / f"published-{self.versions['catalogue']}"
        catalogue.save(folder)
        if popularity is not None:
            np.save(folder / POPULARITY, np.array(popularity, np.float32))
        self.install("catalogue", catalogue.digest, folder)

    def install(self, subject: Any, digest: str, folder: Path) -> None:
        self.versions[subject] += 1
        manifest = self.publisher.publish_folder(subject, self.versions[subject], digest, folder)
        target = self.home.catalogues if subject == "catalogue" else self.home.models
        install(manifest, self.publisher.signer, subject, target, self.publisher.open_file)

    @property
    def recommender(self) -> Recommender:
        if self._recommender is None:
            self._recommender = Recommender(self.home, self.store)
        self._recommender.reload()
        return self._recommender

    def picks(self, k: int = 5, **asked: Any) -> list[str]:
        return [pick.item for pick in self.recommender.recommend("me", k, **asked)]


@pytest.fixture
def device(tmp_path: Path, publisher: Any) -> Iterator[Device]:
    home = DeviceHome(tmp_path / "device")
    home.path.mkdir()
    with LocalStore.create(home.store) as store:
        yield Device(home=home, store=store, publisher=publisher)


@pytest.fixture
def served(device: Device, twin: Make) -> Any:
    """Return a model that the device serves, over its catalogue."""
    made = twin()
    device.install_catalogue(made.catalogue)
    device.install("model", made.catalogue.digest, made.folder)
    return made


def expected_picks(made: Any, items: Sequence[str], k: int = 5) -> list[str]:
    """Return what torch recommends after these events."""
    history = Histories.from_lists([[made.catalogue.codes[item] for item in items]])
    private = fold_in(made.model, made.shared, history)
    scores = score_users(made.model, made.shared, private, history)[0]
    return [made.catalogue.item_ids[code] for code in top_k(scores, k, history[0])]


# --- before the first model ---------------------------------------------------------------------------------------
def test_without_a_catalogue_it_says_what_is_missing(device: Device) -> None:
    assert device.recommender.serving().num_items == 0
    assert device.recommender.knows("i1") is None
    with pytest.raises(DataError, match="holds no catalogue yet"):
        device.picks()


def test_before_the_first_model_the_most_popular_items_come_first(device: Device, small_catalogue: Catalogue) -> None:
    device.install_catalogue(small_catalogue, popularity=np.arange(small_catalogue.num_items))
    device.record("i22", "i20")
    assert device.picks(3) == ["i21", "i19", "i18"]
    assert device.picks(3, exclude=("i19", "unknown")) == ["i21", "i18", "i17"]
    assert device.recommender.serving().source == "popularity"
    reason = device.recommender.recommend("me", 1, explain=True)[0].reasons[0]
    assert (reason.kind, reason.text) == ("fallback", "chosen by many; there is no model yet")


def test_without_released_counts_the_catalogues_order_is_better_than_nothing(
    device: Device, small_catalogue: Catalogue
) -> None:
    device.install_catalogue(small_catalogue)
    assert device.picks(3) == ["i0", "i1", "i2"]
    assert device.recommender.serving().source == "catalogue"


# --- by a model ---------------------------------------------------------------------------------------------------
def test_lists_are_those_of_the_run_in_torch(device: Device, served: Any) -> None:
    device.record("i1", "i2", "i3", "i9")
    assert device.picks() == expected_picks(served, ["i1", "i2", "i3", "i9"])
    assert device.recommender.serving().source == "model"


def test_a_user_without_events_gets_a_full_list(device: Device, served: Any) -> None:
    assert device.picks(10) == expected_picks(served, [], 10)


def test_feedback_shows_in_the_next_list(device: Device, served: Any) -> None:
    device.record("i1", "i2")
    first = device.picks(3)[0]
    device.record(first)
    assert first not in device.picks(30)
    assert len(device.picks(30)) == served.model.num_items - 3


def test_a_dismissed_item_is_not_shown_and_is_no_part_of_the_taste(device: Device, served: Any) -> None:
    device.record("i1", "i2", "i3")
    before = {pick.item: pick.score for pick in device.recommender.recommend("me", 30)}
    dismissed = next(iter(before))
    device.record(dismissed, kind=DISMISSAL)
    after = {pick.item: pick.score for pick in device.recommender.recommend("me", 30)}
    assert after == {item: score for item, score in before.items() if item != dismissed}


def test_what_was_excluded_stays_out_and_k_bounds_the_list(device: Device, served: Any) -> None:
    every = device.picks(100)
    assert len(every) == served.model.num_items
    assert device.picks(2, exclude=every[:3]) == every[3:5]
    with pytest.raises(ValueError, match="at least 1"):
        device.picks(0)


def test_events_of_items_that_nobody_knows_change_nothing(device: Device, served: Any) -> None:
    device.record("i1", "i2")
    before = device.picks()
    device.record("an item of a later catalogue")
    assert device.picks() == before


def test_reserved_items_of_audits_are_never_shown(device: Device, twin: Make, small_catalogue: Catalogue) -> None:
    widened = with_reserved_items(small_catalogue, 2)
    made = twin(catalogue=widened)
    device.install_catalogue(widened)
    device.install("model", widened.digest, made.folder)
    assert len(device.picks(100)) == small_catalogue.num_items


def test_what_forgetting_deleted_is_not_remembered_here(device: Device, served: Any) -> None:
    fresh = device.picks(30)
    device.record("i1", "i2", "i3")
    assert device.picks(30) != fresh
    device.store.forget()
    assert device.picks(30) == fresh


def test_private_parameters_of_the_trainer_are_used_while_they_are_of_the_models_run(
    device: Device, served: Any
) -> None:
    device.record("i1", "i2", "i3")
    fitted = device.recommender.recommend("me", 5)
    trained = PrivateState({name: 2 + value.clone() for name, value in served.model.private_template().items()})
    history = Histories.from_lists([[1, 2, 3]])
    for run_id, counts in (("another-run", False), ("run-1", True)):
        device.home.state.mkdir(exist_ok=True)
        shards = PrivateShards(device.home.state, run_id=run_id, num_users=1, fresh=lambda n: trained)
        shards.put(np.array([0]), trained)
        shards.commit()
        scores = score_users(served.model, served.shared, trained, history)[0]
        found = device.recommender.recommend("me", 5)
        if counts:
            np.testing.assert_allclose([p.score for p in found], np.sort(scores[[0, *range(4, 23)]])[::-1][:5], 1e-4)
        else:
            assert found == fitted


def test_damaged_private_parameters_are_as_good_as_none(device: Device, served: Any) -> None:
    device.record("i1", "i2", "i3")
    fitted = device.picks()
    trained = PrivateState({name: value + torch.nan for name, value in served.model.private_template().items()})
    device.home.state.mkdir()
    shards = PrivateShards(device.home.state, run_id="run-1", num_users=1, fresh=lambda n: trained)
    shards.put(np.array([0]), trained)
    shards.commit()
    assert device.picks() == fitted
    (device.home.state / "private.json").write_text("no json")
    assert device.picks() == fitted


def test_a_personal_step_follows_feedback_only_where_it_is_asked_for(device: Device, served: Any) -> None:
    device.record("i1", "i2", "i3", "i4")
    plain, personal = (Recommender(device.home, device.store, personal_steps=steps) for steps in (0, 3))
    assert plain.recommend("me", 9) == personal.recommend("me", 9)
    device.record("i5")
    apart = {pick.item: pick.score for pick in plain.recommend("me", 9)}
    stepped = {pick.item: pick.score for pick in personal.recommend("me", 9)}
    assert apart != stepped
    assert max(abs(apart[item] - stepped[item]) for item in set(apart) & set(stepped)) < 1


# --- reasons ------------------------------------------------------------------------------------------------------
def test_reasons_name_the_part_of_the_model_the_own_event_and_the_shared_attribute(device: Device, served: Any) -> None:
    device.record("i1", "i2", "i3")
    found = device.recommender.recommend("me", 3, explain=True)
    assert [pick.item for pick in found] == device.picks(3)
    reasons = [reason for pick in found for reason in pick.reasons]
    by_kind = {kind: [r for r in reasons if r.kind == kind] for kind in ("model", "event", "attribute")}
    assert {reason.name for reason in by_kind["model"]} <= {"cf", "mf", "seq"}
    assert {reason.name for reason in by_kind["event"]} <= {"i1", "i2", "i3"}
    assert all(reason.text.endswith("of your 3") for reason in by_kind["attribute"])
    assert all(by_kind.values())


def test_reasons_are_there_without_any_event(device: Device, served: Any) -> None:
    found = device.recommender.recommend("me", 2, explain=True)
    assert all(reason.kind == "model" for pick in found for reason in pick.reasons)


# --- case E62: another catalogue than the model's -----------------------------------------------------------------
@pytest.mark.abuse
def test_e62_a_catalogue_in_another_order_is_laid_over_the_model_by_stable_ids(device: Device, served: Any) -> None:
    device.record("i1", "i2", "i3")
    before = [(pick.item, pick.title, pick.score) for pick in device.recommender.recommend("me", 10)]
    device.install_catalogue(permuted(served.catalogue, np.random.default_rng(0).permutation(23)))
    after = [(pick.item, pick.title, pick.score) for pick in device.recommender.recommend("me", 10)]
    assert device.recommender.serving().catalogue_version == 2
    assert after == before


@pytest.mark.abuse
def test_e62_items_that_a_catalogue_lost_are_not_shown_and_those_that_it_gained_wait_for_a_model(
    device: Device, served: Any
) -> None:
    device.record("i1", "i2", "i3")
    before = device.picks(30)
    gained = permuted(served.catalogue, np.arange(3, 23))
    gained = replace(gained, item_ids=("new", *gained.item_ids[1:]), titles=("New", *gained.titles[1:]))
    device.install_catalogue(gained)
    assert device.picks(30) == [item for item in before if item in gained.codes]
    assert "ranks 19 of 20 items" in device.recommender.serving().problem


@pytest.mark.abuse
def test_e62_a_model_of_a_wholly_other_catalogue_is_not_used(device: Device, served: Any) -> None:
    others = tuple(f"x{n}" for n in range(23))
    device.install_catalogue(replace(served.catalogue, item_ids=others))
    assert device.recommender.serving().source == "catalogue"
    assert "knows no item of the catalogue" in device.recommender.serving().problem


def permuted(catalogue: Catalogue, order: np.ndarray) -> Catalogue:
    return replace(
        catalogue,
        item_ids=tuple(catalogue.item_ids[code] for code in order),
        titles=tuple(catalogue.titles[code] for code in order),
        features=catalogue.features[order],
        described=catalogue.described[order],
    )


# --- case A10: damage and power cuts ------------------------------------------------------------------------------
PLACES = ("artefact.fetched", "artefact.written", "artefact.renamed", "artefact.switched")


@pytest.mark.fault
@pytest.mark.parametrize("place", PLACES)
def test_a10_killed_while_writing_a_model_the_old_or_the_new_one_serves(
    device: Device, served: Any, tmp_path: Path, place: str
) -> None:
    device.record("i1", "i2", "i3")
    before = device.picks()
    with installed(FaultPlan(faults=(Fault(where=place, what=What.CRASH),))), pytest.raises(InjectedCrashError):
        device.install("model", served.catalogue.digest, served.folder)
    restarted = Recommender(device.home, device.store)
    assert restarted.serving().model_version == (2 if place == "artefact.switched" else 1)
    assert [pick.item for pick in restarted.recommend("me", 5)] == before
    device.versions["model"] = 1
    device.install("model", served.catalogue.digest, served.folder)  # what was left behind does not stand in the way
    assert current(device.home.models) == 2
    assert not list(device.home.models.glob(".incoming-*"))


@pytest.mark.fault
@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "items.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a10_a_damaged_model_leaves_the_last_good_one(device: Device, served: Any, name: str, damage: str) -> None:
    device.install("model", served.catalogue.digest, served.folder)
    damaged = device.home.models / "2" / name
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        damaged.unlink()
    else:
        damaged.write_bytes(content if damage == "flipped" else content[:-1])
    restarted = Recommender(device.home, device.store)
    assert restarted.serving().model_version == 1
    assert "Model 2 is damaged" in restarted.serving().problem
    device.versions["model"] = 1
    device.install("model", served.catalogue.digest, served.folder)  # the supervisor fetches it again
    assert restarted.reload()
    assert (restarted.serving().model_version, restarted.serving().problem) == (2, "")


@pytest.mark.fault
def test_a10_with_no_other_model_on_the_disk_the_one_in_memory_goes_on(device: Device, served: Any) -> None:
    before = device.picks()
    folder = device.home.models / str(current(device.home.models))
    (folder / "model.safetensors").write_bytes(b"")
    os.utime(folder, (0, 0))
    assert device.picks() == before
    assert device.recommender.serving().model_version == 1
    restarted = Recommender(device.home, device.store)
    assert restarted.serving().source == "catalogue"
    assert "there is no other" in restarted.serving().problem


@pytest.mark.fault
def test_a10_a_damaged_catalogue_leaves_the_last_good_one(device: Device, served: Any) -> None:
    device.install_catalogue(permuted(served.catalogue, np.arange(22, -1, -1)))
    path = device.home.catalogues / "2" / "catalogue.json"
    names = json.loads(path.read_bytes())
    names["item_ids"][:2] = names["item_ids"][1::-1]  # two ids changed places: nothing would look wrong
    path.write_text(json.dumps(names))
    restarted = Recommender(device.home, device.store)
    assert restarted.serving().catalogue_version == 1
    assert "Catalogue 2 is damaged" in restarted.serving().problem


# --- choosing the best --------------------------------------------------------------------------------------------
@settings(max_examples=40)
@given(
    arrays.arrays(np.float32, st.integers(1, 40), elements=st.sampled_from([-2.0, -1.0, 0.0, 0.5, 3.0])),
    st.integers(1, 50),
    st.data(),
)
def test_the_best_items_are_those_of_a_full_sort(scores: np.ndarray, k: int, data: st.DataObject) -> None:
    excluded = np.array(data.draw(st.lists(st.integers(0, len(scores) - 1))), np.int32)
    expected = top_k(scores, k, excluded)
    scores = scores.copy()
    scores[excluded] = -np.inf
    np.testing.assert_array_equal(best_items(scores, k), expected)
