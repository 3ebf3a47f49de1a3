"""What the server makes of a released mean, by the stage of the run that it belongs to. Knows no files and no nodes."""

from dataclasses import replace

from fedrec.flower.defending import with_rows_held
from fedrec.flower.journal import Aggregated
from fedrec.flower.state import RunState
from fedrec.flower.terms import Terms
from fedrec.flower.wire import RANKS
from fedrec.models.split import SharedState
from fedrec.privacy.adaptive_clipping import released_share, without_bits
from fedrec.privacy.mechanism import Mechanism
from fedrec.rounds import Contribution
from fedrec.statistics.head import head_of
from fedrec.training.head_rows import head_rows
from fedrec.training.server_step import ServerOptimizer
from fedrec.training.stages import running_means, solve_factors, step_fusion
from fedrec.training.start import start_from_statistics
from fedrec.training.tail_average import averaged, running_average


def after_round(
    terms: Terms, state: RunState, aggregated: Aggregated, mechanism: Mechanism | None, *, noised: bool
) -> RunState:
    """Return the state after a round is committed. It depends on nothing else, so that any process comes to the same.

    ``mechanism``: of the round's release. Where nothing came of the replies, only the round counts.
    """
    mean, number = aggregated.mean, aggregated.number
    after = state
    if mean is not None and number == 0:
        population = state.roster.population
        shared = start_from_statistics(terms.model, state.shared, mean, population, mechanism)
        after = replace(state, shared=shared, popularity=mean["counts"])
    elif mean is not None:
        after = after_release(terms, state, aggregated.report.contribution, mean, number, noised=noised)
    return replace(after, round=number, abandoned=0, awaits_statistics=False)


def after_release(
    terms: Terms,
    state: RunState,
    contribution: Contribution,
    mean: SharedState,
    number: int,
    *,
    noised: bool,
) -> RunState:
    """Return the state after the released mean of round ``number``; the optimiser steps where it is one of updates."""
    training = terms.training
    if contribution is Contribution.RANKS:
        return replace(state, ranks=mean[RANKS])
    if contribution is Contribution.FUSION:
        own = number - training.rounds - training.ials_rounds
        return replace(state, shared=step_fusion(state.shared, mean, training, own))
    if contribution is Contribution.FACTORS:
        sums = running_means(state.sums, mean, number - training.rounds, training.sample_rate)
        counts = state.popularity
        if counts is None:
            raise ValueError("item vectors are solved with released item counts, which this run lacks")
        return replace(
            state,
            shared=solve_factors(terms.model, state.shared, sums, counts, noised=noised),
            sums=sums,
        )
    update = without_bits(mean)
    if training.head_only and state.popularity is not None:
        update = head_rows(update, head_of(state.popularity, terms.model.head_items))
    optimizer = ServerOptimizer(training)
    if state.optimizer:
        optimizer.load_state(state.optimizer)
    shared = with_rows_held(terms, optimizer.step(state.shared, update, number), state.popularity)
    average = running_average(state.average, shared, number, training.rounds, training.tail_average)
    if number == training.rounds:
        shared, average = averaged(shared, average), {}
    stepped = replace(state, shared=shared, optimizer=optimizer.state(), average=average)
    within = released_share(mean)
    if terms.adaptive is None or within is None or state.clip_norm is None:
        return stepped
    return replace(stepped, clip_norm=terms.adaptive.after(state.clip_norm, within))
