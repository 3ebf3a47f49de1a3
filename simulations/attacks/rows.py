"""All that a model keeps of each item, side by side: where attacks on items read, and where they write.

What is read are the tables that scores are products with; what is written is added to the free parameters behind them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fedrec.models import FusedRecommender
from fedrec.models.fusion import BIAS, tables_of
from fedrec.models.split import SharedState


@dataclass(frozen=True, kw_only=True)
class ItemRows:
    """The item tables of a model whose scores are inner products: ``score = rows @ query``.

    ``parameters``: shared parameters with an item axis; ``tables``: what each is, or is added to; ``widths``: columns.
    """

    model: FusedRecommender
    parameters: tuple[str, ...]
    tables: tuple[str, ...]
    widths: tuple[int, ...]

    @classmethod
    def of(cls, model: FusedRecommender) -> "ItemRows":
        """Raise ``ValueError`` for a model whose scores are no inner products: attacks on rows mean nothing there."""
        if not model.is_bilinear:
            raise ValueError(
                "item rows are attacked where scores are inner products with them: leave out other branches"
            )
        named = model.item_parameters
        state = model.shared_state()
        widths = tuple(state[name].reshape(len(state[name]), -1).shape[1] for name in named)
        return cls(model=model, parameters=tuple(named), tables=tuple(named.values()), widths=widths)

    @property
    def bias(self) -> int | None:
        """The column that every query has the same of: the item bias. None where there is none."""
        if BIAS not in self.tables:
            return None
        return sum(self.widths[: self.tables.index(BIAS)])

    def read(self, shared: SharedState) -> Tensor:
        """Return the rows of the catalogue, float ``[num_items, width]``."""
        with torch.no_grad():
            found = tables_of(self.model, shared)
        return torch.cat([found[name].reshape(self.model.num_items, -1) for name in self.tables], dim=1)

    def of_change(self, change: Mapping[str, Tensor]) -> Tensor:
        """Return the part of a change of the shared state that is of rows, float ``[..., num_items, width]``."""
        parts = [change[name] for name in self.parameters]
        wide = [part if width > 1 else part[..., None] for part, width in zip(parts, self.widths, strict=True)]
        return torch.cat(wide, dim=-1)

    def to_change(self, rows: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a change of the shared state that changes ``rows``, float ``[num_items, width]``, and nothing else."""
        parts = torch.split(rows, list(self.widths), dim=1)
        own = {
            name: part.reshape(like[name].shape).to(like[name].dtype)
            for name, part in zip(self.parameters, parts, strict=True)
        }
        return {name: own.get(name, torch.zeros_like(value)) for name, value in like.items()}
