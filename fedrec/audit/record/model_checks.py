"""Checks of the model and the settings: layers and options that void a bound on one user are named.

An allow-list: what is not known to be right is a violation, by name. Traps are those that were measured in Opacus and
PyTorch (gradients a sample that are wrong, statistics of batches, writes in the forward pass). Builds the model of the
scenario over the run's catalogue; reads no parameters.
"""

from collections.abc import Iterator

from torch import nn

from fedrec.audit.findings import Check
from fedrec.audit.record.evidence import Evidence
from fedrec.audit.record.verdicts import judged, not_run
from fedrec.config import Scenario
from fedrec.config.proven import interaction_objection
from fedrec.errors import FedRecError
from fedrec.models.split import trainable

ALLOWED = frozenset(
    {
        "fedrec.models.attention.AttentionBlock",
        "fedrec.models.attention.SelfAttentionEncoder",
        "fedrec.models.autoencoder.Autoencoder",
        "fedrec.models.content.ContentNetwork",
        "fedrec.models.content.Kinds",
        "fedrec.models.convolution.ConvolutionEncoder",
        "fedrec.models.fusion.FusedRecommender",
        "fedrec.models.gru.GRUEncoder",
        "fedrec.models.image.ImageNetwork",
        "fedrec.models.lstm.LSTMEncoder",
        "fedrec.models.members.MemberTensors",
        "fedrec.models.mixing.Mixing",
        "fedrec.models.neighbours.Neighbours",
        "fedrec.models.neumf.NeuMFItems",
        "fedrec.models.neumf.NeuMFUser",
        "fedrec.models.parts.Factors",
        "fedrec.models.parts.FusionLogits",
        "fedrec.models.parts.Released",
        "fedrec.models.parts.UserEmbedding",
        "fedrec.models.rating.RatingHead",
        "fedrec.models.rating.RatingUser",
        "fedrec.models.sequence.SequenceAdapter",
        "fedrec.models.siamese.SiameseTower",
        "fedrec.models.towers.BehaviourTower",
        "fedrec.models.towers.ItemTower",
        "torch.nn.modules.activation.ReLU",
        "torch.nn.modules.container.ModuleDict",
        "torch.nn.modules.container.ModuleList",
        "torch.nn.modules.container.ParameterDict",
        "torch.nn.modules.container.Sequential",
        "torch.nn.modules.linear.Linear",
        "torch.nn.modules.normalization.LayerNorm",
        "torch.nn.modules.sparse.Embedding",
    }
)
"""Classes of layers whose bound on a user tests hold."""

OWN_NEGATIVES = frozenset({"softmax", "sampled-softmax", "bpr", "bce", "triplet", "mse"})
"""Losses that look at one user alone: no item of another user's batch is a negative."""

_REASONS: tuple[tuple[tuple[type[nn.Module], ...], str], ...] = (
    ((nn.modules.batchnorm._BatchNorm,), "normalises by statistics over users, which no clip bounds"),
    ((nn.modules.instancenorm._InstanceNorm,), "may keep running statistics of users, which no noise covers"),
    ((nn.RNNBase, nn.RNNCellBase), "has no gradient a user that could be clipped"),
    ((nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer), "has no gradient a user"),
    ((nn.EmbeddingBag,), "has gradients a user that are not held by a test"),
)


def model_checks(evidence: Evidence) -> list[Check]:
    """Return the checks of layers and of options; ``not run`` for a ledger alone."""
    layers_asked = "Is the model made of layers alone whose bound on one user is known to hold?"
    options_asked = "Does the scenario ask for nothing that voids the promise?"
    if evidence.folder is None:
        why = f"{evidence.path} was given alone: name the run's folder to have this looked at"
        return [not_run("layers-allowed", layers_asked, why), not_run("options-allowed", options_asked, why)]
    folder = evidence.folder
    checks = []
    try:
        model = folder.model
    except FedRecError as error:
        checks.append(judged("layers-allowed", layers_asked, "", violations=[f"there is no model to look at: {error}"]))
    else:
        shared, layers = trainable(model.shared_state()), sum(1 for _ in model.modules())
        checks.append(
            judged(
                "layers-allowed",
                layers_asked,
                f"All {layers} layers are on the list; users train {len(shared)} shared tensors "
                f"of {sum(tensor.numel() for tensor in shared.values())} numbers, clipped together.",
                violations=layer_faults(model),
                figures={"tensors": len(shared), "numbers": sum(tensor.numel() for tensor in shared.values())},
            )
        )
    odd = {"uncharged": "settings were chosen by looking at these users without a charge (privacy.tuning)"}
    checks.append(
        judged(
            "options-allowed",
            options_asked,
            "No setting does.",
            violations=[*option_faults(folder.scenario), *_accountant_faults(folder.summary)],
            warnings=[odd[folder.scenario.privacy.tuning]] if folder.scenario.privacy.tuning in odd else [],
        )
    )
    return checks


def layer_faults(model: nn.Module) -> list[str]:
    """Return what is wrong with the layers of a model, each by its name in it."""
    return [*_layers(model), *_tied(model)]


def _layers(model: nn.Module) -> Iterator[str]:
    for name, layer in model.named_modules():
        kind = f"{type(layer).__module__}.{type(layer).__qualname__}"
        where = f"layer {name or 'of the whole model'} ({type(layer).__qualname__})"
        reason = next((text for kinds, text in _REASONS if isinstance(layer, kinds)), None)
        if reason:
            yield f"{where} {reason}"
        elif kind not in ALLOWED:
            yield f"{where} is none whose bound on one user is known to hold"
        elif isinstance(layer, nn.Embedding):
            yield from (f"{where} {text}" for text in _embedding_options(layer))


def _embedding_options(layer: nn.Embedding) -> Iterator[str]:
    if layer.sparse:
        yield "has sparse=True, whose gradients show which rows a user touched"
    if layer.max_norm is not None:
        yield "has max_norm, which writes rows without noise in the forward pass"
    if layer.scale_grad_by_freq:
        yield "has scale_grad_by_freq, which gradients a user leave out"
    if layer.padding_idx is not None:
        yield "has padding_idx, whose row has a gradient a user and takes of the clip norm"


def _tied(model: nn.Module) -> Iterator[str]:
    owners: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        other = owners.setdefault(id(parameter), name)
        if other != name:
            yield f"parameters {other} and {name} are one tensor, of which gradients a user count one use alone"


def option_faults(scenario: Scenario) -> list[str]:
    """Return the settings that void the promise."""
    return list(_options(scenario))


def _options(scenario: Scenario) -> Iterator[str]:
    privacy, training = scenario.privacy, scenario.training
    if not privacy.enabled:
        yield "privacy.enabled is false, and the ledger has charges"
    if scenario.selection.enabled:
        yield "selection.enabled chooses rounds by held-out events, which no charge covers"
    if privacy.noise_multiplier == 0:
        yield "privacy.noise_multiplier is 0"
    if training.local.loss not in OWN_NEGATIVES:
        yield f"training.local.loss={training.local.loss} is none that is known to look at one user alone"
    if privacy.amplification and (privacy.placement != "central" or privacy.correlation != "none"):
        yield "privacy.amplification counts on secret cohorts where there are none"
    if privacy.placement != "central" and scenario.federation.codec.name != "none":
        yield f"federation.codec.name={scenario.federation.codec.name} changes what devices have made noisy"
    if privacy.interaction is not None:
        objection = interaction_objection(scenario.model, training.local)
        if objection:
            yield f"privacy.interaction {objection}"


def _accountant_faults(summary: object) -> Iterator[str]:
    privacy = summary.get("privacy") if isinstance(summary, dict) else None
    for name in ("accountant", "cross_check"):
        stated = str((privacy or {}).get(name, "")) if isinstance(privacy, dict) else ""
        if "gdp" in stated.lower() or "clt" in stated.lower():
            yield f"summary.json counts by {stated}, a limit that lies below what is true"
