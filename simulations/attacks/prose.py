"""Prose of the page on robustness: what holds whatever the figures say."""

HEAD = """\
# Robustness

What clients who lie can do to a federation's recommendations, and what each defence leaves of it. `fedrec bench
attacks` measures what is not kept in `docs/measured/attacks.jsonl` yet, `fedrec bench pages` writes this page from what
is kept there.

**Adversary.** Some clients, added to the honest ones, are in one hand. They see what the server sends to everybody,
know its rule and its bounds, take part by the same coin as others, and send what they like. What an attack is
granted beside that is in `simulations/attacks/registry.py`. They cannot pose as other devices, nor be more than
their share: enrolment and owner caps are the business of [the server](server.md).

**Lengths.** Liars know the bounds: what they send is scaled to be exactly as long as the server lets pass, row by
row and as a whole; where nothing is bounded, as long as the longest honest update of the round. All attacks are
adaptive in this sense. `little-is-enough`, `flipping` and free-riders send what their definition says.

**Statistics.** Who promotes an item also claims, in the release of item counts, to have met that item alone.

**Target.** Drawn by the seed among the rarer half of all items that anybody has met. It is not chosen by hand, and
the bounds were set on other seeds.

**Measures**, over honest users, after the last round: ER@10, the share of those who have not met the target who are
shown it among ten; HR@10 and NDCG@10 of each user's last event over the whole catalogue. Each attacked run has a
clean twin with the same seed, the same defence and the same honest cohorts; "HR@10 lost" is relative to that twin.

**Bars.** ER@10 at most 0.02, or five times the twin's if that is more; HR@10 at most 5 % below the twin's. What
misses its bar is in bold. Of several seeds the mean is shown, with the least and the largest in brackets."""

AUTHORS = """\
## The authors' effects first

Each attack in its authors' own setting, or one of its size, without a defence: an attack that does nothing there
proves nothing about a defence. `fedrec bench attacks --reproduce`; rows in `docs/measured/attacks-authors.jsonl`."""

WORLDS = {
    "factors": """\
Matrix factorisation with the pairwise loss as most attacks' authors have it: width 16, every client in every one of
30 iterations, in steps of 256; the server adds up what its rule lets pass, without an optimiser. Production rules
and the production growth bound are in the server's place. Bounds: norm 4 and row norm 0.3, the medians of honest
updates on another seed; `growth` is both with rows held to 1.5 times the length of those of like popularity, and is
what `robustness.preset = "guarded"` does in this world. `owner-cap` adds a share of 1 % for one owner's devices.""",
    "fedrec": """\
The default model (cf, mf and seq, width 64), loss, optimiser and 40 rounds of `fedrec simulate`, a tenth of the
users in each round, each user a client. `none` is what a scenario has that says nothing; `guarded` is
`robustness.preset = "guarded"`; `user-dp` is user-level privacy as a scenario has it by default (unit: all events
of a user; add or remove one user; epsilon 8, delta 1e-5; against whoever sees what is released, the server being
trusted to add the noise), whose clip norm is then the only bound, and `user-dp-floor` the same with
`model.item_floor = 16`.""",
}

ANALYSIS = """\
## What this says

- **Promotion.** Where the server adds updates up, one liar in twenty, and of some attacks one in a hundred, puts a rare
  item before nearly everybody, and accuracy does not show it. A bound on the whole update does not help: all of it goes
  into one row. A bound on each row does, as does holding rows to the length that items of like popularity have
  (`growth`): a rare item that points where all users look is still too short to be seen.
- **The server's optimiser is a bound of its own.** Adam moves a coordinate by at most its learning rate a round,
  whatever is sent: over the default schedule by 0.2 in all. Where items start from their popularity, that is less
  than what separates a rare item from users' lists, so that our own model shows it to nobody even without a
  defence. It is no promise: with more rounds or a higher rate it goes.
- **Spoiling.** The sum of n honest updates that point everywhere grows with the square root of n, that of liars who
  agree grows with their number: a share f of liars outweighs what honest clients agree on, once the honest mean is
  shorter than f times an update, and near convergence it always is. A bound on the whole takes away lengths that
  honest updates do not have, which a bound on rows alone does not; neither takes away agreement, and at one liar in
  ten it shows. Honest updates of our own model have about half of their length in the item tables, so that a bound
  of the whole leaves liars far more for items than honest users use: `items_clip_norm` is for that.
- **Rules that choose.** A median by coordinate takes all learning away: of the clients of a step few move the row of
  any one item, so that the middle of all is zero. A mean trimmed by a tenth at each end holds promotion, since the few
  who promote are the ends; liars who agree with each other and stay within the spread are not trimmed. Both need all
  replies of a round at once, and neither can be released under central noise ([privacy](privacy.md)). Krum and
  multi-Krum compare all pairs of replies, minutes for a step of 256 clients here, and are in the table only where a
  column says so.
- **User-level privacy** is no defence by itself. Its counts are brought to a norm per user, so that a liar who
  claims to have met one item alone gives it the square root of n times what a user of n items gives to each: one
  liar in twenty makes a rare item popular in the release of counts by that alone (`false-claims`), and attacks on
  rows do the rest. `model.item_floor` takes that weight away and costs users of more items nothing
  (`user-dp-floor`: 16, fewer items than any user here has). Its default is 1, which takes nothing away: on data
  whose users are short, a floor costs signal. Statistics of pairs are not floored.
- **Alarms.** The exposure alarm rests on made-up users and also speaks in clean runs early in training; it is a
  reason to look, not to act ([what is watched](server.md)).

## What is not covered

Liars who also lie about parameters that are no item's (towers, sequence encoder, fusion weights); targets that are
popular already; several users on a node, whose sum is bounded as one; clients who learn the rule's state from round
to round; data sets other than those named above; secure sums, where nothing is seen one by one. PSMU and PipAttack
are from their papers as remembered, without public code to hold them to."""

ORIGINS = """\
## Where the rows are from

Rows of 2026-11-23 carry the commit that first kept them."""
