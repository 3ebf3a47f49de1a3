import pytest

from fedrec.runs.report_people import people_sections
from fedrec.runs.summary import GroupingSummary, GroupSummary, NewUsersSummary, NewUserSummary


def group(label, users, value):
    return GroupSummary(
        label=label,
        num_users=users,
        means={"hr@10": value, "ndcg@10": value / 2},
        errors={"hr@10": 0.02, "ndcg@10": 0.01},
    )


@pytest.fixture
def grouped(summary):
    return summary.model_copy(
        update={
            "groups": (
                GroupingSummary(
                    name="age",
                    groups=(group("18-24", 50, 0.2), group("<25-34>", 60, 0.05)),
                    worst={"hr@10": "<25-34>", "ndcg@10": "18-24"},
                    gap={"hr@10": 0.15, "ndcg@10": 0.075},
                    p={"hr@10": 0.03, "ndcg@10": 0.04},
                ),
            ),
            "lists": {
                "model": {"coverage@10": 0.4, "gini@10": 0.7, "miscalibration(genre)@10": 0.9},
                "popularity": {"coverage@10": 0.1, "gini@10": 0.99, "miscalibration(genre)@10": 1.5},
            },
            "new_users": NewUsersSummary(
                fold=1,
                folds=5,
                num_users=189,
                fingerprint="f" * 64,
                by_events={
                    label: NewUserSummary(
                        metrics={"hr@10": 0.16, "ndcg@10": 0.08},
                        intervals={"hr@10": (0.1, 0.2)},
                        strict={"hr@10": 0.12, "ndcg@10": 0.06},
                    )
                    for label in ("1", "3", "all")
                },
            ),
        }
    )


def test_the_worst_group_is_named_with_its_gap_and_p(grouped):
    page = people_sections(grouped, {})

    assert "Worst by HR@10: &lt;25-34&gt;, 0.050 against 0.112 of all; best less worst 0.150, p = 0.030." in page
    assert "&lt;25-34&gt; (worst)" in page


def test_a_picture_has_its_table_beside_it(grouped):
    page = people_sections(grouped, {"groups:age": "<svg></svg>"})

    assert "<figure" in page
    assert "<details>" in page
    assert "<details>" not in people_sections(grouped, {})


def test_new_users_are_shown_by_what_is_known_of_them_and_strictly_too(grouped):
    page = people_sections(grouped, {})

    for text in ("189 users, fold 1 of 5", "the last one", "the last 3", "HR@10, strict", "0.120"):
        assert text in page


def test_lists_are_shown_beside_the_floors_own_last(grouped):
    page = people_sections(grouped, {})

    assert page.index(">popularity<") < page.index(">this run<")
    assert "miscalibration by genre, bits" in page


def test_a_summary_without_these_figures_has_no_such_sections(summary):
    assert people_sections(summary, {}) == ""


def test_groups_are_drawn_one_picture_a_grouping(grouped):
    pytest.importorskip("matplotlib")
    from fedrec.runs.group_pictures import draw_groups

    drawn = draw_groups(grouped)

    assert list(drawn) == ["groups:age"]
    assert drawn["groups:age"].startswith("<svg")
    assert "18-24" in drawn["groups:age"]
