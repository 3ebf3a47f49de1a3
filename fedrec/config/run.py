"""What belongs to a run as a whole."""

from typing import Annotated, Literal

from pydantic import Field

from fedrec.config.section import Count, Section

TrackerName = Literal["events", "tensorboard", "mlflow", "wandb"]

DEFAULT_MEMORY_MIB = 512
"""MiB that a node's training may hold where nobody says otherwise."""


class RunConfig(Section):
    """What belongs to the run as a whole."""

    name: str = "run"
    """What reports call the run."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of everything that is drawn, but for noise (``privacy.noise_seed``)."""
    device: str = "cpu"
    """PyTorch's name of what it computes on: ``cpu``, ``cuda``, ``cuda:1``."""
    threads: Annotated[int, Field(ge=0)] = 0
    """PyTorch threads; 0 leaves PyTorch's choice."""
    memory_mib: Count = DEFAULT_MEMORY_MIB
    """MiB that a node's training may hold at a time beside its model and histories; users are trained in chunks that
    fit."""
    trackers: tuple[TrackerName, ...] = ()
    """Who else follows the run: aggregates alone go to ``tracking/NAME`` in its folder (``fedrec.tracking``)."""
