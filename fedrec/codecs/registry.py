"""Codecs by name."""

from collections.abc import Callable
from functools import lru_cache

from fedrec.codecs.codec import Codec
from fedrec.codecs.half import Half
from fedrec.codecs.int8_rows import Int8Rows
from fedrec.codecs.low_rank import LowRank
from fedrec.codecs.plain import Plain
from fedrec.codecs.public import PublicSeed
from fedrec.codecs.row_subset import RowSubset
from fedrec.config import CodecConfig, CodecName

CODECS: dict[CodecName, Callable[[CodecConfig, PublicSeed], Codec]] = {
    "none": lambda config, seed: Plain(),
    "fp16": lambda config, seed: Half(),
    "int8": lambda config, seed: Int8Rows(),
    "low-rank": lambda config, seed: LowRank(rank=config.rank, seed=seed),
    "row-subset": lambda config, seed: RowSubset(share=config.row_share, seed=seed),
}


@lru_cache(maxsize=8)
def codec_for(config: CodecConfig, seed: int, round: int) -> Codec:
    """Return the codec of a round of a run with this seed, the same on every machine. Nodes in one process share it."""
    return CODECS[config.name](config, PublicSeed(run=seed, round=round))
