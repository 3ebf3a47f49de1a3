"""The search itself, on Optuna (extra ``hpo``): what to try next, and a journal of what was tried.

Trials are drawn by the tree-structured Parzen estimator (Bergstra et al., 2011) and those below the median of their
forerunners at the same round are cut short. Each draw depends on the seed, the number of finished trials and their
results alone, so that a search that was killed and goes on is the search that was not. The journal is JSON lines.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fedrec.optional import optional
from simulations.sweeps.space import Choices, Parameter, Space

State = Literal["complete", "pruned", "refused"]

PATIENCE = 30
"""Draws in a row that repeat finished trials after which the space counts as searched."""
FORERUNNERS = 4
"""Complete trials before any is cut short."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A finished trial. ``number``: in the order of finishing, from 0. ``metric``: None where it was refused.

    ``round``: of the model that was measured. ``reason``: why it was refused, or blank.
    """

    number: int
    values: dict[str, Any]
    state: State
    metric: float | None
    round: int
    reason: str = ""


class Asked:
    """A trial under way. ``identifier``: no other trial of the search has it, those that were killed included."""

    def __init__(self, number: int, values: dict[str, Any], handle: Any, *, prunes: bool) -> None:
        self.number = number
        self.values = values
        self.handle = handle
        self.identifier = int(handle.number)
        self._prunes = prunes

    def look(self, round: int, metric: float) -> bool:
        """Take a point of the learning curve; return whether the trial should be cut short."""
        self.handle.report(metric, round)
        return self._prunes and bool(self.handle.should_prune())


class Study:
    """Trials of one space in one journal file. For one process at a time."""

    def __init__(self, journal: Path, space: Space, *, seed: int, prunes: bool) -> None:
        self._optuna: Any = optional("optuna", extra="hpo", purpose="fedrec sweep")
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        self._space = space
        self._seed = seed
        self._prunes = prunes
        journals: Any = optional("optuna.storages.journal", extra="hpo", purpose="fedrec sweep")
        storage = self._optuna.storages.JournalStorage(journals.JournalFileBackend(str(journal)))
        self._study = self._optuna.create_study(
            storage=storage,
            study_name="sweep",
            direction="maximize",
            load_if_exists=True,
            pruner=self._optuna.pruners.MedianPruner(n_startup_trials=FORERUNNERS, n_warmup_steps=1),
        )
        self._give_up_what_was_killed()

    def finished(self) -> list[Trial]:
        """Return the finished trials, first to last."""
        return [self._trial(number, frozen) for number, frozen in enumerate(self._frozen())]

    def ask(self) -> Asked | None:
        """Begin another trial with values that no finished one had; None if none is found any more."""
        number = len(self._frozen())
        known = {_key(trial.values) for trial in self.finished()}
        for attempt in range(PATIENCE):
            handle = self._draw(number, attempt)
            values = {parameter.key: _value(parameter, handle.params[parameter.key]) for parameter in self._space}
            if _key(values) not in known:
                return Asked(number, values, handle, prunes=self._prunes)
            self._study.tell(handle, state=self._optuna.trial.TrialState.FAIL)
        return None

    def tell(self, asked: Asked, state: State, *, metric: float | None, round: int, reason: str = "") -> Trial:
        """Finish a trial. ``metric`` of one that was cut short is that of its last look."""
        for name, value in {"state": state, "metric": metric, "round": round, "reason": reason}.items():
            asked.handle.set_user_attr(name, value)
        states = self._optuna.trial.TrialState
        if state == "complete":
            self._study.tell(asked.handle, metric)
        else:
            self._study.tell(asked.handle, state=states.PRUNED)
        return self.finished()[-1]

    def _draw(self, number: int, attempt: int) -> Any:
        seed = int(np.random.SeedSequence([self._seed, number, attempt]).generate_state(1, np.uint32)[0])
        self._study.sampler = self._optuna.samplers.TPESampler(seed=seed)
        return self._study.ask({parameter.key: self._distribution(parameter) for parameter in self._space})

    def _distribution(self, parameter: Parameter) -> Any:
        kinds = self._optuna.distributions
        if isinstance(parameter, Choices):
            return kinds.CategoricalDistribution([json.dumps(value) for value in parameter.values])
        kind = kinds.IntDistribution if parameter.whole else kinds.FloatDistribution
        return kind(parameter.low, parameter.high, log=parameter.log)

    def _frozen(self) -> Sequence[Any]:
        states = self._optuna.trial.TrialState
        trials: list[Any] = self._study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED))
        return sorted(trials, key=lambda trial: trial.number)

    def _trial(self, number: int, frozen: Any) -> Trial:
        values = {parameter.key: _value(parameter, frozen.params[parameter.key]) for parameter in self._space}
        return Trial(number=number, values=values, **frozen.user_attrs)

    def _give_up_what_was_killed(self) -> None:
        states = self._optuna.trial.TrialState
        for frozen in self._study.get_trials(deepcopy=False, states=(states.RUNNING,)):
            self._study.tell(frozen.number, state=states.FAIL)


def best_of(trials: Sequence[Trial]) -> list[Trial]:
    """Return the complete trials, best first, the earlier of equals first."""
    done = [trial for trial in trials if trial.state == "complete"]
    return sorted(done, key=lambda trial: (-(trial.metric or 0.0), trial.number))


def _key(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)


def _value(parameter: Parameter, drawn: Any) -> Any:
    return json.loads(drawn) if isinstance(parameter, Choices) else drawn
