"""From a scenario's ``[data]`` table to everything a run needs: log, catalogue, splits. The rim of the data part."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fedrec.config import DataConfig
from fedrec.data.catalogue import Catalogue
from fedrec.data.fetch import find_dataset, get_dataset
from fedrec.data.filters import first_users, k_core
from fedrec.data.folds import Newcomers, hide_fold
from fedrec.data.images import read_images
from fedrec.data.items import ItemTable, build_catalogue
from fedrec.data.log import InteractionLog, deduplicate
from fedrec.data.readers import items_beside, read_interactions, read_items
from fedrec.data.recipes import RECIPES
from fedrec.data.splits import TwoStage, split_log
from fedrec.data.synthetic import synthetic_population
from fedrec.data.text import TEXT_ENCODERS
from fedrec.data.users import read_users, users_beside
from fedrec.errors import DataError

SYNTHETIC = "synthetic"


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """One loaded data set.

    ``splits`` index users by ``log.user_ids`` and items by ``catalogue.item_ids``, which are ``log.item_ids``.
    ``notes``: what was decided on the way, one sentence each, to be shown to the user. ``source``: the name or path
    that was asked for. ``newcomers``: the fold of users that ``data.user_folds`` hides, who are in neither log nor
    splits. ``user_attributes``: what is said of the log's users, by name: for groups in a simulation's report alone.
    """

    log: InteractionLog
    catalogue: Catalogue
    splits: TwoStage
    notes: tuple[str, ...]
    source: str
    newcomers: Newcomers | None = None
    user_attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def load_dataset(config: DataConfig, seed: int) -> Dataset:
    """Read or draw ``config.source``, drop repeated events, filter, split; ``seed`` draws the synthetic population.

    Filters in this order: repeated events, ``max_users``, ``k_core``; users are hidden after the split. Raise
    ``DataError`` naming file, line or key.
    """
    raw, table, notes = _read(config, seed)
    log, dropped = deduplicate(raw)
    if dropped:
        notes.append(f"dropped rows that repeat user, item and time of an earlier row: {dropped}")
    log = _filtered(log, config, notes)
    catalogue = _catalogue(log, table, config, notes)
    dataset = Dataset(
        log=log,
        catalogue=catalogue,
        splits=split_log(log, config),
        notes=tuple(notes),
        source=config.source,
    )
    return _described(_divided(dataset, config), config)


def locate(source: str, notes: list[str]) -> Path:
    """Return the file or folder that ``source`` means: a path, a local data set, or one that can be had by name."""
    path = Path(source).expanduser()
    if path.exists():
        return path
    found = find_dataset(source)
    if found is None and source in RECIPES:
        found = get_dataset(source, report=notes.append)
    if found is None:
        raise DataError(
            f"data.source={source!r} is no file or folder, and no data set of this name is at hand: "
            f"check the path, or use one of {', '.join([SYNTHETIC, *RECIPES])}"
        )
    return found


def _read(config: DataConfig, seed: int) -> tuple[InteractionLog, ItemTable | None, list[str]]:
    if config.source == SYNTHETIC:
        users, items = config.synthetic_users, config.synthetic_items
        log, table = synthetic_population(num_users=users, num_items=items, seed=seed)
        return log, table, [f"drew a synthetic population of {users} users and {items} items with seed {seed}"]
    notes: list[str] = []
    path = locate(config.source, notes)
    reading = read_interactions(path, config.format)
    items_file = Path(config.items).expanduser() if config.items else items_beside(path, config.format)
    if items_file is None:
        return reading.log, None, [*notes, *reading.notes, "there is no item table: items have no content"]
    content = read_items(items_file)
    return reading.log, content.table, [*notes, *reading.notes, *content.notes]


def _catalogue(log: InteractionLog, table: ItemTable | None, config: DataConfig, notes: list[str]) -> Catalogue:
    """Return the catalogue with the images and texts that the scenario asks for."""
    images = read_images(Path(config.images).expanduser()) if config.images else None
    encoder = TEXT_ENCODERS[config.text_encoder]() if config.text else None
    catalogue = build_catalogue(log.item_ids, table, images, encoder)
    wanted = (("image", config.images, catalogue.images), ("text", config.text, catalogue.texts))
    for what, asked, known in wanted:
        if asked:
            having = int(known.present.sum()) if known else 0
            notes.append(f"{having} of {catalogue.num_items} items have {what} content")
    return catalogue


def _divided(dataset: Dataset, config: DataConfig) -> Dataset:
    """Hide the users of the fold that the scenario names."""
    if not config.user_folds:
        return dataset
    division = hide_fold(dataset.log, dataset.splits, config.user_folds, config.user_fold)
    hidden = len(division.newcomers.users)
    note = f"hid {hidden} users, fold {config.user_fold} of {config.user_folds}, to ask them as new users"
    return replace(
        dataset,
        log=division.log,
        splits=division.splits,
        newcomers=division.newcomers,
        notes=(*dataset.notes, note),
    )


def _described(dataset: Dataset, config: DataConfig) -> Dataset:
    """Add what a table beside the interactions says of the users; a table that cannot be read is left out."""
    path = None if config.source == SYNTHETIC else users_beside(locate(config.source, []))
    if path is None:
        return dataset
    try:
        table = read_users(path)
    except DataError as error:
        return replace(dataset, notes=(*dataset.notes, f"left out the table of users: {error}"))
    note = f"read users from {path.name} ({', '.join(table.columns) or 'no column'}), to show quality by group"
    return replace(dataset, user_attributes=table.of(dataset.log.user_ids), notes=(*dataset.notes, note))


def _filtered(log: InteractionLog, config: DataConfig, notes: list[str]) -> InteractionLog:
    kept = k_core(first_users(log, config.max_users), config.k_core)
    if kept.num_events < log.num_events:
        notes.append(
            f"kept {kept.num_users} of {log.num_users} users, {kept.num_items} of {log.num_items} items and "
            f"{kept.num_events} of {log.num_events} events (max_users={config.max_users}, k_core={config.k_core})"
        )
    return kept
