"""What is promised about privacy, and at which cost."""

from typing import Annotated, Literal

from pydantic import Field

from fedrec.config.section import NonNegative, Positive, Rate, Section


class InteractionConfig(Section):
    """Opacus on the device: DP-SGD in which each interaction is in one sample, private parameters included.

    A sample is a chunk of ``chunk_length`` consecutive events of the last ``model.history_length``.
    """

    noise_multiplier: Positive = 1.0
    max_grad_norm: Positive = 1.0
    sample_rate: Rate = 0.2
    """Probability with which each of the public number of chunks is in a step's batch (Poisson)."""
    chunk_length: Annotated[int, Field(ge=2)] = 5
    """Events of a chunk. Longer ones teach longer sequences, but there are fewer of them."""
    epsilon: Positive = 8.0
    """Device budget of this layer; the device refuses a round that would pass it."""


class PrivacyConfig(Section):
    """User-level (epsilon, delta)-DP of everything released to consumers of the model, and the optional local layer."""

    enabled: bool = True
    epsilon: Positive = 8.0
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    clip_norm: Positive = 1.0
    """L2 bound of one user's whole update, over all shared tensors together."""
    noise_multiplier: NonNegative = 0.0
    """Noise standard deviation over clip norm; 0 solves for it from epsilon, delta and rounds."""
    popularity_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of epsilon that the statistics of ``training.popularity_start`` may spend; 0 leaves them out."""
    evaluation_share: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of epsilon that the rank histogram of ``training.evaluation_share`` may spend, where there is one."""
    noise_seed: Annotated[int, Field(ge=0)] | Literal["run"] | None = None
    """None seeds noise from the operating system. A number, or ``run`` for ``run.seed``, makes noise repeatable, which
    the ledger records: for simulations."""
    interaction: InteractionConfig | None = None
