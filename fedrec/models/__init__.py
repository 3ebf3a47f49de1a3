"""Models that fedrec trains: branches, their fusion, and the split into private and shared parameters."""

from fedrec.models.fusion import FusedRecommender, build_model
from fedrec.models.split import PrivateState, SharedState, SplitModel

__all__ = ["FusedRecommender", "PrivateState", "SharedState", "SplitModel", "build_model"]
