import pytest

from fedrec.runs.labels import epsilon_label, headline_metrics, human_bytes, metric_label


@pytest.mark.parametrize(
    ("epsilon", "label"), [(7.9801, "7.981"), (7.98, "7.980"), (8.0, "8.000"), (0.1 + 0.2, "0.300"), (0.0, "0.000")]
)
def test_a_spent_epsilon_is_never_written_smaller_than_it_is(epsilon, label):
    assert epsilon_label(epsilon, 3) == label


@pytest.mark.parametrize(
    ("count", "label"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (561_234, "561 kB"), (3.2e12, "3.2 TB")]
)
def test_bytes_have_a_decimal_unit(count, label):
    assert human_bytes(count) == label


@pytest.mark.parametrize(("ks", "k"), [((5, 10, 20), 10), ((1, 5), 5), ((20, 50), 20), ((9, 11), 9)])
def test_the_headline_is_at_ten_or_next_to_it(ks, k):
    assert headline_metrics(ks) == [f"hr@{k}", f"ndcg@{k}"]


def test_metrics_are_written_as_the_literature_writes_them():
    assert [metric_label(name) for name in ("hr@10", "ndcg@5", "recall@20", "mrr")] == [
        "HR@10",
        "NDCG@5",
        "Recall@20",
        "MRR",
    ]
