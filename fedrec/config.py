"""Scenarios: everything that a run can be told, typed, with defaults, validated once at the rim.

A scenario is a TOML file or a table of the same shape. After ``load_scenario`` nothing in fedrec reads raw settings.
"""

import difflib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fedrec.errors import ConfigError

Rate = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]

Branch = Literal["cf", "siamese", "neumf", "autoencoder", "mf", "seq", "neighbours"]
Member = Literal["popularity", "recent-popularity", "ease", "knn", "markov", "ials"]
TextEncoderName = Literal["hashing", "minilm"]
Place = Literal["in-process", "ray"]
Loss = Literal["softmax", "sampled-softmax", "bpr", "bce", "triplet", "mse"]
CodecName = Literal["none", "fp16", "int8", "low-rank", "row-subset"]
TrackerName = Literal["events", "tensorboard", "mlflow", "wandb"]

DEFAULT_MEMORY_MIB = 512
"""MiB that a node's training may hold where nobody says otherwise."""


class Section(BaseModel):
    """One table of a scenario: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(Section):
    """Which interactions, and how they are divided."""

    source: str = "synthetic"
    """A data set known by name (``ml-100k``, ``synthetic``) or the path of a file or folder."""
    items: str | None = None
    """Path of an item table, where it does not lie beside the interactions."""
    images: str | None = None
    """Path of a ``.npz`` or ``.safetensors`` file of image-shaped content (``fedrec.data.images``)."""
    text: bool = False
    """Whether titles and the item table's ``text`` column become content."""
    text_encoder: TextEncoderName = "hashing"
    """What makes vectors of texts, once, where the catalogue is built: ``hashing`` (TF-IDF, needs nothing) or
    ``minilm`` (a sentence encoder, extra ``text``)."""
    format: str = "auto"
    """A reader's name (``fedrec data formats``), or ``auto``."""
    ordered: bool = True
    """Whether the order of a user's events means something where the source has no times."""
    k_core: Annotated[int, Field(ge=0)] = 0
    """Keep users and items with at least this many events, repeatedly; 0 keeps all."""
    split: Literal["leave-last-out", "last-n", "global-time", "cold-items"] = "leave-last-out"
    last_n: Count = 1
    """Held-out events a user and stage, for ``last-n``."""
    test_share: Rate = 0.1
    """Share of events after each cut, for ``global-time``."""
    cold_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """Share of the items that each stage hides from training and asks for, for ``cold-items``."""
    cold_seed: Annotated[int, Field(ge=0)] = 0
    """Draws the hidden items, the same ones for every ``run.seed``."""
    synthetic_users: Count = 600
    synthetic_items: Annotated[int, Field(ge=2)] = 400
    max_users: Annotated[int, Field(ge=0)] = 0
    """Keep only the first this many users; 0 keeps all."""
    user_folds: Annotated[int, Field(ge=0)] = 0
    """Divide users into this many folds, hide one from training and ask its users as new ones; 0 hides nobody."""
    user_fold: Annotated[int, Field(ge=0)] = 0
    """Which of ``user_folds`` is hidden, from 0."""

    @model_validator(mode="after")
    def _the_fold_exists(self) -> Self:
        if self.user_folds == 1 or self.user_fold >= max(self.user_folds, 1):
            raise ValueError(
                f"user_folds={self.user_folds} and user_fold={self.user_fold}: take two folds or more, and a fold "
                "below their number"
            )
        return self


class ModelConfig(Section):
    """The fused recommender ``alpha*cf + beta*mf + gamma*seq``, and further members by name."""

    dim: Count = 64
    """Width of item vectors, user embedding and sequence state."""
    history_length: Annotated[int, Field(ge=2)] = 50
    """Most recent events that the behaviour tower and the sequence branch read."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    branches: tuple[Branch, ...] = ("cf", "mf", "seq")
    """What is trained by gradients, together. May be empty where there are ``members``."""
    members: tuple[Member, ...] = ()
    """What is built from statistics that are collected before training, and mixed with the trained branches' sum by
    standard scores."""
    branch_weights: Literal["learned", "equal"] = "learned"
    """Whether the weights under which branches are trained together are learned with them. A user embedding fits the
    events that it is trained on, and draws weight to itself that new events do not justify; ``equal`` leaves weighing
    to the fusion rounds, which ask held-back events."""
    ease_regularisation: Positive = 2.0
    """Of ``ease``, in units of the Gram matrix' mean diagonal (Steck, 2019, lambda)."""
    knn_neighbours: Count = 100
    """Items that each item lends its weight to in ``knn``."""
    markov_smoothing: Positive = 10.0
    """Events of the popularity that ``markov`` mixes with each item's transitions."""
    recency_buckets: Count = 12
    """Spans of time by which ``recent-popularity`` counts; what is older than all of them counts in the oldest."""
    recency_days: Positive = 30.0
    """Length of a span in days."""
    recency_half_life: Positive = 15.0
    """Days after which a count weighs half as much in ``recent-popularity``."""
    recency_end: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Public moment at which the newest span ends, seconds since 1970. None is filled where a run begins: by a
    simulation with the midnight after the last training event, by a deployed server with its clock."""
    ials_dim: Count = 32
    """Width of the vectors of ``ials``; what a user sends grows with its square."""
    ials_unobserved: Positive = 20.0
    """Weight of the squared scores of all pairs of user and item together, met or not, in those of the pairs that
    occur, in ``ials`` (Rendle et al., 2021, alpha times the density's inverse)."""
    ials_regularisation: Positive = 0.006
    """Weight of the squared norms of vectors in ``ials``, scaled by how many pairs a vector is in."""
    length_buckets: tuple[Count, ...] = ()
    """Rising history lengths at which another row of fusion weights begins; empty for the same weights for all."""
    gate: bool = False
    """Whether a learned tilt by the length of the user's history is put on the fusion weights."""
    item_embeddings: bool = True
    """Whether items have free embeddings beside their content vectors. Without, a tight privacy budget is spread over
    far fewer coordinates."""
    id_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability with which an item's id embedding is hidden from everybody for a round of training, so that its
    content learns to stand alone (DropoutNet, Volkovs et al., 2017). The coin is public: run seed, round and item."""
    kl_weight: NonNegative = 0.005
    """Weight of the autoencoder's divergence from its prior in the loss, an event (Liang et al., 2018, section 2.2.2:
    beta, there 0.2 for a whole bag of events)."""
    sequence_encoder: Literal["gru", "lstm", "sasrec", "cnn"] = "gru"
    """Recurrent (``gru``, ``lstm``), causal self-attention (``sasrec``), or a causal convolution over the latest nine
    events (``cnn``)."""
    sequence_scope: Literal["shared", "private", "hybrid"] = "shared"
    """Whether the sequence encoder's weights are shared by all users or each user's own. ``hybrid``: shared, with a
    gain and a shift of the encoder's output that are each user's own and start as the identity."""
    sequence_blocks: Count = 2
    """Attention blocks of ``sasrec``."""
    sequence_heads: Count = 2
    """Attention heads of ``sasrec``; must divide ``dim``."""
    rating_head: bool = False
    """Whether the model predicts ratings beside ranking, from the same queries and tables (multi-task)."""
    rating_scale: tuple[float, float] = (1.0, 5.0)
    """Lowest and highest rating, of which ``rating_head`` predicts in units of half the distance."""

    @model_validator(mode="after")
    def _branches_are_a_set(self) -> Self:
        for key, named, known in (("branches", self.branches, Branch), ("members", self.members, Member)):
            if len(set(named)) != len(named):
                raise ValueError(f"{key} must name each of {', '.join(get_args(known))} at most once")
        if not self.branches and not self.members:
            raise ValueError(f"branches and members are both empty: name at least one of {', '.join(get_args(Branch))}")
        return self

    @model_validator(mode="after")
    def _buckets_rise(self) -> Self:
        if list(self.length_buckets) != sorted(set(self.length_buckets)):
            raise ValueError(f"length_buckets must rise, got {list(self.length_buckets)}")
        return self

    @model_validator(mode="after")
    def _ratings_have_a_scale_and_a_trunk(self) -> Self:
        low, high = self.rating_scale
        if not -math.inf < low < high < math.inf:
            raise ValueError(f"rating_scale must be two rising numbers, got {list(self.rating_scale)}")
        if self.rating_head and not self.branches:
            raise ValueError("rating_head reads what trained branches ask: name at least one in branches")
        return self

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.sequence_encoder == "sasrec" and "seq" in self.branches and self.dim % self.sequence_heads:
            raise ValueError(
                f"sequence_heads={self.sequence_heads} does not divide dim={self.dim}: set it to a divisor, or "
                "dim to a multiple"
            )
        return self


class LocalConfig(Section):
    """What a node does with its users in one round."""

    loss: Loss = "softmax"
    """``softmax``: cross-entropy over the whole catalogue. ``sampled-softmax``, ``bpr``, ``bce``, ``triplet``: against
    ``num_negatives`` drawn items that the user has not met. ``mse``: squared error of the ratings, predicted
    by the rating head alone where the model has one, else by the fused score. All but ``softmax``
    train, clip and sum only the items that a user touches."""
    task_weights: Literal["fixed", "uncertainty"] = "fixed"
    """Of ranking and rating in the loss of a model with a rating head: 1 and ``rating_weight``, or learned as inverse
    variances (Kendall et al., 2018)."""
    rating_weight: NonNegative = 1.0
    """Of the squared rating error beside the ranking loss, for ``fixed``."""
    margin: Positive = 1.0
    """By how much ``triplet`` wants the target's score above each negative's (Schroff et al., 2015)."""
    num_negatives: Count = 64
    """Items that a user draws for each step of a sampled loss, shared by its positions."""
    steps: Count = 1
    """Local gradient steps, each on one window drawn from the history. A user takes at most one for each pair of
    successive events that it has."""
    epochs: Annotated[int, Field(ge=0)] = 0
    """Passes over the whole history in windows that do not overlap, latest window last, instead of ``steps`` drawn
    ones; 0 draws."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """Of the user's own copy of the shared parameters; its state does not outlive the round."""
    learning_rate: Positive = 1.0
    proximal: NonNegative = 0.0
    """Weight of the proximal term ``proximal/2 * |w - w_round|^2`` on the own copy (FedProx, Li et al., 2020)."""
    private_optimizer: Literal["adagrad", "sgd", "adam"] = "adagrad"
    private_learning_rate: Positive = 0.1
    """Step size of ``private_optimizer`` on the user's private parameters."""
    private_start: Literal["kept", "rebuilt", "ridge"] = "kept"
    """``kept``: private parameters stay on the device between rounds and move in each local step. ``rebuilt``: fitted
    anew from the history each round by ``private_steps`` gradient steps, the shared parameters held still, and then
    held still themselves (Federated Reconstruction, Singhal et al., 2021). ``ridge``: the same for the mf branch's
    user embedding in closed form."""
    private_steps: Count = 10
    """Gradient steps of a rebuilt private part."""
    ridge: Positive = 1.0
    """Weight of the user embedding's squared norm in the closed form."""
    ridge_unobserved: NonNegative = 0.1
    """Weight of each item's squared score in the closed form, whether met or not (Hu et al., 2008, alpha's inverse)."""
    held_back: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of users who keep their latest event for the fusion's weights; filled from
    ``training.calibration_share``."""
    asked: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of further users who keep theirs for the evaluation; filled from ``training.evaluation_share``."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seeds training windows, negatives and dropout (never noise); filled from ``run.seed``."""

    @model_validator(mode="after")
    def _steps_or_epochs(self) -> Self:
        if self.epochs and self.steps > 1:
            raise ValueError(f"steps={self.steps} and epochs={self.epochs} both say how long to train: leave one out")
        return self

    @property
    def fixed_rating_weight(self) -> float | None:
        """The rating loss's weight; None where it is learned."""
        return self.rating_weight if self.task_weights == "fixed" else None

    @property
    def is_plain(self) -> bool:
        """Whether it asks for drawn steps of SGD on the full softmax alone, as the interaction-level layer takes."""
        settings = (self.loss, self.epochs, self.optimizer, self.proximal, self.private_start)
        return settings == ("softmax", 0, "sgd", 0.0, "kept")


class TrainingConfig(Section):
    """The federation's rounds and the server's optimiser."""

    rounds: Annotated[int, Field(ge=0)] = 40
    sample_rate: Rate = 0.25
    """Probability with which each user of the roster takes part in a round (Poisson sampling)."""
    server_optimizer: Literal["sgd", "adam"] = "adam"
    server_learning_rate: Positive = 0.01
    server_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of SGD, beta1 of Adam."""
    server_schedule: Literal["constant", "cosine"] = "cosine"
    schedule_rounds: Annotated[int, Field(ge=0)] = 0
    """Rounds over which the schedule falls; 0 means ``rounds``."""
    popularity_start: bool = True
    """Whether statistics are collected once before training: item counts, from which the item bias starts, and what a
    ``neighbours`` branch and ``model.members`` are made of."""
    ials_rounds: Annotated[int, Field(ge=0)] = 50
    """Rounds after training in which the ``ials`` member's users and items are solved in turn. Without it there are
    none."""
    fusion_rounds: Annotated[int, Field(ge=0)] = 20
    """Rounds after training in which the weights of ``model.members`` and of the trained branches' sum are learned; 0
    leaves them at their public defaults. Without members there are none."""
    calibration_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of users who keep their latest event out of statistics and training, so that the weights of the fusion are
    learned from events that its members have not seen. Who they are is a public coin of run seed and user. Nobody does
    where no weights are learned."""
    fusion_learning_rate: Positive = 0.05
    """Of the server's first projected step on these weights; falls to a tenth over the fusion rounds."""
    evaluation_share: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of users who keep their latest event out of everything, so that the model is measured on it in one last
    round: a histogram of ranks, summed, and under user-level privacy noised and charged. 0 measures nothing."""
    local: LocalConfig = LocalConfig()

    @property
    def released_rounds(self) -> int:
        """Rounds of updates, of item solves and of fusion weights: all that have the training mechanism."""
        return self.rounds + self.ials_rounds + self.fusion_rounds

    @property
    def all_rounds(self) -> int:
        """All rounds after the statistics', that of the evaluation included."""
        return self.released_rounds + (self.evaluation_share > 0)


class SelectionConfig(Section):
    """Choosing the number of rounds on the validation event before the final training."""

    enabled: bool = False
    every: Count = 5
    """Rounds between two looks at the validation event."""
    patience: Count = 3
    """Looks without improvement of ``metric`` after which the search stops."""
    metric: Literal["ndcg@10", "hr@10"] = "ndcg@10"


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


class CodecConfig(Section):
    """How updates are encoded for the way up (``fedrec.codecs``)."""

    name: CodecName = "none"
    """``none`` sends float32."""
    rank: Count = 16
    """Columns that ``low-rank`` keeps of each matrix's."""
    row_share: Rate = 0.25
    """Share of each matrix's rows that ``row-subset`` sends."""

    @field_validator("name", mode="before")
    @classmethod
    def _none_is_a_name(cls, value: object) -> object:
        """Take what ``--set federation.codec.name=none`` gives, where none elsewhere means no value."""
        return "none" if value is None else value


class FederationConfig(Section):
    """Nodes and rounds on the wire."""

    place: Place = "in-process"
    nodes: Count = 1
    """Simulated nodes among which the users are divided; at most one a user."""
    minimum_replies: Rate = 0.5
    """Share of the asked nodes that must reply usably, else the round is void."""
    round_timeout: Positive = 600.0
    """Seconds to wait for a round's replies."""
    checkpoint_every: Count = 10
    codec: CodecConfig = CodecConfig()
    ray_address: str = ""
    """Address of a running Ray cluster, for ``place = ray``; empty starts one on this machine. The run folder must be
    on a disk that all its machines see."""


class EvaluationConfig(Section):
    """How quality is measured."""

    ks: tuple[Count, ...] = (5, 10, 20)
    every: Annotated[int, Field(ge=0)] = 5
    """Rounds between points of the learning curve; 0 measures only the end."""
    bootstrap: Annotated[int, Field(ge=100)] = 1000
    """Resamples of users for confidence intervals."""
    sampled_negatives: Annotated[int, Field(ge=0)] = 0
    """Also report the paper protocol with this many fixed negatives (99 in the literature); 0 does not."""
    floors: bool = True
    """Whether popularity, EASE and first-order Markov are measured beside the model."""
    new_user_events: tuple[Count, ...] = (1, 3, 5)
    """How many of their last events are known of the users that ``data.user_folds`` hides, one figure each."""


class RunConfig(Section):
    """What belongs to the run as a whole."""

    name: str = "run"
    seed: Annotated[int, Field(ge=0)] = 0
    device: str = "cpu"
    threads: Annotated[int, Field(ge=0)] = 0
    """PyTorch threads; 0 leaves PyTorch's choice."""
    memory_mib: Count = DEFAULT_MEMORY_MIB
    """MiB that a node's training may hold at a time beside its model and histories; users are trained in chunks that
    fit."""
    trackers: tuple[TrackerName, ...] = ()
    """Who else follows the run: aggregates alone go to ``tracking/NAME`` in its folder (``fedrec.tracking``)."""


class Scenario(Section):
    """Everything a run can be told."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    selection: SelectionConfig = SelectionConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    federation: FederationConfig = FederationConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.selection.enabled and self.privacy.enabled:
            raise ValueError(
                "selection.enabled looks at held-out events without noise, which privacy.enabled forbids: "
                "choose training.rounds in a run with privacy.enabled=false, or on public data"
            )
        if self.privacy.interaction and self.training.popularity_start:
            raise ValueError(
                "privacy.interaction does not cover the item counts that training.popularity_start collects: "
                "set training.popularity_start=false"
            )
        if self.privacy.interaction and not self.training.local.is_plain:
            raise ValueError(
                "privacy.interaction trains by DP-SGD of its own: set training.local to loss=softmax, epochs=0, "
                "optimizer=sgd, proximal=0 and private_start=kept"
            )
        unproven = sorted(set(self.model.branches) & {"siamese", "neumf", "autoencoder"})
        if self.privacy.interaction and unproven:
            raise ValueError(
                f"privacy.interaction takes gradients a sample, which are not proven for {', '.join(unproven)}: leave "
                "them out of model.branches"
            )
        collected = self.training.popularity_start and (self.privacy.popularity_share > 0 or not self.privacy.enabled)
        if self.model.members and not collected:
            raise ValueError(
                f"model.members has {self.model.members[0]}, which comes from statistics before training: set "
                "training.popularity_start=true and privacy.popularity_share above 0"
            )
        if not self.model.branches and self.training.rounds:
            raise ValueError(
                f"model.branches is empty, so that training.rounds={self.training.rounds} have nothing to train: set "
                "training.rounds=0"
            )
        if "neighbours" in self.model.branches and not collected:
            raise ValueError(
                "model.branches has neighbours, which come from statistics before training: set "
                "training.popularity_start=true and privacy.popularity_share above 0"
            )
        if self.training.local.private_start == "ridge" and "mf" not in self.model.branches:
            raise ValueError(
                "training.local.private_start=ridge solves for the user embedding of mf, which model.branches lacks"
            )
        if self.training.local.loss == "mse" and self.training.popularity_start and not self.model.rating_head:
            raise ValueError(
                "training.local.loss=mse predicts ratings, and training.popularity_start would start the item bias "
                "from counts: set training.popularity_start=false"
            )
        if self.privacy.interaction and self.model.rating_head:
            raise ValueError("privacy.interaction trains on no ratings: set model.rating_head=false")
        if self.training.local.task_weights == "uncertainty" and (
            not self.model.rating_head or self.training.local.loss == "mse"
        ):
            raise ValueError(
                "training.local.task_weights=uncertainty weighs two tasks: set model.rating_head=true and a "
                "training.local.loss other than mse"
            )
        if self.evaluation.sampled_negatives and self.data.split == "cold-items":
            raise ValueError(
                "data.split=cold-items ranks the hidden items among themselves, which evaluation.sampled_negatives "
                "would mix with others: set it to 0"
            )
        if self.privacy.interaction and self.model.id_dropout:
            raise ValueError("privacy.interaction hides no id embeddings: set model.id_dropout=0")
        if self.evaluation.every and not set(self.evaluation.ks) >= {10}:
            raise ValueError(f"evaluation.ks must include 10, which learning curves show, got {self.evaluation.ks}")
        return self

    @property
    def mixes(self) -> bool:
        """Whether weights are learned in rounds of their own, after training."""
        return len(self.model.members) + bool(self.model.branches) > 1 and self.training.fusion_rounds > 0

    @property
    def played(self) -> TrainingConfig:
        """The training as it is played: with the run's seed, without rounds of what the model has not."""
        training = self.training
        held_back, rounds = (training.calibration_share, training.fusion_rounds) if self.mixes else (0.0, 0)
        own = {"seed": self.run.seed, "held_back": held_back, "asked": training.evaluation_share}
        sweeps = training.ials_rounds if "ials" in self.model.members else 0
        return training.model_copy(
            update={
                "local": training.local.model_copy(update=own),
                "ials_rounds": sweeps,
                "fusion_rounds": rounds,
            }
        )

    @property
    def noise_seed(self) -> int | None:
        """The seed of the noise, None for the operating system's."""
        return self.run.seed if self.privacy.noise_seed == "run" else self.privacy.noise_seed


WITH_PRIVACY = "with_privacy"
"""A scenario file's table of settings that hold only where ``privacy.enabled``: a budget wants a smaller model."""


def load_scenario(path: Path, overrides: Iterable[str] = ()) -> Scenario:
    """Read a TOML scenario and apply ``a.b=c`` overrides in order; raise ``ConfigError`` naming file and key."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"scenario file {path} does not exist") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    return parse_scenario(table, overrides, source=str(path))


def parse_scenario(table: Mapping[str, Any], overrides: Iterable[str] = (), source: str = "scenario") -> Scenario:
    """Validate a table with ``a.b=c`` overrides; raise ``ConfigError`` naming ``source``, the key and a remedy."""
    settings = list(overrides)
    filled = _merged(table, settings)
    conditional = filled.pop(WITH_PRIVACY, {})
    if conditional and filled.get("privacy", {}).get("enabled", True):
        filled = _merged(_laid_over(filled, conditional), settings)  # again: what was set by hand wins
    try:
        return Scenario.model_validate(filled)
    except ValidationError as error:
        raise ConfigError(_explain(error, source)) from error


def _merged(table: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    filled: dict[str, Any] = json.loads(json.dumps(table, default=str))
    for override in overrides:
        _set(filled, override)
    return filled


def _laid_over(table: dict[str, Any], upper: Any) -> dict[str, Any]:
    """Return ``table`` with ``upper``'s values in place of its own, section by section."""
    if not isinstance(upper, dict):
        raise ConfigError(f"{WITH_PRIVACY} must be a table of sections, got {upper!r}")
    result = dict(table)
    for key, value in upper.items():
        below = result.get(key)
        result[key] = _laid_over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def _set(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override!r} is not of the form section.key=value")
    *sections, last = key.strip().split(".")
    for section in sections:
        inner = table.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override!r}: {section!r} is a value, not a section")
        table = inner
    table[last] = _value(text)


def _value(text: str) -> Any:
    """Read the right side as TOML where it is TOML, else as the bare string that a shell user meant."""
    if text.strip().lower() in {"none", "null"}:
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(error: ValidationError, source: str) -> str:
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        return f"{source}: unknown key {key!r}; did you mean {_nearest(location)!r}?"
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{source}: {key}: {message} (got {first['input']!r})" if key else f"{source}: {message}"


def known_keys() -> list[str]:
    """Return every dotted key that a scenario may hold."""
    return _keys_of(Scenario, "")


def _keys_of(section: type[BaseModel], prefix: str) -> list[str]:
    keys = []
    for name, field in section.model_fields.items():
        inner = _section_of(field.annotation)
        keys += _keys_of(inner, f"{prefix}{name}.") if inner else [f"{prefix}{name}"]
    return keys


def _section_of(annotation: Any) -> type[BaseModel] | None:
    options = getattr(annotation, "__args__", None) or (annotation,)
    return next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)


def _nearest(location: list[str]) -> str:
    keys = known_keys()
    asked = ".".join(location)
    same_leaf = [key for key in keys if key.rsplit(".", 1)[-1] == location[-1]]
    close = difflib.get_close_matches(asked, keys, n=1, cutoff=0.5)
    return (same_leaf or close or difflib.get_close_matches(location[0], keys, n=1, cutoff=0) or keys)[0]
