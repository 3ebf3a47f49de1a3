"""Every reader against one set of events, and every way in which a file can be bad."""

import gzip
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedrec.data.log import InteractionLog
from fedrec.data.readers import READERS, items_beside, pick_files, read_interactions, read_items
from fedrec.errors import DataError

EVENTS = [
    ("7", "30", 4, 1_365_029_107),
    ("7", "4", 5, 1_365_029_107),
    ("12", "30", 1, 1_366_576_639),
    ("7", "100", 3, 1_364_690_142),
    ("12", "4", 2, 1_364_118_447),
]
"""User, item, rating, time; not in order of user or time, with a tie."""

Write = Callable[[Path, list[tuple[str, str, object, object]]], Path]


def lines(path: Path, rows: list[str]) -> Path:
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def write_recbole(folder: Path, events) -> Path:
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    return lines(folder / "x.inter", [header, *("\t".join(map(str, event)) for event in events)])


def write_u_data(folder: Path, events) -> Path:
    return lines(folder / "u.data", ["\t".join(map(str, event)) for event in events])


def write_double_colon(folder: Path, events) -> Path:
    return lines(folder / "ratings.dat", ["::".join(map(str, event)) for event in events])


def write_csv(folder: Path, events) -> Path:
    header = "userId,movieId,rating,timestamp"
    return lines(folder / "ratings.csv", [header, *(",".join(map(str, event)) for event in events)])


def write_parquet(folder: Path, events) -> Path:
    arrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra 'parquet' is not installed")
    columns = [list(map(str, column)) for column in zip(*events, strict=True)] or [[], [], [], []]
    names = ("user_id", "parent_asin", "rating", "timestamp")
    parquet.write_table(
        arrow.table({name: arrow.array(column, arrow.string()) for name, column in zip(names, columns, strict=True)}),
        folder / "x.parquet",
    )
    return folder / "x.parquet"


def write_sequences(folder: Path, events) -> Path:
    return lines(folder / "x.txt", [f"{user} {item}" for user, item, _, _ in events])


WRITERS: dict[str, Write] = {
    "recbole": write_recbole,
    "u.data": write_u_data,
    "double-colon": write_double_colon,
    "csv": write_csv,
    "parquet": write_parquet,
    "sequences": write_sequences,
}
TIMED = [name for name in WRITERS if name != "sequences"]


def triples(log: InteractionLog) -> list[tuple[str, str, float]]:
    return [
        (log.user_ids[user], log.item_ids[item], time)
        for user, item, time in zip(log.users, log.items, log.timestamps.tolist(), strict=True)
    ]


def test_every_reader_is_in_this_suite():
    assert set(WRITERS) == set(READERS)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("format", ["auto", "named"])
def test_every_reader_gives_the_same_events_in_the_order_of_the_file(tmp_path, name, format):
    path = WRITERS[name](tmp_path, EVENTS)
    log = read_interactions(path, name if format == "named" else "auto").log
    assert [event[:2] for event in triples(log)] == [(user, item) for user, item, _, _ in EVENTS]
    assert log.rows.tolist() == [0, 1, 2, 3, 4]
    assert (log.user_ids, log.item_ids) == (("7", "12"), ("4", "30", "100"))


@pytest.mark.parametrize("name", TIMED)
def test_every_reader_with_times_gives_the_same_times_and_ratings(tmp_path, name):
    log = read_interactions(WRITERS[name](tmp_path, EVENTS)).log
    assert log.timestamps.tolist() == [time for _, _, _, time in EVENTS]
    assert log.ratings is not None
    assert log.ratings.tolist() == [rating for _, _, rating, _ in EVENTS]


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_is_read_like_the_file_in_it(tmp_path, name):
    path = WRITERS[name](tmp_path, EVENTS)
    lines(tmp_path / "README.txt", ["about these data"])
    assert read_interactions(tmp_path).log.digest == read_interactions(path).log.digest


@pytest.mark.parametrize("name", WRITERS)
def test_every_reader_says_what_it_read(tmp_path, name):
    path = WRITERS[name](tmp_path, EVENTS)
    assert read_interactions(path).notes[0] == f"read {path.name} as {name}"


def test_all_readers_with_times_give_one_digest(tmp_path):
    digests = {read_interactions(WRITERS[name](tmp_path, EVENTS)).log.digest for name in TIMED}
    assert len(digests) == 1


@pytest.mark.parametrize("name", WRITERS)
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(DataError, match=r"missing\.x does not exist"):
        read_interactions(tmp_path / "missing.x", name)


@pytest.mark.parametrize("name", WRITERS)
def test_an_empty_file_is_named(tmp_path, name):
    path = WRITERS[name](tmp_path, EVENTS)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=f"{path.name} is empty"):
        read_interactions(path)


@pytest.mark.parametrize("name", ["recbole", "csv", "parquet"])
def test_a_file_of_nothing_but_a_header_is_named(tmp_path, name):
    path = WRITERS[name](tmp_path, [])
    with pytest.raises(DataError, match=f"{path.name} holds no events"):
        read_interactions(path)


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize("bad", ["soon", "nan", ""])
def test_a_time_that_is_none_is_named_with_its_line(tmp_path, name, bad):
    path = WRITERS[name](tmp_path, [*EVENTS, ("7", "8", 1, bad)])
    line = {"recbole": 7, "csv": 7}.get(name, 6)
    with pytest.raises(DataError, match=rf"{path.name}, (line|row) {line}: time '{bad}'"):
        read_interactions(path)


@pytest.mark.parametrize("name", TIMED)
def test_a_rating_that_is_none_is_named_with_its_line(tmp_path, name):
    path = WRITERS[name](tmp_path, [*EVENTS, ("7", "8", "good", 1_365_029_107)])
    with pytest.raises(DataError, match=rf"{path.name}, (line|row) \d: rating 'good'"):
        read_interactions(path)


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize(("user", "item", "role"), [("", "8", "user_id"), ("7", " ", "item_id")])
def test_a_blank_id_is_named_with_its_line(tmp_path, name, user, item, role):
    path = WRITERS[name](tmp_path, [*EVENTS, (user, item, 1, 1_365_029_107)])
    with pytest.raises(DataError, match=rf"{path.name}, (line|row) \d: {role} is blank"):
        read_interactions(path)


@pytest.mark.parametrize("name", ["recbole", "u.data", "double-colon", "csv"])
def test_a_row_with_a_field_too_few_is_named_with_its_line(tmp_path, name):
    path = WRITERS[name](tmp_path, EVENTS)
    with path.open("a") as file:
        file.write("7\n")
    with pytest.raises(DataError, match=r"line \d has 1 fields, expected 4"):
        read_interactions(path)


@pytest.mark.parametrize("name", ["recbole", "csv", "parquet"])
def test_a_wrong_column_is_named(tmp_path, name):
    path = WRITERS[name](tmp_path, EVENTS)
    path.write_bytes(path.read_bytes().replace(b"userId", b"person").replace(b"user_id", b"person_"))
    with pytest.raises(DataError, match="no column for user_id among person"):
        read_interactions(path)


def test_a_header_without_types_is_no_atomic_file(tmp_path):
    path = lines(tmp_path / "x.inter", ["user_id\titem_id:token", "1\t2"])
    with pytest.raises(DataError, match="line 1: column 'user_id' must be name:type"):
        read_interactions(path)


def test_aliases_are_echoed_back(tmp_path):
    notes = read_interactions(write_csv(tmp_path, EVENTS)).notes
    assert notes[1:] == ("read userId as user_id", "read movieId as item_id")


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_delimiters_are_told_from_the_header(tmp_path, delimiter):
    rows = [delimiter.join(("user", "item", "time")), delimiter.join(("a", "b", "2024-05-01T04:00:00"))]
    log = read_interactions(lines(tmp_path / "x.csv", rows)).log
    assert triples(log) == [("a", "b", datetime(2024, 5, 1, 4, tzinfo=UTC).timestamp())]


def test_a_header_without_any_delimiter_is_refused(tmp_path):
    with pytest.raises(DataError, match="line 1: no comma, tab, semicolon or bar"):
        read_interactions(lines(tmp_path / "x.csv", ["user_id item_id", "1 2"]))


def test_compressed_text_is_read(tmp_path):
    plain = write_csv(tmp_path, EVENTS)
    packed = tmp_path / "x.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_interactions(packed).log.digest == read_interactions(plain).log.digest


def test_without_a_column_of_time_the_order_of_rows_is_taken_and_said(tmp_path):
    reading = read_interactions(lines(tmp_path / "x.csv", ["user_id,item_id", "1,b", "2,a", "1,a"]))
    assert not reading.log.has_time
    assert reading.notes[-1] == "x.csv has no time: its order of rows is taken"


def test_milliseconds_become_seconds(tmp_path):
    path = write_csv(tmp_path, [(user, item, rating, time * 1000) for user, item, rating, time in EVENTS])
    assert read_interactions(path).log.timestamps.tolist() == [time for _, _, _, time in EVENTS]


def test_dates_and_numbers_in_one_column_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("fedrec.data.text_files.in_blocks.__defaults__", (1,))
    path = write_csv(tmp_path, [("1", "2", 1, 1_365_029_107), ("1", "3", 1, "2024-05-01")])
    with pytest.raises(DataError, match="line 3: times change between dates and numbers"):
        read_interactions(path)


def test_blocks_do_not_change_what_is_read(tmp_path, monkeypatch):
    path = write_csv(tmp_path, EVENTS)
    whole = read_interactions(path).log
    monkeypatch.setattr("fedrec.data.text_files.in_blocks.__defaults__", (2,))
    assert read_interactions(path).log.digest == whole.digest


def test_parquet_timestamps_are_utc(tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra 'parquet' is not installed")
    moment = datetime(2024, 5, 1, 4, 0, 0, 500_000, tzinfo=UTC)
    for kind in (arrow.timestamp("ns"), arrow.timestamp("ms", tz="Asia/Shanghai")):
        times = arrow.array([moment.timestamp() * 1e3], arrow.float64()).cast(arrow.int64())
        column = times.cast(arrow.timestamp("ms")).cast(kind)
        parquet.write_table(arrow.table({"user_id": [1], "item_id": [2], "time": column}), tmp_path / "x.parquet")
        assert triples(read_interactions(tmp_path / "x.parquet").log) == [("1", "2", moment.timestamp())]


def test_a_null_parquet_time_is_named_with_its_row(tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra 'parquet' is not installed")
    column = arrow.array([1, None], arrow.timestamp("s"))
    parquet.write_table(arrow.table({"user_id": [1, 1], "item_id": [2, 3], "time": column}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="row 2: time is blank"):
        read_interactions(tmp_path / "x.parquet")


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    with pytest.raises(DataError, match="is not a Parquet file"):
        read_interactions(lines(tmp_path / "x.parquet", ["user_id,item_id"]))


def test_without_pyarrow_parquet_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'fedrec\[parquet\]'"):
        read_interactions(lines(tmp_path / "x.parquet", ["PAR1"]))


def test_a_sequence_line_holds_a_user_and_his_items_in_order(tmp_path):
    reading = read_interactions(lines(tmp_path / "x.txt", ["a 3 1 2", "b 2", "", "c"]))
    assert [event[:2] for event in triples(reading.log)] == [("a", "3"), ("a", "1"), ("a", "2"), ("b", "2")]
    assert reading.log.timestamps.tolist() == [0, 1, 2, 3]
    assert reading.notes[-1] == "x.txt: left out lines with a user and no item: 1"


def test_sequences_that_came_divided_are_joined_in_order(tmp_path):
    for part, row in [("test", "a 9"), ("train", "a 1 2"), ("valid", "a 5")]:
        lines(tmp_path / f"{part}.txt", [row])
    reading = read_interactions(tmp_path)
    assert [item for _, item, _ in triples(reading.log)] == ["1", "2", "5", "9"]
    assert reading.log.rows.tolist() == [0, 1, 2, 3]
    assert reading.notes[0] == "read train.txt + valid.txt + test.txt as sequences"


def test_a_folder_with_two_sets_asks_for_one(tmp_path):
    lines(tmp_path / "a.txt", ["1 2"])
    lines(tmp_path / "b.txt", ["1 2"])
    with pytest.raises(DataError, match=r"holds a\.txt, b\.txt: name one of them"):
        read_interactions(tmp_path)


def test_a_folder_without_data_says_what_was_looked_for(tmp_path):
    lines(tmp_path / "README.txt", ["nothing else"])
    with pytest.raises(DataError, match=r"holds no interactions \(looked for u\.data, \*\.inter"):
        read_interactions(tmp_path)


def test_an_unknown_name_asks_for_a_format(tmp_path):
    with pytest.raises(DataError, match=r"no format is known by this name; set data\.format to one of"):
        read_interactions(lines(tmp_path / "x.log", ["1 2"]))


def test_a_misspelt_format_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(DataError, match=r"data\.format='recbol' is not known; did you mean 'recbole'\?"):
        read_interactions(write_recbole(tmp_path, EVENTS), "recbol")


def test_a_named_format_reads_a_file_of_any_name(tmp_path):
    path = write_double_colon(tmp_path, EVENTS).rename(tmp_path / "odd.name")
    assert read_interactions(path, "double-colon").log.num_events == len(EVENTS)


@pytest.mark.parametrize(
    ("events", "items"),
    [
        ("x.inter", "x.item"),
        ("u.data", "u.item"),
        ("ratings.dat", "movies.dat"),
        ("ratings.csv", "movies.csv"),
        ("interactions.csv", "items.csv"),
        ("ratings.parquet", "items.parquet"),
        ("Toys.txt", "Toys_item2attributes.json"),
    ],
)
def test_the_item_table_beside_interactions_is_found(tmp_path, events, items):
    (tmp_path / events).touch()
    assert items_beside(tmp_path / events) is None
    (tmp_path / items).touch()
    assert items_beside(tmp_path / events) == tmp_path / items
    assert items_beside(tmp_path) == tmp_path / items
    assert pick_files(tmp_path)[1] == [tmp_path / events]


def test_an_item_table_is_read_from_a_folder_or_by_its_name(tmp_path):
    lines(tmp_path / "ratings.csv", ["user_id,item_id", "1,2"])
    with pytest.raises(DataError, match="no item table beside"):
        read_items(tmp_path)
    named = lines(tmp_path / "things.csv", ["item_id,title", "2,Two"])
    assert read_items(named).table.titles == ("Two",)
    beside = lines(tmp_path / "items.csv", ["item_id,title", "2,Deux"])
    assert read_items(tmp_path).table.titles == read_items(beside).table.titles == ("Deux",)
    with pytest.raises(DataError, match="no format of item tables"):
        read_items(lines(tmp_path / "things.txt", ["2 Two"]))
    with pytest.raises(DataError, match="does not exist"):
        read_items(tmp_path / "none.csv")
