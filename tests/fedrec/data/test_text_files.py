import gzip

import pytest

from fedrec.data.text_files import header_of, in_blocks, open_text, quoted_rows, separated_rows
from fedrec.errors import DataError


def test_latin_1_is_read_where_a_file_is_not_utf_8(tmp_path):
    (tmp_path / "old.txt").write_bytes("Les Misérables".encode("latin-1"))
    (tmp_path / "new.txt").write_bytes("Les Misérables".encode())
    for name in ("old.txt", "new.txt"):
        with open_text(tmp_path / name) as text:
            assert text.read() == "Les Misérables"


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    (tmp_path / "x.csv").write_bytes("\ufeffuser_id,item_id\n".encode())
    with open_text(tmp_path / "x.csv") as text:
        assert text.readline() == "user_id,item_id\n"


def test_gzip_is_read_by_its_suffix(tmp_path):
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    with open_text(tmp_path / "x.csv.gz") as text:
        assert text.read() == "a,b\n1,2\n"


@pytest.mark.parametrize(
    "content", [b"not gzip at all", gzip.compress(b"a,b\n" * 99, mtime=0)[:-12]], ids=["other bytes", "cut short"]
)
def test_a_damaged_gzip_file_is_refused(tmp_path, content):
    (tmp_path / "x.csv.gz").write_bytes(content)
    with pytest.raises(DataError, match="damaged gzip"), open_text(tmp_path / "x.csv.gz") as text:
        text.read()


def test_missing_empty_and_folder_are_told_apart(tmp_path):
    (tmp_path / "empty.csv").touch()
    for name, message in [("none.csv", "does not exist"), ("empty.csv", "is empty"), ("", "is a folder")]:
        with pytest.raises(DataError, match=message), open_text(tmp_path / name):
            pass


def test_blocks_cover_all_rows_in_order_and_know_their_lines(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("1\ta\n\n2\tb\r\n3\tc")
    with open_text(path) as text:
        blocks = list(in_blocks(separated_rows(text, "\t"), 2, path, size=2))
    assert [block.columns for block in blocks] == [[["1", "2"], ["a", "b"]], [["3"], ["c"]]]
    assert [block.where[row] for block in blocks for row in range(len(block.columns[0]))] == [
        f"{path}, line {line}" for line in (1, 3, 4)
    ]


def test_a_row_of_another_width_is_refused_with_its_line(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("1\ta\n2\n")
    with open_text(path) as text, pytest.raises(DataError, match="line 2 has 1 fields, expected 2"):
        list(in_blocks(separated_rows(text, "\t"), 2, path))


def test_quotes_may_hold_delimiters_and_line_ends(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('id,title\n1,"A, B\nand C"\n2,D\n')
    with open_text(path) as text:
        assert list(quoted_rows(text, ",", path)) == [(1, ["id", "title"]), (3, ["1", "A, B\nand C"]), (4, ["2", "D"])]


def test_broken_quotes_are_refused_with_their_line(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('id,title\n1,"' + "x" * 200_000)
    with open_text(path) as text, pytest.raises(DataError, match=r"x\.csv, line \d+: .*check the quotes"):
        list(quoted_rows(text, ",", path))


def test_a_column_named_twice_is_refused(tmp_path):
    with pytest.raises(DataError, match="'a' occurs twice"):
        header_of(iter([(1, ["a", "b", " a"])]), tmp_path / "x.csv")
