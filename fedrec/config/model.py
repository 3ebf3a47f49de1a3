"""The model: branches, members of the fusion, and how they are made."""

import math
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from fedrec.config.section import ByName, Count, NonNegative, Positive, Section

Branch = Literal["cf", "siamese", "neumf", "autoencoder", "mf", "seq", "neighbours"]
Member = Literal["popularity", "recent-popularity", "ease", "knn", "markov", "ials", "pca", "nearby", "content"]
Mixed = Literal[Branch, Member]
StatisticName = Literal["counts", "pairs", "gram", "transitions", "recency"]


class ModelConfig(Section):
    """The fused recommender ``alpha*cf + beta*mf + gamma*seq``, and further members by name."""

    dim: Count = 64
    """Width of item vectors, user embedding and sequence state."""
    history_length: Annotated[int, Field(ge=2)] = 50
    """Most recent events that the behaviour tower and the sequence branch read."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of their coordinates that networks leave out in training, and the autoencoder of a bag's events."""
    branches: tuple[Branch, ...] = ("cf", "mf", "seq")
    """What is trained by gradients, together. May be empty where there are ``members``."""
    members: tuple[Member, ...] = ()
    """What is built from statistics that are collected before training, and mixed with the trained branches' sum by
    standard scores."""
    branch_weights: Literal["learned", "equal"] = "learned"
    """Whether the weights under which branches are trained together are learned with them. A user embedding fits the
    events that it is trained on, and draws weight to itself that new events do not justify; ``equal`` leaves weighing
    to the fusion rounds, which ask held-back events."""
    item_cap: Annotated[int, Field(ge=0)] = 0
    """Latest distinct items of a user that statistics are taken of, before training and in ``ials``; 0 takes all. What
    a user may weigh in all is bounded either way; a cap gives each of the items that are left more of it."""
    item_floor: Count = 1
    """Distinct items that a user has at least when its item counts are brought to their norm under user-level privacy:
    one of fewer weighs each as if it had so many. Without, whoever claims to have met one item alone gives it the
    square root of n times the weight that a user of n items gives each, and a few liars make it popular
    (docs/robustness.md). Users of more items are not changed."""
    head_items: Annotated[int, Field(ge=0)] = 0
    """Items with the largest released counts, to which ``ease``, ``knn``, ``pca`` and ``nearby`` are confined, so that
    under noise less of it comes with them; 0 for all. What relates an item to others is unknown of the rest."""
    statistic_shares: ByName[StatisticName] = ()
    """Share of a user's squared norm that each statistic gets under user-level privacy, in any unit; it must name all
    that the model is started from. Empty: a tenth for the counts, the rest evenly."""
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
    recency_scale: Literal["log", "linear"] = "log"
    """Whether ``recent-popularity`` scores by logs of decayed counts or by the counts. Beside scores that few items
    stand out in, logs are about flat among the items that are to be ranked."""
    recency_end: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Public moment at which the newest span ends, seconds since 1970. None is filled where a run begins: by a
    simulation with the midnight after the last training event, by a deployed server with its clock."""
    pca_dim: Count = 16
    """Leading directions of ``pca``; noise alone is never one."""
    nearby_dim: Count = 32
    """Leading directions of ``nearby``; noise alone is never one."""
    ials_dim: Count = 32
    """Width of the vectors of ``ials``; what a user sends grows with its square."""
    ials_unobserved: Positive = 20.0
    """Weight of the squared scores of all pairs of user and item together, met or not, in those of the pairs that
    occur, in ``ials`` (Rendle et al., 2021, alpha times the density's inverse)."""
    ials_regularisation: Positive = 0.006
    """Weight of the squared norms of vectors in ``ials``, scaled by how many pairs a vector is in."""
    mixing_weights: ByName[Mixed] = ()
    """Weights, by branch or member and in any unit, that the fusion starts from, and keeps where
    ``training.fusion_rounds`` is 0; what is not named has a public default."""
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
