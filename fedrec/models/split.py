"""Partially local models: every parameter is private to a user or shared by all, never both, never neither.

"Local and global variables" of Federated Reconstruction (Singhal et al., 2021), "personal and shared parameters" of
Pillutla et al. (2022). The two kinds of state have two types, so that handing private state to what is sent is an
error of the type checker before it is one at run time.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import NewType

from torch import Tensor, nn

from fedrec.errors import ModelMismatchError

PrivateState = NewType("PrivateState", dict[str, Tensor])
"""Parameters of users, by name, with a leading user axis ``[num_users, ...]``. Must not leave the device."""

SharedState = NewType("SharedState", dict[str, Tensor])
"""Parameters that all users share, by name. May be sent, and is what the privacy claim covers."""


RELEASED = "released."
"""Prefix of shared parameters that the server sets from a release before training; no user's update touches them."""

MEMBERS = "members."
"""The same, of members that training does not read: they travel where the fusion is weighed and in served models."""

ITEM_FACTORS, UNOBSERVED = "members.ials.factors", "members.ials.unobserved"
"""The item vectors of implicit ALS, which rounds of their own change, and its weight of what was not met."""

MIXING = "mixing."
"""Prefix of shared parameters that fusion rounds change after training."""

ID_KEPT = "item_tower.id_kept"
"""Name under which the coins of id dropout travel beside the shared parameters through a round's training. They are
public, no parameters, and in no message."""


def trainable(shared: Mapping[str, Tensor]) -> SharedState:
    """Return the shared parameters that users' updates change."""
    untouched = (RELEASED, MEMBERS, MIXING)
    return SharedState({n: value for n, value in shared.items() if not n.startswith(untouched) and n != ID_KEPT})


def read_in_training(shared: Mapping[str, Tensor]) -> SharedState:
    """Return the shared parameters that local training reads."""
    return SharedState({n: value for n, value in shared.items() if not n.startswith((MEMBERS, MIXING))})


def mixing_part(shared: Mapping[str, Tensor]) -> SharedState:
    """Return the shared parameters that fusion rounds change."""
    return SharedState({n: value for n, value in shared.items() if n.startswith(MIXING)})


class SplitModel(nn.Module):
    """A model of two declared parts, ``private`` and ``shared``.

    ``private`` holds one user's parameters as a template (no user axis); ``shared`` holds everything else. A subclass
    registers parameters in these two modules only.
    """

    private: nn.Module
    shared: nn.Module

    def check_split(self) -> None:
        """Raise ``ModelMismatchError`` unless each parameter and buffer is in exactly one of the two parts."""
        private = {id(p) for p in [*self.private.parameters(), *self.private.buffers()]}
        shared = {id(p) for p in [*self.shared.parameters(), *self.shared.buffers()]}
        named = [*self.named_parameters(remove_duplicate=False), *self.named_buffers(remove_duplicate=False)]
        for name, tensor in named:
            if (id(tensor) in private) == (id(tensor) in shared):
                raise ModelMismatchError(f"parameter {name!r} must be in exactly one of 'private' and 'shared'")

    def shared_state(self) -> SharedState:
        """Return a copy of the shared parameters, by name relative to ``shared``."""
        return SharedState({name: p.detach().clone() for name, p in self.shared.named_parameters()})

    def private_template(self) -> PrivateState:
        """Return one user's initial private parameters with a user axis of length 1."""
        return PrivateState({name: p.detach().clone()[None] for name, p in self.private.named_parameters()})


def structure_digest(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, shapes and dtypes: equal for states that fit the same model."""
    rows = [[name, list(t.shape), str(t.dtype)] for name, t in sorted(state.items())]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def state_digest(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, shapes, dtypes and bytes, in order of name."""
    digest = hashlib.sha256(structure_digest(state).encode())
    for name in sorted(state):
        digest.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_fits(state: Mapping[str, Tensor], template: Mapping[str, Tensor], what: str) -> None:
    """Raise ``ModelMismatchError`` naming the first tensor by which ``state`` differs from ``template``."""
    for name in sorted(set(state) | set(template)):
        if name not in state:
            raise ModelMismatchError(f"{what} lacks tensor {name!r}: it belongs to another model")
        if name not in template:
            raise ModelMismatchError(f"{what} has tensor {name!r}, which this model does not: it belongs to another")
        if state[name].shape != template[name].shape or state[name].dtype != template[name].dtype:
            raise ModelMismatchError(
                f"{what}: tensor {name!r} is {tuple(state[name].shape)} {state[name].dtype}, "
                f"this model has {tuple(template[name].shape)} {template[name].dtype}: it belongs to another model"
            )
