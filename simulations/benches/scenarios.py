"""What benchmarks train: the default model or its mf branch alone, in rounds of everybody."""

from collections.abc import Mapping
from typing import Any, Literal

from fedrec.config import Scenario, parse_scenario

Source = Literal["synthetic", "ml-100k"]
ModelName = Literal["mf", "trio"]

BRANCHES: dict[ModelName, tuple[str, ...]] = {"mf": ("mf",), "trio": ("cf", "mf", "seq")}
SYNTHETIC_USERS = 100


def bench_scenario(
    *,
    data: Source = "synthetic",
    model: ModelName = "trio",
    users: int = 0,
    rounds: int = 2,
    dp: bool = True,
    seed: int = 0,
    more: Mapping[str, Any] | None = None,
) -> Scenario:
    """Return a scenario of defaults in which every user takes part in every round, in process, on one node.

    Noise is seeded, so that models can be compared, and its budget lasts for thousands of rounds. ``users``: how many
    synthetic ones to draw; 0 draws ``SYNTHETIC_USERS``. ``more``: settings of the tables ``model`` and ``training``.
    """
    settings = more or {}
    return parse_scenario(
        {
            "data": {"source": data, "synthetic_users": users or SYNTHETIC_USERS},
            "model": {"branches": list(BRANCHES[model]), **settings.get("model", {})},
            "training": {
                "rounds": rounds,
                "sample_rate": 1.0,
                "popularity_start": False,
                "server_schedule": "constant",
                **settings.get("training", {}),
            },
            "privacy": {"enabled": dp, "epsilon": 1000.0, "noise_multiplier": 2.0, "noise_seed": "run"},
            "run": {"seed": seed},
        }
    )
