"""The rival of ``benches.pfl``: federated matrix factorisation in pfl-research, for a Python that has it and no fedrec.

Reads a JSON request on standard input and answers with one line of JSON. As a user of pfl who cares for speed would
write it: the item table is the model, user vectors are pfl's own user state in memory, local steps are by hand instead
of by an optimiser object a user, and the table's gradients are sparse.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

# pfl has no types, and is not installed where types are checked.
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByUser
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.data.user_state import InMemoryUserStateStorage
from pfl.exception import UserNotFoundError
from pfl.hyperparam.base import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from pfl.privacy.gaussian_mechanism import GaussianMechanism
from pfl.privacy.privacy_mechanism import CentrallyAppliedPrivacyMechanism
from torch import Tensor
from torch.nn import functional as F


class Factors(torch.nn.Module):
    """The item table and bias, which are the model, beside the vector of whichever user is at work, which is not."""

    def __init__(self, num_items: int, dim: int) -> None:
        super().__init__()
        self.items = torch.nn.Parameter(torch.randn(num_items, dim) * 0.1)
        self.bias = torch.nn.Parameter(torch.zeros(num_items, 1))
        self.user = torch.zeros(dim)

    def loss(self, items: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss over positives plus that over negatives, of which there are as many."""
        scores = F.embedding(items, self.items, sparse=True) @ self.user
        scores = scores + F.embedding(items, self.bias, sparse=True)[:, 0]
        return F.binary_cross_entropy_with_logits(scores, labels, reduction="sum") * (2 / len(items))

    def metrics(self, items: Tensor, labels: Tensor) -> dict[str, Any]:
        """Return the loss; pfl evaluates in the first iteration, whatever is asked, and this is not timed."""
        with torch.no_grad():
            return {"loss": Weighted.from_unweighted(float(self.loss(items, labels)))}


class Factorisation(FederatedAveraging):  # type: ignore[misc] # pfl has no types
    """Federated averaging whose users keep their own vector on the device."""

    def __init__(self, steps: int, rate: float, user_rate: float) -> None:
        super().__init__()
        self._steps, self._rate, self._user_rate = steps, rate, user_rate
        self._vectors = InMemoryUserStateStorage()

    def train_one_user(self, initial_model_state: Any, model: Any, user_dataset: Any, central_context: Any) -> Any:
        """Take the local steps on the item table and the user's vector; return the table's change."""
        factors = model.pytorch_model
        factors.user = self._vector(user_dataset.user_id, factors.user).requires_grad_()
        items, labels = user_dataset.raw_data
        for _ in range(self._steps):
            parameters = [factors.items, factors.bias, factors.user]
            gradients = torch.autograd.grad(factors.loss(items, labels), parameters)
            with torch.no_grad():
                factors.items.add_(gradients[0], alpha=-self._rate)
                factors.bias.add_(gradients[1], alpha=-self._rate)
                factors.user.sub_(gradients[2], alpha=self._user_rate)
        self._vectors.save_state({"user": factors.user.detach()}, user_dataset.user_id)
        return model.get_model_difference(initial_model_state), Metrics()

    def _vector(self, user: str, like: Tensor) -> Tensor:
        try:
            state: dict[str, Tensor] = self._vectors.load_state(user)
        except UserNotFoundError:
            return torch.zeros_like(like)
        return state["user"].detach()


class Clock(TrainingProcessCallback):  # type: ignore[misc] # pfl has no types
    """Notes when central iterations end."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def after_central_iteration(
        self, aggregate_metrics: Any, model: Any, *, central_iteration: int
    ) -> tuple[bool, Any]:
        """Note the time and go on."""
        self.ends.append(time.perf_counter())
        return False, Metrics()


def train(request: dict[str, Any]) -> dict[str, Any]:
    """Run the iterations that are asked for after one that is not timed; return seconds of each and peak memory."""
    torch.set_num_threads(1)
    torch.manual_seed(request["seed"])
    np.random.seed(request["seed"])  # pfl draws from here
    with np.load(request["data"]) as file:
        items, labels = torch.from_numpy(file["items"]), torch.from_numpy(file["labels"])
    users = [str(number) for number in range(len(items))]
    data = FederatedDataset(
        make_dataset_fn=lambda user: Dataset(raw_data=[items[int(user)], labels[int(user)]], user_id=user),
        user_sampler=get_user_sampler("random", users),
    )
    factors, clock = Factors(request["num_items"], request["dim"]), Clock()
    optimizer = torch.optim.Adam(factors.parameters(), lr=request["server_rate"], betas=(0.9, 0.99))
    steps = NNTrainHyperParams(local_num_epochs=1, local_learning_rate=request["rate"], local_batch_size=None)
    Factorisation(request["steps"], request["rate"], request["user_rate"]).run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=request["rounds"] + 1,
            evaluation_frequency=10**9,
            train_cohort_size=request["cohort"],
            val_cohort_size=0,
        ),
        backend=SimulatedBackend(training_data=data, val_data=data, postprocessors=postprocessors(request)),
        model=PyTorchModel(model=factors, local_optimizer_create=torch.optim.SGD, central_optimizer=optimizer),
        model_train_params=steps,
        model_eval_params=NNEvalHyperParams(local_batch_size=None),
        callbacks=[clock],
        send_metrics_to_platform=False,
    )
    if not all(bool(value.isfinite().all()) for value in factors.parameters()):
        raise ValueError("the model is not finite")
    seconds = [end - start for start, end in zip(clock.ends[:-1], clock.ends[1:], strict=True)]
    return {"seconds": seconds, "peak_rss_bytes": peak_rss_bytes()}


def postprocessors(request: dict[str, Any]) -> list[Any]:
    """Return what happens to a user's statistics: equal weights, and with privacy the clip and the central noise."""
    if not request["noise_multiplier"]:
        return [WeightByUser()]
    mechanism = GaussianMechanism(request["clip_norm"], request["noise_multiplier"])
    return [WeightByUser(), CentrallyAppliedPrivacyMechanism(mechanism)]


def peak_rss_bytes() -> int:
    """Return the most memory that this process has had resident."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    print(json.dumps(train(json.load(sys.stdin))))
