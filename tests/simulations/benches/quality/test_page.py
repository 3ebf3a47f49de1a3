"""The page says what is stored, and where nothing is stored it says that."""

import numpy as np
import pytest

from fedrec.config import parse_scenario
from fedrec.errors import ConfigError, DataError
from fedrec.evaluation.metrics import RankingResult
from fedrec.runs.folder import RunFolder
from fedrec.runs.newcomers import NEW_USERS
from fedrec.runs.summary import (
    BytesSummary,
    EnvironmentSummary,
    GroupingSummary,
    GroupSummary,
    NewUsersSummary,
    NewUserSummary,
    PrivacySummary,
    ProtocolSummary,
    Summary,
    TimingSummary,
)
from simulations.benches.origin import Origin
from simulations.benches.quality.matrix import FOLDS, SETTINGS, Cell
from simulations.benches.quality.page import quality_page
from simulations.benches.quality.published import Published
from simulations.benches.quality.row import QualityRow, keep_rows, read_rows

ORIGIN = Origin(code="abc", date="2026-11-22", machine="a machine")
USERS = np.arange(200)
TOLD = {"model": {"members": ["ease", "markov"]}, "training": {"sample_rate": 0.1, "rounds": 7}}
PRIVATE = PrivacySummary(
    epsilon=7.981,
    epsilon_rdp=8.4,
    epsilon_budget=8.0,
    delta=1e-5,
    clip_norm=1.0,
    noise_multiplier=1.0,
    sample_rate=1.0,
    population=200,
    rounds=6,
)


def hits(share, ndcg=None):
    """Users of whom the first ``share`` have a hit, by one scorer."""
    found = (np.arange(200) < 200 * share).astype(float)
    return RankingResult(users=USERS, values={"hr@10": found, "ndcg@10": found * (0.5 if ndcg is None else ndcg)})


@pytest.fixture
def kept():
    """What is kept of the runs that were stored."""
    return []


@pytest.fixture
def store(kept, tmp_path):
    """Keep a run of the matrix as if it had been made."""

    def run(data, variant, seed, results, *, fingerprint="f" * 64, **changes):
        told = [*SETTINGS[variant], f"run.seed={seed}"]
        folder = RunFolder.create(tmp_path / data / f"{variant}-{seed}", parse_scenario(TOLD, told))
        folder.write_per_user(results)
        summary = Summary(
            name=variant,
            created="2026-11-22T10:00:00+00:00",
            finished="2026-11-22T10:01:00+00:00",
            rounds=9,
            metrics={"hr@10": 0.5, "ndcg@10": 0.25},
            intervals={},
            groups=(grouping(seed),),
            fusion={"cf": 0.75, "ease": 0.25},
            privacy=None,
            bytes=BytesSummary(
                down_per_client_round=5e5, up_per_client_round=4e5, up_before_training=3e6, down_total=9e8, up_total=8e8
            ),
            timing=TimingSummary(total=100.0, training=71.0, rounds=9),
            protocol=ProtocolSummary(
                fingerprint=fingerprint,
                split="leave-last-out",
                split_fingerprint="e" * 64,
                ks=(10,),
                candidates="the whole catalogue",
                seen="masked",
                ties="exact expectation",
                source=data,
                num_users=200,
                num_items=1682,
                num_events=100_000,
                evaluated_users=200,
                bootstrap=100,
                seed=seed,
            ),
            environment=EnvironmentSummary(
                fedrec="0.1.0", python="3.11", platform="Linux", device="cpu", cpus=2, packages={"torch": "2.13.0"}
            ),
        )
        folder.write_summary(summary.model_copy(update=changes))
        cell = Cell(data=data, variant=variant, scenario=folder.scenario())
        kept.append(QualityRow.of(cell, folder, ORIGIN))

    return run


def grouping(seed):
    means = {"1 to 9": 0.4 - 0.1 * seed, "10 to 20": 0.9}
    groups = tuple(
        GroupSummary(label=label, num_users=100, means={"hr@10": mean, "ndcg@10": mean / 2}, errors={})
        for label, mean in means.items()
    )
    return GroupingSummary(name="history length", groups=groups, worst={}, gap={}, p={})


@pytest.fixture
def fused(store):
    """A fusion over two seeds, far above its members but not above EASE's floor."""
    for seed, share in ((0, 0.5), (1, 0.6)):
        parts = {f"alone {name}": hits(0.1) for name in ("cf", "mf", "seq", "markov", "equal weights")}
        floors = {"popularity": hits(0.05), "ease": hits(0.6), "markov": hits(0.2)}
        store("ml-100k", "fusion", seed, {"model": hits(share), **parts, "alone ease": hits(0.3), **floors})


def rows(page, section="# Quality"):
    """The page's rows by their first cell, from a heading on; the first of equal ones."""
    found = {}
    for line in page[page.index(section) :].splitlines():
        if line.startswith("|"):
            first, *others = (cell.strip() for cell in line.strip("|").split("|"))
            found.setdefault(first, others)
    return found


def bar(page, what):
    (found,) = [line for line in page.splitlines() if line.startswith("|") and what in line]
    return [cell.strip() for cell in found.strip("|").split("|")][2:]


def test_where_nothing_is_stored_every_cell_says_so(kept):
    page = quality_page(kept, ["ml-100k", "movietweetings", "amazon-toys"])
    assert "Nothing is kept." in page
    assert rows(page)["**fusion, federated, no DP**"] == ["not run", "not run", ""]
    assert page.count("MISSED") == page.count("| met |") == 0


def test_figures_are_means_over_users_of_means_over_seeds(kept, fused):
    page = quality_page(kept, ["ml-100k"])
    found = rows(page, "## ML-100K")
    figure, ndcg, seeds = found["**fusion, federated, no DP**"]
    assert (figure[:5], ndcg[:5], seeds) == ("0.550", "0.275", "2")
    low, high = (float(end) for end in figure[7:-1].split(", "))
    assert 0.45 < low < 0.55 < high < 0.65
    assert found["EASE, central"][0].startswith("0.600 [")
    assert found["fusion, central twin"] == ["not run", "not run", ""]
    assert found["fusion"][:4] == ["7", "10 %", "9", "500 kB"]
    assert "2 runs:\n\n- 2 of code abc, 2026-11-22, on a machine" in page
    assert "worst decile of history length (1 to 9 events): HR@10 0.350, NDCG@10 0.175" in page
    assert "- fusion, weights: cf 0.75, ease 0.25" in page


def test_the_best_member_is_one_alone_trained_apart_where_there_is_such_a_run(kept, fused, store):
    page = quality_page(kept, ["ml-100k"])
    assert "ease, federated (best member)" in page
    assert "cf, as trained in the fusion" in page

    for seed in (0, 1):
        store("ml-100k", "cf", seed, {"model": hits(0.4)})
    page = quality_page(kept, ["ml-100k"])
    assert rows(page, "## ML-100K")["cf, trained alone (best member)"][0].startswith("0.400")
    gap = rows(page, "| fusion less |")["cf, trained alone (best member)"]
    assert gap[0].startswith("+0.150 [+0.")
    assert float(gap[1]) <= 0.01
    assert bar(page, "HR@10 significantly above the best member (cf, trained alone)")[-1].startswith("met")


def test_a_bar_that_is_missed_is_marked(kept, fused, store):
    store("ml-100k", "central", 0, {"model": hits(0.57)})
    store("movietweetings", "fusion", 0, {"model": hits(0.1), "alone ease": hits(0.1)})
    page = quality_page(kept, ["ml-100k", "movietweetings"])
    assert bar(page, "ML-100K | HR@10 without DP") == ["0.5500", "2", "met, with 2 of 3 seeds"]
    assert rows(page, "## ML-100K")["fusion less its central twin, paired"][0].startswith("-0.020 [-0.0")
    assert bar(page, "HR@10 no more than 2 % below") == ["-3.5 %", "2", "**MISSED**, with 2 of 3 seeds"]
    assert bar(page, "MovieTweetings 5-core | HR@10 without DP") == ["0.1000", "1", "**MISSED**, with 1 of 3 seeds"]
    assert bar(page, "MovieTweetings 5-core | HR@10 significantly above")[-1].startswith("**MISSED**")
    assert bar(page, "ML-100K | cohorts")[0] == "10 %"


def test_privacy_cold_items_and_new_users_stand_beside_what_they_are_held_against(kept, fused, store):
    store("ml-100k", "with-dp", 0, {"model": hits(0.3), "dp-popularity": hits(0.1)}, privacy=PRIVATE)
    floors = {"content-popularity": hits(0.1), "content-profile": hits(0.3)}
    store("ml-100k", "cold-items", 0, {"model": hits(0.2), **floors}, fingerprint="c" * 64)
    for fold, variant in enumerate(FOLDS):
        own = USERS[fold::5]
        quality = NewUserSummary(metrics={}, strict={"hr@10": 0.2, "ndcg@10": 0.1})
        told = NewUsersSummary(fold=fold, folds=5, num_users=40, fingerprint="f" * 64, by_events={"3": quality})
        known = RankingResult(users=own, values={name: c[own] for name, c in hits(0.45).values.items()})
        store("ml-100k", variant, 0, {f"{NEW_USERS} 3": known}, new_users=told, fingerprint="9" * 64)
    page = quality_page(kept, ["ml-100k"])

    private = rows(page, "### With user-level DP")
    assert private["**federated, user-level DP, epsilon 7.99, delta 1e-05, 6 rounds**"][0].startswith("0.300")
    assert private["with DP less DP popularity"][0].startswith("+0.200 [+0.")
    assert private["with DP less the fusion without"][0].startswith("-0.250 [-0.")
    cold = rows(page, "### Cold items")
    assert cold["fusion less popularity by genre"][0].startswith("+0.100")
    assert cold["fusion less profile of genres"][0].startswith("-0.100")
    new = rows(page, "### New users")["3, seed 0"]
    assert new[0] == "0.450 (warm 0.500)"
    assert new[1].startswith("90 % [")
    assert new[2] == "0.200"
    assert bar(page, "a user with 3 events") == ["90 %", "1", "met, with 1 of 3 seeds"]
    assert [bar(page, f"cold items, {name}")[-1] for name in ("HR@10", "NDCG@10")] == ["met, with 1 of 3 seeds"] * 2


def test_runs_that_were_measured_by_other_rules_are_refused(kept, fused, store):
    store("ml-100k", "trio", 0, {"model": hits(0.4)}, fingerprint="0" * 64)
    with pytest.raises(ConfigError, match=r"runs of trio .* were measured by other rules than those of fusion"):
        quality_page(kept, ["ml-100k"])


def test_seeds_of_other_users_or_rules_are_refused(kept, store):
    store("ml-100k", "fusion", 0, {"model": hits(0.4)})
    fewer = RankingResult(users=USERS[:100], values={n: c[:100] for n, c in hits(0.4).values.items()})
    store("ml-100k", "fusion", 1, {"model": fewer})
    with pytest.raises(DataError, match="are of different users"):
        quality_page(kept, ["ml-100k"])
    store("movietweetings", "fusion", 0, {"model": hits(0.4)})
    store("movietweetings", "fusion", 1, {"model": hits(0.4)}, fingerprint="0" * 64)
    with pytest.raises(ConfigError, match="were measured by different rules"):
        quality_page(kept, ["movietweetings"])


def test_a_floor_that_is_too_large_for_the_catalogue_is_said_to_be_left_out(kept, store, monkeypatch):
    monkeypatch.setattr("simulations.benches.quality.tables.EASE_MAX_ITEMS", 1000)
    store("amazon-toys", "fusion", 0, {"model": hits(0.4), "alone ease": hits(0.1)})
    page = quality_page(kept, ["amazon-toys"])
    assert rows(page, "## Amazon Toys")["EASE, central"][0] == "left out: more than 1,000 items"
    assert "### Cold items" not in page
    assert bar(page, "HR@10 not significantly below the best member (ease, federated)")[-1].startswith("met")


def test_a_budget_is_held_against_its_goal_and_against_dp_popularity_by_user(kept, fused, store):
    for seed, share in ((0, 0.1), (1, 0.15)):
        store("ml-100k", "dp-4", seed, {"model": hits(share), "dp-popularity": hits(0.08)}, privacy=PRIVATE)
        store("ml-100k", "dp-8", seed, {"model": hits(0.07), "dp-popularity": hits(0.08)}, privacy=PRIVATE)
    page = quality_page(kept, ["ml-100k"])
    assert bar(page, "HR@10 at epsilon 4 at least 0.11") == ["0.1250", "2", "met, with 2 of 3 seeds"]
    assert bar(page, "HR@10 at epsilon 4 not below DP popularity")[0].startswith("+0.045 [+0.")
    assert bar(page, "HR@10 at epsilon 8 at least 0.125")[-1] == "**MISSED**, with 2 of 3 seeds"
    assert bar(page, "HR@10 at epsilon 8 not below DP popularity")[-1] == "**MISSED**, with 2 of 3 seeds"
    assert bar(page, "HR@10 at epsilon 1 not below DP popularity") == ["not run", "0", "not run"]
    spent, model, floor, distance, *_ = rows(page, "### At a budget")["4"]
    assert (spent, model[:5], floor[:5]) == ("7.981, 1.0e-05", "0.125", "0.080")
    assert distance.startswith("+0.045 [+0.")


def test_the_page_of_rows_read_back_is_the_page_of_the_runs(kept, fused, tmp_path):
    keep_rows(tmp_path / "rows.jsonl", kept)
    read = read_rows(tmp_path / "rows.jsonl")
    assert quality_page(read, ["ml-100k"]) == quality_page(kept, ["ml-100k"])


def test_a_row_takes_the_place_of_an_older_one_of_the_same_run(kept, fused, store, tmp_path):
    keep_rows(tmp_path / "rows.jsonl", kept)
    store("ml-100k", "trio", 0, {"model": hits(0.25)})
    keep_rows(tmp_path / "rows.jsonl", [kept[0], kept[-1].model_copy(update={"variant": "fusion", "seed": 1})])
    first, second = read_rows(tmp_path / "rows.jsonl")
    assert (first, second.scorers) == (kept[0], kept[-1].scorers)


def test_a_damaged_row_is_refused_with_its_line(kept, fused, tmp_path):
    path = tmp_path / "rows.jsonl"
    keep_rows(path, kept)
    path.write_text(path.read_text("utf-8") + '{"data": "ml-100k"}\n', "utf-8")
    with pytest.raises(DataError, match=r"rows.jsonl, line 3 is no row"):
        read_rows(path)


def test_published_figures_stand_beside_those_of_the_same_seeds(kept, fused):
    def published(variant, seeds, hits, why=""):
        return Published(
            data="ml-100k", variant=variant, seeds=seeds, means={"hr@10": hits, "ndcg@10": "0.25"}, why=why
        )

    figures = [published("fusion", (0,), "0.500"), published("fusion", (0, 2), "0.500")]
    figures += [published("fusion", (0,), "0.501", "luck"), published("trio", (0,), "0.500")]
    page = quality_page(kept, ["ml-100k"], figures)
    told = [line.split(" | ")[1:] for line in page[page.index("## Against what") :].splitlines() if "| ml-100k" in line]
    assert [cells[-2:] for cells in told] == [
        ["0.500 / 0.25", "equal |"],
        ["not run", " |"],
        ["0.500 / 0.25", "**differs**: luck |"],
        ["not run", " |"],
    ]
