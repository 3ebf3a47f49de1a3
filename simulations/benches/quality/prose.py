"""What the page says beside its figures, whichever they are."""

HEAD = """\
# Quality

Every figure here is read from kept rows of runs, and a run that is not kept leaves a cell that says so:

```
fedrec bench quality --out runs/quality --store docs/measured/quality.jsonl     # makes the runs that are missing
fedrec bench pages                                                              # writes this page
```

Each user's last event is held out, ties in time by original row; full ranking of the catalogue, seen items masked,
expected value over score ties. Brackets: 95 % bootstrap intervals over users, of each user's mean over the seeds. A
data set's runs were all made with the settings of its scenario; a variant differs by what its name says."""

BARS = """\
## Bars

Set before anything of this was measured. p is that of the comparison with every member at once (Holm). A central twin
draws its own batches, so that a federation may come out above it as well as below: by chance, not by merit."""

ROWS = """\
Floors are central and tuned on the second-last event. A member trained alone is the same branch with the same settings
and rounds, and nothing beside it. Members that no gradient trains (EASE, Markov, popularity, ...) come from securely
summable statistics of all histories, less the events that are held back for the fusion's weights. The central twin is
the same fusion in plain PyTorch on all histories at once: batches of as many users, as many steps, the same schedule,
dropout and start, exact statistics, weights from the same held-back events. It draws its own batches and windows, so
that its distance holds chance too."""

GAINS = """\
The fusion less each part, paired by user. p: sign-flip test, 10,000 flips; Holm: corrected for all rows, so that the
best member may be picked after the fact."""

COSTS = """\
Bytes are Flower's messages: mean of one to or from a node in a round, whose size does not depend on how many users
the node speaks for; *before* is sent once, the item statistics. Seconds are wall clock on shared cores, other work
beside them."""

DP = """\
### With user-level DP

A claim against whoever receives the model, with a trusted server: see [privacy](privacy.md). DP popularity is one
noisy histogram that may spend the whole budget."""

BUDGETS = """\
### At a budget of epsilon 1, 2, 4 and 8

User level, delta one over the number of users to the power of 1.1, `fedrec simulate DATA --preset epsilon-4`. DP
popularity may spend the same budget on one noisy histogram, and is measured in the same runs. Paired: the model less
DP popularity, by user."""

RECIPE = """\
One release with everybody takes the whole budget: item counts, counts by month and pairs of items met near each other,
bounded together. Three members read it, no round of training follows, and their weights are public and the same for all
data. Presets, shares, ranks and weights were chosen on the second-last events, then committed, then tested once."""

ENCODERS = """\
### Sequence encoders and whose they are

The sequence branch alone, HR@10 / NDCG@10, without DP. All at width 16, since a private encoder of width 64 is 29,000
weights for a history of 63 events. Hybrid: shared weights, with a gain and a shift of the output that are each user's
own. One seed: differences below 0.02 / 0.01 say nothing."""

TASKS = """\
### Ratings beside the ranking

The three branches with a rating head on the same queries and tables. RMSE and MAE of the held-out event's rating, in
stars."""

COLD = """\
### Cold items

A tenth of the items is hidden from all training with all their events, and ranked among themselves
(`data.split=cold-items`, `model.id_dropout=0.3`). Both floors read content: popularity by genre, and each user's
profile of genres."""

NEW_USERS = """\
### New users

Five folds; each user is asked once as somebody who was not trained with and of whom so many events are known. Share:
of the figure of the same users in the run that trained with them. Strict: with only the known events left out of the
ranking, so that what the user forgot to tell counts as a miss ([evaluation](evaluation.md))."""

PUBLISHED = """\
## Against what was published before

The page of 2026-11-22 was of runs by code of 2949d9ba03, 455de143ac and 75f7633a95, on an Intel Xeon with 2 shared
cores; its rows were not kept, its figures are (`docs/measured/quality-published.json`). What was not run again stands
here alone, and is "not run" above. Equal: to the digits that were published."""

NOTES = """\
## What to keep in mind

- Settings were chosen on each user's second-last event, without noise and without charge: a real operator would have
  to choose on public data or pay for it. Nothing was chosen on the last event. One early DP variant (no pairs) was
  tested on it before pairs were tried on the second-last event; it stood at 0.09 to 0.10 / 0.046 to 0.048. Without DP
  one earlier recipe (branch weights learned with the branches, one weight for their sum) was looked at on the last
  event of ML-100K under one seed: 0.200 / 0.108. What replaced it was chosen on the second-last events.
- MovieTweetings and Amazon Toys have the settings of ML-100K; nothing was chosen on their last events but this: the
  fusion's weights start from 0.25 for EASE and 0.1 for Markov, which a central experiment before this code had read off
  the last events of ML-100K and MovieTweetings. They are learned from there on held-back training events,
  and end where they end from equal weights (second-last event of ML-100K, seed 0: 0.252 / 0.134 and 0.252 / 0.133).
- Under DP nearly all of the gain comes from the one release before training (counts and pairs): on the validation
  event six rounds of training add 0.002 to 0.004 NDCG@10 to it, and on the last event they can take as much away.
- MovieLens' order is partly the order in which the site lists films (44 % of users tie at the end), which is what
  pairs of near events pick up. `fedrec data audit ml-100k` shows it; other data may gain less.
- Users are those who might have been asked, seeds the runs that might have been made: the brackets tell of the
  former, the figures by seed of the latter.
- Leave-last-out lets a model learn from events that are later than another user's last one; see
  [evaluation](evaluation.md)."""
