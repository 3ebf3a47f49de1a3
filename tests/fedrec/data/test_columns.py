import pytest

from fedrec.data.columns import EVENT_ROLES, ITEM_ROLES, ignored_note, match_columns
from fedrec.errors import DataError


@pytest.mark.parametrize(
    ("header", "user", "item", "time"),
    [
        (["userId", "movieId", "rating", "timestamp"], 0, 1, 3),  # MovieLens
        (["userID", "itemID", "rating", "timestamp"], 0, 1, 3),  # recommenders
        (["user_id", "item_id", "weight", "datetime"], 0, 1, 3),  # RecTools
        (["query_id", "item_id", "rating", "timestamp"], 0, 1, 3),  # RePlay
        (["rating", "asin", "parent_asin", "user_id", "timestamp"], 3, 2, 4),  # Amazon Reviews 2023
        (["reviewerID", "asin", "overall", "unixReviewTime"], 0, 1, 3),  # Amazon Reviews 2014
        (["Time", "USER", "Item"], 1, 2, 0),
    ],
)
def test_the_names_of_known_sources_are_understood(header, user, item, time):
    positions = match_columns(header, EVENT_ROLES, ("user_id", "item_id"), "x.csv").positions
    assert (positions["user_id"], positions["item_id"], positions["timestamp"]) == (user, item, time)


def test_what_was_read_under_another_name_is_echoed_back():
    match = match_columns(["userId", "item_id", "note"], EVENT_ROLES, ("user_id", "item_id"), "x.csv")
    assert match.notes == ("read userId as user_id",)


def test_columns_that_nobody_claims_are_named():
    header = ["user_id", "item_id", "mood", "tag"]
    match = match_columns(header, EVENT_ROLES, ("user_id",), "x.csv")
    assert ignored_note(header, match) == ("ignored columns mood, tag",)
    assert ignored_note(header[:2], match) == ()


def test_a_wrong_column_is_refused_with_file_names_and_remedy():
    with pytest.raises(DataError, match=r"x\.csv: no column for user_id among who, item_id; rename") as caught:
        match_columns(["who", "item_id"], EVENT_ROLES, ("user_id", "item_id"), "x.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("roles", [EVENT_ROLES, ITEM_ROLES], ids=["events", "items"])
def test_no_name_stands_for_two_roles(roles):
    names = [name.replace("_", "") for known in roles.values() for name in known]
    assert len(names) == len(set(names))
