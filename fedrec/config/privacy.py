"""What is promised about privacy, and at which cost."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedrec.config.section import NoneIsAName, NonNegative, Positive, Rate, Section

DELTA_POWER = 1.1
"""``delta = auto`` is one over the number of users to this power."""


class InteractionConfig(Section):
    """Opacus on the device: DP-SGD in which each interaction is in one sample, private parameters included.

    A sample is a chunk of ``chunk_length`` consecutive events of the last ``model.history_length``.
    """

    noise_multiplier: Positive = 1.0
    """Standard deviation of a step's noise over ``max_grad_norm``."""
    max_grad_norm: Positive = 1.0
    """L2 bound of one sample's gradient."""
    sample_rate: Rate = 0.2
    """Probability with which each of the public number of chunks is in a step's batch (Poisson)."""
    chunk_length: Annotated[int, Field(ge=2)] = 5
    """Events of a chunk. Longer ones teach longer sequences, but there are fewer of them."""
    epsilon: Positive = 8.0
    """Device budget of this layer; the device refuses a round that would pass it."""
    private_noise: bool = True
    """Whether private parameters move by noised gradients too. Without, the updates that depend on them would carry
    what no noise covers; so false is refused."""

    @model_validator(mode="after")
    def _private_parameters_are_noised(self) -> Self:
        if not self.private_noise:
            raise ValueError(
                "private_noise=false contradicts the unit: what is sent depends on the private parameters, so an "
                "interaction would show through them without noise; leave it out"
            )
        return self


class PrivacyConfig(Section):
    """User-level (epsilon, delta)-DP of what is released, and the optional layer on the device.

    ``placement`` says who adds the noise and so whom the claim is against, ``clipping`` how a user's share is bounded,
    ``correlation`` whether noise is independent over the rounds. They stand together in ``fedrec.privacy.mechanism``.
    """

    enabled: bool = True
    """Whether there is a user-level claim at all. Without, no noise is added and nothing is charged."""
    epsilon: Positive = 8.0
    """Budget of everything that a run releases. A round that would pass it is refused."""
    delta: Annotated[float, Field(gt=0, lt=1)] | Literal["auto"] = 1e-5
    """``auto``: one over the number of users, to the power of 1.1."""
    adjacency: Literal["add-or-remove-one", "zero-out", "replace-one"] | None = None
    """Of the data sets that epsilon tells apart. None: add or remove one, and zero-out where noise is against the
    server, for the server knows who is in the roster. ``replace-one`` costs about twice as much."""
    placement: Literal["central", "device", "distributed"] = "central"
    """``central``: the server adds noise to the sum, against whoever receives the model. ``device``: each user's device
    adds it all to the user's own contribution, against the server. ``distributed``: each device adds a share, against a
    server that sees no more than the sum over ``minimum_users``, which needs a secure sum."""
    adversary: Literal["broadcast", "server", "secure-sum"] | None = None
    """Whom the claim is against; None takes what ``placement`` supports, and anything else is refused."""
    amplification: bool | None = None
    """Whether sampling of cohorts counts. None: where the adversary cannot know them and it is proven."""
    noise: Literal["gaussian", "discrete-gaussian", "skellam"] = "gaussian"
    """Discrete noise is on integers, which floating-point attacks cannot read; ``distributed`` needs it."""
    minimum_users: Annotated[int, Field(ge=0)] = 0
    """Users whose shares of ``distributed`` noise make up the whole; a round with fewer is void. 0: half of the
    expected cohort."""
    fixed_point_bits: Annotated[int, Field(ge=8, le=31)] = 24
    """Sums of integers are taken modulo two to this power."""
    cohort_cap: Annotated[int, Field(ge=0)] = 0
    """Most users of a round; of a larger sample the rest is left out at random. 0 for no cap."""
    clip_norm: Positive = 1.0
    """L2 bound of one user's whole update, over all shared tensors together; where ``clipping = "adaptive"`` starts."""
    clipping: Literal["flat", "rows", "adaptive"] = "flat"
    """``rows``: each row of a user's item tables is clipped to ``row_clip_norm`` first, so that nobody owns an item.
    ``adaptive``: the clip norm follows the ``clip_quantile`` of the users' norms (Andrew et al., 2021)."""
    row_clip_norm: Positive = 0.1
    """L2 bound of one user's change of one item, for ``clipping = "rows"``."""
    clip_quantile: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of users whose updates an adaptive clip norm leaves whole."""
    clip_learning_rate: Positive = 0.2
    """How fast an adaptive clip norm follows, in its logarithm a round."""
    clip_count_noise: NonNegative = 0.0
    """Standard deviation of the noise on the number of users within the clip norm; 0: a twentieth of the expected
    cohort."""
    clip_norm_bounds: tuple[Positive, Positive] = (1e-4, 1e4)
    """Between which an adaptive clip norm stays."""
    correlation: Annotated[Literal["none", "tree", "banded"], NoneIsAName] = "none"
    """Noise that cancels over rounds, for deployments without amplification: users take part by rotation, every
    ``separation`` rounds, which each device enforces."""
    separation: Annotated[int, Field(ge=0)] = 0
    """Least distance in rounds between two participations of a user; 0 takes one over ``training.sample_rate``."""
    population_ledger: str = ""
    """Path of a ledger that all runs on the same people share; each release is charged there too."""
    population_epsilon: Positive | None = None
    """Most that all runs on ``population_ledger`` may spend together; needed with it."""
    noise_multiplier: NonNegative | None = None
    """Noise standard deviation over clip norm; None solves for it from epsilon, delta and rounds."""
    popularity_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of epsilon that the statistics of ``training.popularity_start`` may spend; 0 leaves them out."""
    evaluation_share: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of epsilon that the rank histogram of ``training.evaluation_share`` may spend, where there is one."""
    noise_seed: Annotated[int, Field(ge=0)] | Literal["run"] | None = None
    """None seeds noise from the operating system. A number, or ``run`` for ``run.seed``, makes noise repeatable, which
    the ledger records: for simulations."""
    interaction: InteractionConfig | None = None
    tuning: Literal["undeclared", "public", "charged", "uncharged"] = "undeclared"
    """How these settings were chosen, for the privacy report: on public data; by a search that is charged to a ledger;
    or by looking at the same users without a charge, which no epsilon of the run speaks of. ``best.toml`` says it."""

    @model_validator(mode="after")
    def _claim_and_placement_agree(self) -> Self:
        supported = _AGAINST[self.placement]
        if self.adversary not in (None, supported):
            raise ValueError(
                f"adversary={self.adversary} is not what {self.placement} noise protects against ({supported}): change "
                "placement or adversary"
            )
        if self.amplification and supported != "broadcast":
            raise ValueError(
                f"amplification=true contradicts placement={self.placement}: the server picks the cohort, so sampling "
                "hides nothing from it"
            )
        if self.amplification and self.correlation != "none":
            raise ValueError(
                f"amplification=true contradicts correlation={self.correlation}: users take part by rotation, not by a "
                "hidden sample"
            )
        if self.amplification and self.noise != "gaussian":
            raise ValueError(f"amplification=true is not proven for noise={self.noise}: leave it out")
        return self

    @model_validator(mode="after")
    def _noise_is_some_and_fits(self) -> Self:
        if self.noise_multiplier == 0:
            raise ValueError(
                "noise_multiplier=0 adds no noise, so that epsilon is infinite: leave it out to have it solved for, or "
                "set enabled=false to make no claim"
            )
        if self.placement == "distributed" and self.noise == "gaussian":
            raise ValueError(
                "placement=distributed sums integers, which Gaussian noise of floats is not: set noise=skellam or "
                "discrete-gaussian"
            )
        if self.placement == "device" and self.noise != "gaussian":
            raise ValueError("placement=device adds Gaussian noise alone: set noise=gaussian")
        if self.correlation != "none" and (self.placement, self.noise) != ("central", "gaussian"):
            raise ValueError(f"correlation={self.correlation} is of Gaussian noise that the server adds: use central")
        if self.correlation != "none" and self.clipping == "adaptive":
            raise ValueError(f"correlation={self.correlation} needs one clip norm for all rounds: clipping is adaptive")
        if self.clipping == "adaptive" and (self.placement, self.noise) != ("central", "gaussian"):
            raise ValueError(
                "clipping=adaptive counts users under Gaussian noise that the server adds alone: set placement=central "
                "and noise=gaussian"
            )
        if self.clip_norm_bounds[0] >= self.clip_norm_bounds[1]:
            raise ValueError(f"clip_norm_bounds must rise, got {list(self.clip_norm_bounds)}")
        if bool(self.population_ledger) != (self.population_epsilon is not None):
            raise ValueError("population_ledger and population_epsilon go together: a shared account needs its limit")
        return self

    @property
    def against(self) -> Literal["broadcast", "server", "secure-sum"]:
        """Whom the claim is against."""
        return _AGAINST[self.placement]

    @property
    def amplified(self) -> bool:
        """Whether sampling of cohorts lowers epsilon."""
        if self.against != "broadcast" or self.correlation != "none" or self.noise != "gaussian":
            return False
        return self.amplification is not False

    def delta_for(self, population: int) -> float:
        """Return delta over a roster of ``population`` users."""
        return population**-DELTA_POWER if self.delta == "auto" else self.delta


_AGAINST: dict[str, Literal["broadcast", "server", "secure-sum"]] = {
    "central": "broadcast",
    "device": "server",
    "distributed": "secure-sum",
}
