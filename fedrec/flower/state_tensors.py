"""The tensors of a run's state under one flat set of names: what a checkpoint holds and what a ledger's digest is of.

Named ``shared.*``, ``optimizer.*``, ``sums.*``, ``average.*``, ``watch.*``, ``step.*``, ``popularity`` and ``ranks``.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fedrec.flower.state import RunState
from fedrec.models.split import SharedState, state_digest

_SHARED, _OPTIMIZER, _SUMS, _AVERAGE = "shared.", "optimizer.", "sums.", "average."
_WATCH, _STEP = "watch.", "step."
_POPULARITY, _RANKS = "popularity", "ranks"


def tensors_of(state: RunState) -> dict[str, Tensor]:
    """Return all tensors of the state, on the CPU, contiguous."""
    tensors = {_SHARED + name: tensor for name, tensor in state.shared.items()}
    tensors |= {_OPTIMIZER + name: tensor for name, tensor in state.optimizer.items()}
    tensors |= {_SUMS + name: tensor for name, tensor in state.sums.items()}
    tensors |= {_AVERAGE + name: tensor for name, tensor in state.average.items()}
    tensors |= {_WATCH + name: tensor for name, tensor in state.watch.items()}
    tensors |= {_STEP + name: tensor for name, tensor in state.step.items()}
    single = {_POPULARITY: state.popularity, _RANKS: state.ranks}
    tensors |= {name: tensor for name, tensor in single.items() if tensor is not None}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def digest_of(state: RunState) -> str:
    """Return the digest by which ledger and checkpoint name the state: of all its tensors, names and shapes."""
    return state_digest(tensors_of(state))


def tensor_fields(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the fields of ``RunState`` that ``tensors_of`` took its tensors from."""
    return {
        "shared": SharedState(_part(tensors, _SHARED)),
        "optimizer": _part(tensors, _OPTIMIZER),
        "popularity": tensors.get(_POPULARITY),
        "sums": _part(tensors, _SUMS),
        "average": _part(tensors, _AVERAGE),
        "watch": _part(tensors, _WATCH),
        "step": _part(tensors, _STEP),
        "ranks": tensors.get(_RANKS),
    }


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
