"""Per-sample losses in the one shape from which Opacus takes a whole model's gradients apart.

Opacus computes per-sample gradients layer by layer, from what hooks see of each layer's input and output. Item vectors
that are read both as history and as output layer escape such hooks, or are counted in part. So the model is presented
as a single layer that owns every parameter, takes one tensor and has no buffers: Opacus then differentiates the whole
of it a sample by functorch. Knows nothing of recommenders, clipping or noise.
"""

from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.func import vmap

State = dict[str, Tensor]

SampleLoss = Callable[[State, Tensor], Tensor]
"""One sample's loss, a scalar, from parameters by name and the sample's row. A plain function: Opacus copies the
module that holds it, and must not copy what the function closes over."""


class SampleLosses(nn.Module):
    """``[num_samples, width] -> [num_samples]``: the losses of samples, each a float row, under parameters of its own.

    ``parameters`` are copied; names may hold dots. Item codes in a row are exact up to ``2**24``.
    """

    def __init__(self, parameters: Mapping[str, Tensor], loss: SampleLoss) -> None:
        super().__init__()
        self._loss = loss
        self._attributes = {name: name.replace(".", "/") for name in parameters}  # torch allows no dot
        for name, value in parameters.items():
            self.register_parameter(self._attributes[name], nn.Parameter(value.detach().clone()))

    def forward(self, rows: Tensor) -> Tensor:
        """Return each row's loss; a row's loss depends on no other row."""
        parameters = self.named()
        losses: Tensor = vmap(lambda row: self._loss(parameters, row))(rows)
        return losses

    def named(self) -> State:
        """Return the parameters by the names that they were given."""
        return {name: getattr(self, attribute) for name, attribute in self._attributes.items()}
