"""Which interactions, and how they are divided."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedrec.config.section import Count, Rate, Section

TextEncoderName = Literal["hashing", "minilm"]


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
    """How events are divided among training, validation and test: a user's last event and the one before it; the last
    ``last_n`` of each; all after two moments; or all events of hidden items."""
    last_n: Count = 1
    """Held-out events a user and stage, for ``last-n``."""
    test_share: Rate = 0.1
    """Share of events after each cut, for ``global-time``."""
    cold_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """Share of the items that each stage hides from training and asks for, for ``cold-items``."""
    cold_seed: Annotated[int, Field(ge=0)] = 0
    """Draws the hidden items, the same ones for every ``run.seed``."""
    synthetic_users: Count = 600
    """Users of ``source = "synthetic"``."""
    synthetic_items: Annotated[int, Field(ge=2)] = 400
    """Items of ``source = "synthetic"``."""
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
