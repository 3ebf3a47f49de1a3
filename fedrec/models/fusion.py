"""The fused recommender ``alpha*cf + beta*mf + gamma*seq`` for many users at once.

Every branch asks a table on the items' side with a query on the user's side. Where all ask by inner products of tables
that parameters make linearly (``FusedRecommender.is_bilinear``), a training engine can bound a user's influence on a
table without writing that table out for each user. Parameters may be common or stacked, one a user
(``fedrec.models.layers``). Knows nothing of rounds, privacy or files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fedrec.config import Branch, ModelConfig
from fedrec.data.catalogue import Catalogue
from fedrec.models import neumf
from fedrec.models.autoencoder import DECODER, ENCODER, Autoencoder, Encoded, LatentDraws
from fedrec.models.content import ItemContent
from fedrec.models.layers import lookup, transposed
from fedrec.models.members import MemberTensors
from fedrec.models.mixing import Mixing, named_weights
from fedrec.models.neighbours import Neighbours
from fedrec.models.neumf import NeuMFItems, NeuMFUser
from fedrec.models.parts import Factors, FusionLogits, Released, UserEmbedding
from fedrec.models.rating import RATING, RatingHead, RatingQueries, RatingUser
from fedrec.models.sequence import SequenceAdapter, sequence_encoder
from fedrec.models.siamese import SiameseTower
from fedrec.models.split import MEMBERS, MIXING, RELEASED, SplitModel
from fedrec.models.towers import BehaviourTower, ItemTower

_Kind = TypeVar("_Kind", bound=nn.Module)

NUM_DROPOUT_MASKS = 4
"""Dropout masks that one forward pass reads: two of the behaviour tower, of which the siamese tower, that reads the
same mean, reads the first too; two of the sequence encoder."""

VECTORS, FACTORS, BIAS, NEIGHBOURS, TWINS = "vectors", "factors", "bias", "neighbours", "twins"
"""Names of tables."""

_WITH_BIAS: tuple[Branch, ...] = ("mf", "neumf", "autoencoder")

Tables = dict[str, Tensor]
"""The items' side: by name, float ``[num_items, width]``, or ``[U, R, width]`` where each user has rows of its own."""

Queries = dict[str, Tensor]
"""The users' side: by table, float ``[U, L, width]``, or ``[U, 1, width]`` where it is the same after every event."""


@dataclass(frozen=True, kw_only=True)
class BranchQueries:
    """Each branch's queries, and the fusion weights, float ``[num_branches]`` or ``[U, num_branches]``.

    ``penalty``: float ``[U, L]``, what training adds to the loss at each position; None where no branch has any.
    ``rating``: what the rating head asks; None without one.
    """

    queries: dict[Branch, Queries]
    weights: Tensor
    penalty: Tensor | None = None
    rating: RatingQueries | None = None

    def weight(self, branch: Branch) -> Tensor:
        """Return a branch's weight, float ``[1 or U, 1, 1]``."""
        return self.weights[..., list(self.queries).index(branch)].reshape(-1, 1, 1)

    def fused(self) -> Queries:
        """Return the weighted sum of the queries to each table."""
        total: Queries = {}
        for branch, queries in self.queries.items():
            for table, query in queries.items():
                weighted = _weighted(table, self.weight(branch), query)
                total[table] = total[table] + weighted if table in total else weighted
        return total


def scores(queries: Queries, tables: Tables) -> Tensor:
    """Return the scores after each event, float ``[U, L, num_items or R]``; ``L`` is 1 if no query has more."""
    parts = [table_scores(name, query, tables[name]) for name, query in queries.items()]
    return sum(parts[1:], parts[0])


def table_scores(name: str, query: Tensor, table: Tensor) -> Tensor:
    """Return the scores that a query gets from the table of this name, float ``[U, L, num_items or R]``."""
    return neumf.hidden_scores(query, table) if name == neumf.HIDDEN else query @ transposed(table)


def _weighted(name: str, weight: Tensor, query: Tensor) -> Tensor:
    """Return the query to the table of this name whose scores are ``weight`` times those of ``query``."""
    return neumf.hidden_weighted(weight, query) if name == neumf.HIDDEN else weight * query


def tables_of(model: "FusedRecommender", shared: Mapping[str, Tensor]) -> Tables:
    """Return the items' side of the whole catalogue under these shared parameters."""
    state = {f"model.shared.{name}": value for name, value in shared.items()}
    tables: Tables = functional_call(_TablesOf(model), state, ())
    return tables


class _TablesOf(nn.Module):
    """A model whose output is its tables."""

    def __init__(self, model: "FusedRecommender") -> None:
        super().__init__()
        self.model = model

    def forward(self) -> Tables:
        return self.model.tables()


class FusedRecommender(SplitModel):
    """Behaviour tower, matrix factorisation, sequence encoder and further branches under softmax fusion weights.

    Private: the user's vectors (mf, neumf), and the sequence encoder's weights or adapter by ``sequence_scope``.
    Shared: everything else. Weights are ``len(branches) * softmax(logits)``, so that each starts at 1.
    """

    private: nn.ModuleDict
    shared: nn.ModuleDict

    def __init__(self, config: ModelConfig, features: Tensor | ItemContent) -> None:
        super().__init__()
        self.config = config
        content = ItemContent.of(features)
        self.num_items = num_items = content.num_items
        dim = config.dim
        private: dict[str, nn.Module] = {}
        learned = config.branch_weights == "learned"
        shared: dict[str, nn.Module] = {"fusion": FusionLogits(config.branches, learned=learned)}
        if config.members:
            shared[MEMBERS.rstrip(".")] = MemberTensors(config, content)
            shared[MIXING.rstrip(".")] = Mixing(config)
        if self.reads_vectors:
            shared["item_tower"] = ItemTower(
                content, dim, item_embeddings=config.item_embeddings, hides_ids=config.id_dropout > 0
            )
        if "cf" in config.branches:
            shared["behaviour_tower"] = BehaviourTower(dim)
        if self.bias_branch:
            own = config.item_embeddings and "mf" in config.branches
            shared["factors"] = Factors(num_items, dim, item_embeddings=own)
        if "mf" in config.branches:
            private["user"] = UserEmbedding(dim)
        if "siamese" in config.branches:
            shared["siamese"] = SiameseTower(dim)
        if "neumf" in config.branches:
            shared["neumf"] = NeuMFItems(num_items, dim)
            private["neumf_user"] = NeuMFUser(dim)
        if "autoencoder" in config.branches:
            shared["autoencoder"] = Autoencoder(num_items, dim)
        if "seq" in config.branches:
            (private if config.sequence_scope == "private" else shared)["sequence"] = sequence_encoder(config)
            if config.sequence_scope == "hybrid":
                private["sequence_adapter"] = SequenceAdapter(dim)
        if "neighbours" in config.branches:
            shared[RELEASED.rstrip(".")] = Released(num_items)
        if config.rating_head:
            shared["rating"] = RatingHead(num_items, dict.fromkeys(self._taste_tables, dim))
            private["rating_user"] = RatingUser()
        self.private = nn.ModuleDict(private)
        self.shared = nn.ModuleDict(shared)
        self.check_split()

    @property
    def reads_history(self) -> bool:
        """Whether a branch looks at the item vectors of the history."""
        return bool({"cf", "siamese", "seq"} & set(self.config.branches))

    @property
    def looks_back(self) -> bool:
        """Whether a branch looks at the items of the history, and asks anew after each event."""
        return not set(self.config.branches) <= {"mf", "neumf"}

    @property
    def is_bilinear(self) -> bool:
        """Whether all scores are inner products with parameters or with the item tower's vectors, and nothing else.

        False with a rating head, which asks the tables a second time.
        """
        return not {"siamese", "neumf", "autoencoder"} & set(self.config.branches) and not self.config.rating_head

    @property
    def drops_ids(self) -> bool:
        """Whether rounds of training hide id embeddings of the item tower."""
        return self.config.id_dropout > 0 and self.reads_vectors and self.config.item_embeddings

    @property
    def bias_branch(self) -> Branch | None:
        """The branch that the item bias belongs to: there is one bias, whichever branches would have one."""
        return next((branch for branch in _WITH_BIAS if branch in self.config.branches), None)

    @property
    def reads_vectors(self) -> bool:
        """Whether a branch uses the item tower."""
        return self.reads_history or ("mf" in self.config.branches and not self.config.item_embeddings)

    @cached_property
    def item_parameters(self) -> dict[str, str]:
        """The table that each shared parameter with an item axis is, or is added to, by the parameter's name."""
        tables = {
            "item_tower.id_embedding": VECTORS,
            "factors.embedding": FACTORS,
            "factors.bias": BIAS,
            "neumf.factors": neumf.PRODUCT,
            "neumf.hidden": neumf.HIDDEN,
            "autoencoder.encoder": ENCODER,
            "autoencoder.decoder": DECODER,
            "rating.item_bias": RATING,
        }
        names = dict(self.shared.named_parameters())
        return {name: table for name, table in tables.items() if name in names}

    def tables(self, rows: Tensor | None = None) -> Tables:
        """Return the items' side, of the whole catalogue or of each user's ``rows`` int64 ``[U, R]``.

        With ``rows``, embeddings and bias must be stacked rows already, ``[U, R, ...]``.
        """
        tables: Tables = {VECTORS: self.shared["item_tower"](rows)} if self.reads_vectors else {}
        if self.bias_branch:
            factors = self._factors()
            tables[BIAS] = factors.bias[..., None]
            if factors.embedding is not None:
                tables[FACTORS] = factors.embedding
        if "neighbours" in self.config.branches:
            table = self._neighbours().table()
            tables[NEIGHBOURS] = table if rows is None else table[rows]
        if "siamese" in self.config.branches:
            tables[TWINS] = self._siamese().embed(tables[VECTORS])
        if "neumf" in self.config.branches:
            items = self._neumf()
            tables |= {neumf.PRODUCT: items.factors, neumf.HIDDEN: items.hidden}
        if "autoencoder" in self.config.branches:
            tables[DECODER] = self._autoencoder().decoder
        if self.config.rating_head:
            tables[RATING] = self._rating_head().item_bias[..., None]
        return tables

    def forward(
        self,
        history: Tensor,
        mask: Tensor,
        keep: Tensor,
        rows: Tensor | None = None,
        tables: Tables | None = None,
        events: Tensor | None = None,
        latent: LatentDraws | None = None,
    ) -> tuple[BranchQueries, Tables]:
        """Return what users ask after each event, and the tables that they ask.

        ``history``: int64 ``[U, L]`` item codes, padding (any code) last. ``mask``: float ``[U, L]``. ``keep``: float
        ``[U, NUM_DROPOUT_MASKS, dim]`` dropout factors, ones for none. ``rows``: int64 ``[U, R]``, each user's own part
        of the catalogue; then codes in ``history`` count within it. ``tables`` and ``events`` (float ``[U, L, dim]``,
        the history's vectors) may be given where they are known already. ``latent``: what the autoencoder draws in
        training.
        """
        tables = self.tables(rows) if tables is None else tables
        if self.reads_history:
            events = (lookup(tables[VECTORS], history) if events is None else events) * mask[..., None]
        queries: dict[Branch, Queries] = {}
        penalty = None
        for branch in self.config.branches:
            if branch == "cf":
                asked = {VECTORS: self.shared["behaviour_tower"](events, mask, keep[:, 0], keep[:, 1])}
            elif branch == "seq":
                asked = {VECTORS: self._encoded(events, keep[:, 2], keep[:, 3])}
            elif branch == "neighbours":
                known = history if rows is None else rows.gather(1, history)
                asked = {NEIGHBOURS: self._neighbours()(known, mask)}
            elif branch == "siamese":
                asked = {TWINS: self._siamese()(events, mask, keep[:, 0])}
            elif branch == "neumf":
                asked = neumf.ask(self._neumf_user(), self._neumf(), len(history))
            elif branch == "autoencoder":
                encoded: Encoded = self._autoencoder()(history, mask, latent)
                asked, penalty = {DECODER: encoded.queries}, self.config.kl_weight * encoded.divergence
            else:
                asked = self._ask_factors(len(history))
            if branch == self.bias_branch:
                asked[BIAS] = torch.ones_like(keep[:, :1, :1])
            queries[branch] = asked
        found = BranchQueries(queries=queries, weights=self.shared["fusion"](), penalty=penalty)
        return self._with_rating(found, len(history)) if self.config.rating_head else found, tables

    def _with_rating(self, asked: BranchQueries, num_users: int) -> BranchQueries:
        user = self.private["rating_user"]
        assert isinstance(user, RatingUser)  # the constructor's
        return replace(asked, rating=self._rating_head()(asked.fused(), user.bias.expand(num_users, -1)))

    def _ask_factors(self, num_users: int) -> Queries:
        own = self.private["user"]
        assert isinstance(own, UserEmbedding)  # the constructor's
        user = own.embedding.expand(num_users, -1)[:, None]
        table = VECTORS if self._factors().embedding is None else FACTORS
        return {table: user}

    @property
    def _taste_tables(self) -> list[str]:
        """The tables of item vectors that branches ask by inner products."""
        branches, own = set(self.config.branches), self.config.item_embeddings
        asked = {VECTORS: bool({"cf", "seq"} & branches) or ("mf" in branches and not own)}
        asked[FACTORS] = "mf" in branches and own
        return [name for name, needed in asked.items() if needed]

    def _rating_head(self) -> RatingHead:
        return _part(self.shared["rating"], RatingHead)

    def _factors(self) -> Factors:
        return _part(self.shared["factors"], Factors)

    def _siamese(self) -> SiameseTower:
        return _part(self.shared["siamese"], SiameseTower)

    def _neumf(self) -> NeuMFItems:
        return _part(self.shared["neumf"], NeuMFItems)

    def _neumf_user(self) -> NeuMFUser:
        return _part(self.private["neumf_user"], NeuMFUser)

    def _autoencoder(self) -> Autoencoder:
        return _part(self.shared["autoencoder"], Autoencoder)

    def _encoded(self, events: Tensor | None, keep_input: Tensor, keep_output: Tensor) -> Tensor:
        assert events is not None  # this branch reads the history
        states: Tensor = self._encoder()(events, keep_input, keep_output)
        if self.config.sequence_scope == "hybrid":
            states = self.private["sequence_adapter"](states)
        return states

    def _encoder(self) -> nn.Module:
        parts = self.private if self.config.sequence_scope == "private" else self.shared
        return parts["sequence"]

    def _neighbours(self) -> Neighbours:
        return _part(self.shared[RELEASED.rstrip(".")], Released).neighbours


def fusion_weights(config: ModelConfig, shared: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the share of the fusion of each branch (alpha, beta, gamma of cf, mf, seq) and member; they sum to 1.

    Where users of several history lengths have weights of their own, the mean over these.
    """
    if config.members:
        return {name: fmean(rows) for name, rows in named_weights(config, shared[MIXING + "weights"]).items()}
    if config.branch_weights == "equal":
        return dict.fromkeys(map(str, config.branches), 1 / len(config.branches))
    within = torch.softmax(shared["fusion.logits"].detach(), dim=0).tolist()
    return dict(zip(map(str, config.branches), within, strict=True))


def build_model(config: ModelConfig, catalogue: Catalogue, seed: int) -> FusedRecommender:
    """Build the model for a catalogue; equal arguments give equal parameters, whatever the global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FusedRecommender(config, ItemContent.of_catalogue(catalogue))


def _part(part: nn.Module, kind: type[_Kind]) -> _Kind:
    """Return a part of the kind that the constructor gave it."""
    assert isinstance(part, kind)
    return part
