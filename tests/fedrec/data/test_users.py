import pytest

from fedrec.data.users import MAX_VALUES, read_users, users_beside
from fedrec.errors import DataError


def write(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


def test_a_recbole_table_gives_bands_of_age_and_leaves_out_what_names_users(tmp_path):
    rows = "".join(f"{u}\t{20 + u}\t{'MF'[u % 2]}\t{10000 + u}\n" for u in range(MAX_VALUES + 5))
    path = write(tmp_path, "x.user", "user_id:token\tage:token\tgender:token\tzip_code:token\n" + rows)

    table = read_users(path)

    assert list(table.columns) == ["age", "gender"]
    assert table.columns["age"][0] == "18-24"
    assert table.of(["3", "nobody"]) == {"age": ("18-24", ""), "gender": ("F", "")}


def test_u_user_has_no_header(tmp_path):
    table = read_users(write(tmp_path, "u.user", "1|24|M|technician|85711\n2|53|F|other|94043\n"))

    assert table.of(["2"])["occupation"] == ("other",)
    assert table.of(["2"])["age"] == ("50-55",)


def test_a_delimited_table_keeps_its_own_bands(tmp_path):
    table = read_users(write(tmp_path, "users.csv", "user_id,age,country\na,young,NO\nb,old,SE\n"))

    assert table.columns == {"age": ("young", "old"), "country": ("NO", "SE")}


@pytest.mark.parametrize(
    ("text", "message"),
    [("id,age\n1,2\n", "has no column user_id"), ("user_id,age\n1,2\n1,3\n", "names a user twice")],
)
def test_tables_that_cannot_be_joined_are_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_users(write(tmp_path, "users.csv", text))


def test_a_table_is_found_beside_its_interactions_and_nowhere_else(tmp_path):
    inter = write(tmp_path, "x.inter", "")
    assert users_beside(tmp_path) is None
    table = write(tmp_path, "x.user", "")

    assert users_beside(inter) == table
    assert users_beside(tmp_path) == table
    assert users_beside(tmp_path / "other.csv") is None


def test_movielens_says_age_gender_and_occupation(shared_data):
    table = read_users(shared_data / "ml-100k" / "ml-100k.user")

    assert list(table.columns) == ["age", "gender", "occupation"]
    assert len(table.user_ids) == 943
    assert table.columns["gender"].count("F") == 273
