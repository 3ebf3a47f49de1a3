"""What a run's released quality is, for its events: means over users, from the released histogram of ranks."""

from collections.abc import Mapping

from torch import Tensor

from fedrec.evaluation.rank_histogram import EXACT_RANKS, decode_histogram


def released_quality(ranks: Tensor | None, population: int, ks: tuple[int, ...]) -> Mapping[str, float]:
    """Return ``hr@k``, ``ndcg@k`` and ``mrr@k`` by a released mean histogram; nothing where it tells nothing.

    ``ranks``: float32 ``[EXACT_RANKS + 1]``, noise included where the run has some; None before it was released.
    """
    shown = tuple(k for k in ks if k <= EXACT_RANKS)
    if ranks is None or not shown:
        return {}
    histogram = ranks.double().numpy() * population
    if not histogram.sum() > 0:
        return {}
    return {name: found.value for name, found in decode_histogram(histogram, shown).items()}
