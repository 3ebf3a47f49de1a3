import numpy as np
import pytest

from fedrec.config import DataConfig
from fedrec.data import load
from fedrec.data.load import load_dataset
from fedrec.errors import DataError


def write(path, *rows):
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def shop(bare_machine):
    """Write six events of three users, one of them twice, and an item table; return the folder."""
    folder = bare_machine / "shop"
    folder.mkdir()
    events = ["1,b,10", "1,a,20", "1,b,10", "2,a,30", "2,c,40", "1,c,50", "3,a,60"]
    write(folder / "interactions.csv", "user,item,time", *events)
    write(folder / "items.csv", "item,title,tags", "a,Ann,x|y", "b,Ben,x", "d,Dan,z")
    return folder


def test_the_synthetic_population_is_a_function_of_the_seed():
    config = DataConfig(synthetic_users=30, synthetic_items=25)
    first, second, other = (load_dataset(config, seed) for seed in (1, 1, 2))
    assert first.splits.final.fingerprint == second.splits.final.fingerprint != other.splits.final.fingerprint
    assert first.catalogue.digest == second.catalogue.digest
    assert (first.log.num_users, first.catalogue.num_items) == (30, 25)
    assert first.catalogue.features.shape[1] > 0


def test_a_folder_gives_log_catalogue_splits_and_notes(shop):
    data = load_dataset(DataConfig(source=str(shop)), seed=0)
    assert data.log.user_ids == ("1", "2", "3")
    assert data.catalogue.item_ids == data.log.item_ids == ("a", "b", "c")
    assert data.catalogue.titles == ("Ann", "Ben", "c")
    assert data.catalogue.feature_names == ("tags=x", "tags=y")
    assert data.splits.final.targets[0].tolist() == [2]
    assert data.source == str(shop)
    assert data.notes == (
        "read interactions.csv as csv",
        "read user as user_id",
        "read item as item_id",
        "read time as timestamp",
        "read items from items.csv",
        "read item as item_id",
        "dropped rows that repeat user, item and time of an earlier row: 1",
    )


def test_one_event_users_stay(shop):
    data = load_dataset(DataConfig(source=str(shop)), seed=0)
    assert data.splits.final.train.lengths.tolist() == [2, 1, 1]
    assert data.splits.final.targets.lengths.tolist() == [1, 1, 0]


def test_filters_are_applied_and_told(shop):
    data = load_dataset(DataConfig(source=str(shop), max_users=2, k_core=2), seed=0)
    assert data.log.user_ids == ("1", "2")
    assert data.catalogue.item_ids == ("a", "c")
    assert data.notes[-1] == "kept 2 of 3 users, 2 of 3 items and 4 of 6 events (max_users=2, k_core=2)"


def test_an_item_table_elsewhere_is_read(shop, bare_machine):
    other = write(bare_machine / "other.csv", "item_id,title", "a,Anna")
    data = load_dataset(DataConfig(source=str(shop), items=str(other)), seed=0)
    assert data.catalogue.titles == ("Anna", "b", "c")


def test_without_an_item_table_items_have_no_content(shop):
    (shop / "items.csv").unlink()
    data = load_dataset(DataConfig(source=str(shop)), seed=0)
    assert data.catalogue.features.shape == (3, 0)
    assert data.notes[-2] == "there is no item table: items have no content"


def test_a_name_is_looked_for_among_local_data_sets(shop, bare_machine, monkeypatch):
    monkeypatch.setenv("FEDREC_DATA", str(bare_machine))
    assert load_dataset(DataConfig(source="shop"), seed=0).log.num_events == 6


def test_a_known_name_is_fetched_and_its_notice_noted(shop, monkeypatch):
    def fetch(name, report):
        report(f"notice of {name}")
        return shop

    monkeypatch.setattr(load, "get_dataset", fetch)
    assert load_dataset(DataConfig(source="ml-100k"), seed=0).notes[0] == "notice of ml-100k"


@pytest.mark.usefixtures("bare_machine")
def test_a_source_that_is_nothing_is_refused_with_what_it_could_be():
    with pytest.raises(DataError, match=r"data\.source='ml-100' is no file .* use one of synthetic, ml-100k"):
        load_dataset(DataConfig(source="ml-100"), seed=0)


def test_a_missing_item_table_is_named(shop):
    with pytest.raises(DataError, match=r"nowhere\.csv does not exist"):
        load_dataset(DataConfig(source=str(shop), items="nowhere.csv"), seed=0)


def test_a_catalogue_of_one_item_is_refused(shop):
    write(shop / "interactions.csv", "user,item,time", "1,a,10", "1,a,20", "2,a,30")
    with pytest.raises(DataError, match="at least 2 items"):
        load_dataset(DataConfig(source=str(shop)), seed=0)


def test_nan_in_a_feature_is_refused_with_file_and_line(shop):
    write(shop / "items.csv", "item,price", "a,1", "b,nan")
    with pytest.raises(DataError, match=r"items\.csv, line 3: price 'nan'"):
        load_dataset(DataConfig(source=str(shop)), seed=0)


def test_duplicates_do_not_change_what_is_loaded(shop):
    with_repeat = load_dataset(DataConfig(source=str(shop)), seed=0).log
    write(shop / "interactions.csv", "user,item,time", "1,b,10", "1,a,20", "2,a,30", "2,c,40", "1,c,50", "3,a,60")
    without = load_dataset(DataConfig(source=str(shop)), seed=0).log
    np.testing.assert_array_equal(with_repeat.histories().items, without.histories().items)


def test_images_and_texts_join_the_catalogue_where_the_scenario_asks(tmp_path):
    config = DataConfig(synthetic_users=20, synthetic_items=10)
    ids = load_dataset(config, 0).catalogue.item_ids
    np.savez(tmp_path / "images.npz", item_ids=np.array(ids[:4]), images=np.zeros((4, 1, 3, 3)))
    asked = config.model_copy(update={"images": str(tmp_path / "images.npz"), "text": True})
    found = load_dataset(asked, 0)
    assert found.catalogue.images.present.sum() == 4
    assert found.catalogue.texts.values.shape == (len(ids), 256)
    assert f"4 of {len(ids)} items have image content" in found.notes
