"""How the reasons of a list look: as text for a person who knows no recommender, and complete as JSON."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedrec.cli.output import write_line
from fedrec.data.catalogue import Catalogue
from fedrec.explanations.reasons import Reason, Weighed
from fedrec.serving.words import MEMBER_WORDS

SHOWN = 3
"""Events and attributes of each kind that the text names."""


class Pick(Protocol):
    """An item of the list."""

    @property
    def item(self) -> int:
        """Its code."""

    @property
    def score(self) -> float:
        """Its score."""

    @property
    def reason(self) -> Reason | None:
        """Why it is there."""


# --- JSON ---------------------------------------------------------------------------------------------------------
def explained_record(
    catalogue: Catalogue, history: NDArray[np.int32], picks: Sequence[Pick], attention: NDArray[np.float32] | None
) -> dict[str, Any]:
    """Return the history, the list with all reasons, and where the sequence branch looks (null if it does not tell)."""
    events = [_event(catalogue, history, position) for position in range(len(history))]
    looked = (
        None
        if attention is None
        else [{**event, "weight": float(weight)} for event, weight in zip(events, attention, strict=True)]
    )
    return {
        "history": [{"item": event["item"], "title": event["title"]} for event in events],
        "attention": looked,
        "recommendations": [_record(catalogue, history, rank, pick) for rank, pick in enumerate(picks, 1)],
    }


def _record(catalogue: Catalogue, history: NDArray[np.int32], rank: int, pick: Pick) -> dict[str, Any]:
    record = {"rank": rank, **_item(catalogue, pick.item), "score": pick.score}
    if pick.reason is None:
        return record
    reason = pick.reason
    return {
        **record,
        "contributions": reason.contributions,
        "influence": [{**_event(catalogue, history, at), "score_lost": lost} for at, lost in reason.influence],
        "nearest": [{**_event(catalogue, history, at), "similarity": value} for at, value in reason.nearest],
        "attributes": [
            {"attribute": overlap.attribute, "value": overlap.value, "events": overlap.events}
            for overlap in reason.overlaps
        ],
    }


def _item(catalogue: Catalogue, code: int) -> dict[str, Any]:
    return {"item": catalogue.item_ids[code], "title": catalogue.titles[code]}


def _event(catalogue: Catalogue, history: NDArray[np.int32], position: int) -> dict[str, Any]:
    return {"position": position, **_item(catalogue, int(history[position]))}


# --- text ---------------------------------------------------------------------------------------------------------
def write_reasons(
    catalogue: Catalogue, history: NDArray[np.int32], picks: Sequence[Pick], attention: NDArray[np.float32] | None
) -> None:
    """Print why each item is on the list, then how to read it."""
    for rank, pick in enumerate(picks, 1):
        if pick.reason is not None:
            write_line()
            write_line(f"{rank}. {catalogue.titles[pick.item]}")
            for line in _lines(catalogue, history, pick.reason):
                write_line(f"   {line}")
    write_line()
    if attention is not None:
        order = np.argsort(-attention, kind="stable")[:SHOWN]
        looked = [f"{_title(catalogue, history, int(at))} ({attention[at]:.0%})" for at in order]
        write_line(f"for what you chose last, the sequence part looks most at: {'; '.join(looked)}")
    write_line("above the average item: in score, with what each part of the model adds to it, in brackets its name")
    write_line("hangs on: how much of the score would go if that were not in your history")
    write_line("these reasons were computed here from your history, and are sent to nobody")


def _lines(catalogue: Catalogue, history: NDArray[np.int32], reason: Reason) -> Iterable[str]:
    total = sum(reason.contributions.values())
    yield f"{total:.2f} above the average item: {_contributions(reason.contributions)}"
    weighty = [(at, lost) for at, lost in reason.influence[:SHOWN] if lost > 0]
    if weighty:
        yield f"hangs on: {_events(catalogue, history, weighty, '-{:.2f}')}"
    near = [(at, similarity) for at, similarity in reason.nearest[:SHOWN] if similarity > 0]
    if near:
        yield f"most like in your history: {_events(catalogue, history, near, '{:.0%} alike')}"
    else:
        yield "nothing in your history is like it"
    if reason.overlaps:
        shared = [f"{overlap.value} ({overlap.events} of {len(history)})" for overlap in reason.overlaps[:SHOWN]]
        yield f"shared with your history: {', '.join(shared)}"


def _contributions(contributions: Mapping[str, float]) -> str:
    ordered = sorted(contributions.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{value:+.2f} from {MEMBER_WORDS.get(name, name)} ({name})" for name, value in ordered)


def _events(catalogue: Catalogue, history: NDArray[np.int32], weighed: Weighed | list[Any], form: str) -> str:
    return "; ".join(f"{_title(catalogue, history, at)} ({form.format(value)})" for at, value in weighed)


def _title(catalogue: Catalogue, history: NDArray[np.int32], position: int) -> str:
    return catalogue.titles[int(history[position])]
