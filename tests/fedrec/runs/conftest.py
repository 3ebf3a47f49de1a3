import numpy as np
import pytest

from fedrec.config import Scenario
from fedrec.evaluation.metrics import RankingResult
from fedrec.runs.folder import RunFolder
from fedrec.runs.summary import (
    BytesSummary,
    EnvironmentSummary,
    PrivacySummary,
    ProtocolSummary,
    ReferenceSummary,
    Summary,
    TimingSummary,
)

PRIVACY = PrivacySummary(
    epsilon=7.98,
    epsilon_rdp=8.41,
    epsilon_budget=8.0,
    delta=1e-5,
    clip_norm=1.0,
    noise_multiplier=1.12,
    sample_rate=0.25,
    population=943,
    rounds=40,
    popularity_noise_multiplier=4.3,
)

PROTOCOL = ProtocolSummary(
    fingerprint="f" * 64,
    split="leave-last-out",
    split_fingerprint="e" * 64,
    ks=(10,),
    candidates="the whole catalogue",
    seen="masked",
    ties="exact expectation",
    source="ml-100k",
    num_users=943,
    num_items=1682,
    num_events=100_000,
    evaluated_users=943,
    bootstrap=1000,
    seed=0,
)


@pytest.fixture(scope="session")
def summary():
    """A private run of forty rounds with everything in it."""
    floors = {
        "popularity": {"hr@10": 0.086, "ndcg@10": 0.044},
        "dp-popularity": {"hr@10": 0.084, "ndcg@10": 0.043},
        "ease": {"hr@10": 0.148, "ndcg@10": 0.072},
        "markov": {"hr@10": 0.145, "ndcg@10": 0.079},
    }
    return Summary(
        name="a run",
        created="2026-11-21T10:00:00+00:00",
        finished="2026-11-21T10:01:40+00:00",
        rounds=40,
        metrics={"hr@10": 0.112, "ndcg@10": 0.058, "mrr": 0.05},
        intervals={"hr@10": (0.093, 0.133), "ndcg@10": (0.047, 0.069), "mrr": (0.04, 0.06)},
        floors=floors,
        floor_intervals={
            name: {metric: (value - 0.01, value + 0.01) for metric, value in means.items()}
            for name, means in floors.items()
        },
        non_private=ReferenceSummary(
            name="without privacy",
            metrics={"hr@10": 0.158, "ndcg@10": 0.081},
            intervals={"hr@10": (0.135, 0.181), "ndcg@10": (0.07, 0.093)},
        ),
        fusion={"cf": 0.3, "mf": 0.2, "seq": 0.5},
        privacy=PRIVACY,
        bytes=BytesSummary(
            down_per_client_round=560_000, up_per_client_round=560_000, down_total=5_200_000_000, up_total=5_200_000_000
        ),
        timing=TimingSummary(total=100.0, training=71.0, evaluation=9.0, floors=8.0, rounds=40),
        protocol=PROTOCOL,
        environment=EnvironmentSummary(
            fedrec="0.1.0", python="3.11.9", platform="Linux", device="cpu", cpus=2, packages={"torch": "2.13.0"}
        ),
        notes=("44 % of users tie at their last event.",),
    )


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "run", Scenario())


@pytest.fixture
def result():
    return RankingResult(
        users=np.array([0, 2, 5]), values={"hr@10": np.array([1.0, 0.0, 0.5]), "mrr": np.array([0.2, 0.1, 0.3])}
    )
