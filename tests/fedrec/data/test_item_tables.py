import json

import numpy as np
import pytest

from fedrec.data.item_tables import GENRES_100K
from fedrec.data.readers import read_items
from fedrec.errors import DataError


def write(path, *rows, encoding="utf-8"):
    path.write_bytes("".join(f"{row}\n" for row in rows).encode(encoding))
    return path


def test_atomic_columns_are_sorted_by_the_types_of_their_header(tmp_path):
    header = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\tprice:float\tv:float_seq"
    path = write(tmp_path / "x.item", header, "1\tToy Story\t1995\tComedy Children's\t2.5\t1 2", "2\tX\t\t\t\t")
    reading = read_items(path)
    assert reading.table.item_ids == ("1", "2")
    assert reading.table.titles == ("Toy Story", "X")
    assert reading.table.token == {"year": ("1995", "")}
    assert reading.table.token_seq == {"genre": (("Comedy", "Children's"), ())}
    np.testing.assert_array_equal(reading.table.number["price"], [2.5, np.nan])
    assert reading.notes == (
        "read items from x.item",
        "read movie_title as title",
        "read release_year as year",
        "read class as genre",
        "ignored column v (float_seq)",
    )


def test_movies_of_double_colon_files_give_title_year_and_genres(tmp_path):
    path = write(
        tmp_path / "movies.dat",
        "0104257::A Few Good Men (1992)::Crime|Drama",
        "0000001::Brazil (1985) (1985)::",
        "0000002::No Year::Sci-Fi",
    )
    table = read_items(path).table
    assert table.item_ids == ("0104257", "0000001", "0000002")
    assert table.titles == ("A Few Good Men", "Brazil (1985)", "No Year")
    assert table.token["year"] == ("1992", "1985", "")
    assert table.token_seq["genre"] == (("Crime", "Drama"), (), ("Sci-Fi",))


def test_u_item_gives_what_recbole_made_of_it(tmp_path):
    def flags(*genres):
        return "|".join(str(int(genre in genres)) for genre in GENRES_100K)

    old = write(
        tmp_path / "u.item",
        f"1|Toy Story (1995)|01-Jan-1995||http://x|{flags('Animation', 'Comedy')}",
        f"2|Misérables, Les (1995)|01-Jan-1995||http://y|{flags('Drama')}",
        f"267|unknown||||{flags('unknown')}",
        encoding="latin-1",
    )
    new = write(
        tmp_path / "x.item",
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
        "1\tToy Story\t1995\tAnimation Comedy",
        "2\tMisérables, Les\t1995\tDrama",
        "267\tunknown\t\tunknown",
    )
    tables = [read_items(path).table for path in (old, new)]
    assert tables[0].item_ids == tables[1].item_ids
    assert tables[0].titles == tables[1].titles
    assert tables[0].token == tables[1].token
    assert tables[0].token_seq == tables[1].token_seq


def test_kinds_of_delimited_columns_are_told_from_their_values(tmp_path):
    path = write(
        tmp_path / "items.csv",
        "movieId,title,genres,price,made,colour",
        '1,"Toys, the Film (1995)",Comedy|Drama,1.5,1995,red',
        "2,Heat (1995),Crime,,2001,",
    )
    table = read_items(path).table
    assert table.titles == ("Toys, the Film", "Heat")
    assert table.token == {"made": ("1995", "2001"), "colour": ("red", ""), "year": ("1995", "1995")}
    assert table.token_seq == {"genre": (("Comedy", "Drama"), ("Crime",))}
    np.testing.assert_array_equal(table.number["price"], [1.5, np.nan])


def test_a_column_of_years_wins_over_the_year_in_titles(tmp_path):
    path = write(tmp_path / "items.csv", "item_id,title,year", "1,Heat (1995),1996")
    table = read_items(path).table
    assert (table.titles, table.token["year"]) == (("Heat (1995)",), ("1996",))


def test_parquet_lists_are_sequences_of_tokens(tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra 'parquet' is not installed")
    columns = {"item_id": [1, 2], "title": ["A", None], "tags": [["x", "y"], []], "price": [1.5, None]}
    parquet.write_table(arrow.table(columns), tmp_path / "items.parquet")
    table = read_items(tmp_path / "items.parquet").table
    assert table.titles == ("A", "2")
    assert table.token_seq == {"tags": (("x", "y"), ())}
    np.testing.assert_array_equal(table.number["price"], [1.5, np.nan])


def test_attributes_of_s3_rec_are_tokens(tmp_path):
    (tmp_path / "T_item2attributes.json").write_text(json.dumps({"4": [1, 2], "145": []}))
    table = read_items(tmp_path / "T_item2attributes.json").table
    assert table.item_ids == ("4", "145")
    assert table.token_seq == {"attribute": (("1", "2"), ())}


@pytest.mark.parametrize("content", ["[1, 2]", "{", '{"4": 5}'])
def test_attributes_of_another_shape_are_refused(tmp_path, content):
    (tmp_path / "T_item2attributes.json").write_text(content)
    with pytest.raises(DataError, match="must be a JSON object of item id"):
        read_items(tmp_path / "T_item2attributes.json")


def test_nan_in_a_feature_is_refused_with_file_and_line(tmp_path):
    path = write(tmp_path / "items.csv", "item_id,price", "1,2.5", "2,", "3,NaN")
    with pytest.raises(DataError, match=r"items\.csv, line 4: price 'NaN' is not a finite number"):
        read_items(path)


def test_a_word_in_an_atomic_column_of_numbers_is_refused_with_file_and_line(tmp_path):
    path = write(tmp_path / "x.item", "item_id:token\tprice:float", "1\t2.5", "2\tcheap")
    with pytest.raises(DataError, match=r"x\.item, line 3: price 'cheap'"):
        read_items(path)


def test_an_item_that_stands_twice_is_refused_with_both_lines(tmp_path):
    path = write(tmp_path / "items.csv", "item_id,colour", "1,red", "2,blue", "1,green")
    with pytest.raises(DataError, match=r"items\.csv, line 4: item '1' is already in line 2"):
        read_items(path)


def test_a_blank_item_id_is_refused_with_file_and_line(tmp_path):
    path = write(tmp_path / "items.csv", "item_id,colour", ",red")
    with pytest.raises(DataError, match="line 2: item_id is blank"):
        read_items(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("items.csv", "", "is empty"),
        ("items.csv", "item_id,colour\n", "holds no items"),
        ("items.csv", "thing,colour\n1,red\n", "no column for item_id among thing, colour"),
        ("movies.dat", "1::Heat\n", "line 1 has 2 fields, expected 3"),
        ("u.item", "1|Heat (1995)|\n", "line 1 has 3 fields, expected 24"),
    ],
)
def test_other_bad_item_tables_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_items(tmp_path / name)
