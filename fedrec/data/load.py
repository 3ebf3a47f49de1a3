"""From a scenario's ``[data]`` table to everything a run needs: log, catalogue, splits. The rim of the data part."""

from dataclasses import dataclass

from fedrec.config import DataConfig
from fedrec.data.catalogue import Catalogue
from fedrec.data.log import InteractionLog
from fedrec.data.splits import TwoStage


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """One loaded data set.

    ``splits`` index users by ``log.user_ids`` and items by ``catalogue.item_ids``, which are ``log.item_ids``.
    ``notes``: what was decided on the way, one sentence each, to be shown to the user. ``source``: the name or path
    that was asked for.
    """

    log: InteractionLog
    catalogue: Catalogue
    splits: TwoStage
    notes: tuple[str, ...]
    source: str


def load_dataset(config: DataConfig, seed: int) -> Dataset:
    """Load ``config.source``, filter, split; ``seed`` matters to the synthetic population only.

    Raise ``DataError`` naming file, line or key.
    """
    raise NotImplementedError
