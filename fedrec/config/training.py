"""Rounds, the server's optimiser, and what a node does with its users in one of them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedrec.config.section import Count, NonNegative, Positive, Rate, Section

Loss = Literal["softmax", "sampled-softmax", "bpr", "bce", "triplet", "mse"]


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
    """Step size of ``optimizer``."""
    proximal: NonNegative = 0.0
    """Weight of the proximal term ``proximal/2 * |w - w_round|^2`` on the own copy (FedProx, Li et al., 2020)."""
    private_optimizer: Literal["adagrad", "sgd", "adam"] = "adagrad"
    """Of the user's private parameters; its state stays with them on the device."""
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
    """Rounds of training; each releases one update of the shared parameters."""
    sample_rate: Rate = 0.25
    """Probability with which each user of the roster takes part in a round (Poisson sampling)."""
    server_optimizer: Literal["sgd", "adam"] = "adam"
    """What steps along a round's mean update (Reddi et al., 2021)."""
    server_learning_rate: Positive = 0.01
    """Step size of ``server_optimizer`` in the first round."""
    server_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of SGD, beta1 of Adam."""
    server_schedule: Literal["constant", "cosine"] = "cosine"
    """How that step size goes on: as it is, or falling along half a cosine."""
    schedule_rounds: Annotated[int, Field(ge=0)] = 0
    """Rounds over which the schedule falls; 0 means ``rounds``."""
    tail_average: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of ``rounds``, the last ones, over which the shared parameters are averaged; the average takes their place
    after these rounds, and is what is measured during them. 0 keeps those of the last round."""
    head_only: bool = False
    """Whether of the item tables only the rows of ``model.head_items`` are trained; the others stay as they began."""
    pretrained_items: bool = False
    """Whether the item tower's networks begin fitted to the similarities of the catalogue's public features."""
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
