"""Prose of the page on performance: what is measured and why, and what was seen once, with its day."""

HEAD = """\
# Performance

`make bench` runs every bench below in minutes on two cores, keeps what each found in `docs/measured/benches`, and
writes this page (`fedrec bench all`, `fedrec bench pages`). A file there has every lap, the command, the commit,
the machine and its load. Entrants of a race run in turn; medians stand with least and largest, ratios are paired by
repeat. Other guests of the same host are out of our sight: the same work was seen to take a third more or less
within the hour."""

EARLIER = """\
## Against the figures published before

Worse means by more than a tenth. The machine of 2026-11-22 was an Intel Xeon (KVM, 2 cores, AVX-512, 23.5 GiB):
times of two kinds of processor are not compared by this, ratios between rivals in one run are, though rivals too
like one processor more than another."""

CENTRAL = """\
A federated round of one local step beside one step of central training, on the same users, windows and
interactions. The rivals: plain PyTorch as one would write it (`nn.GRU`, cross-entropy over the positions that
exist, `torch.optim`), and fedrec's own engine called without a federation. Before the race the bench holds the
models against each other: after two steps without dropout, own engine and federation are to be equal to the last
bit, plain PyTorch to 1e-4 of the way gone or better."""

CENTRAL_SEEN = """\
Seen on 2026-11-22 with `--profile`: with three branches the engine is 93 % of a round with DP. Of its CPU time over
the step without DP, half is the content network's norms (a gradient of the kinds' vectors a user, carried through a
rectifier), a fifth the Gram matrices of the ghost norms, and the rest the stacked gradients of the small parameters
and the second look at the odds, which have to be kept until the norms are known. The mf branch alone takes so
little in plain PyTorch that everything else shows: the noise on 110 000 coordinates (float64), three flushes of
ledgers, checkpoint-sized copies between message and step, four chunks of users. What did not help: chunks of more
than 256 users (the states of the recurrence leave the cache), blocks of odds of 16 MB instead of 8, tables of twice
the width instead of adding the mf branch's scores, dense gradients of the vectors a user instead of Gram matrices."""

PLACES = """\
What is fair to Ray: it is started anew for each lap in a process that has imported everything, so that its start
counts in the whole run and not in the first round, and all have one thread a process. Ray with one user a node has
the first users alone, which favours it in the rounds: its sweep over nodes is quadratic. Its start weighs on fewer
users in the whole run: quote the rounds. Ray and this process come to the same parameters, to the last bit, on as
many nodes; nodes of another number move them by rounding. A cluster by address (`federation.ray_address`) is tested
with one that `ray start --head` makes on this machine; several machines were not to be had."""

PFL = """\
Federated matrix factorisation, 32 dimensions, 1 000 of 10 000 users a round, 20 positives and 20 negatives each,
two local SGD steps with binary cross-entropy, one thread and float32 for both, each lap in a process of its own.
pfl 0.6.0 as a user who cares for speed would use it: sparse gradients, steps by hand, users' vectors in its memory.
Its noise is calibrated before the clock starts; our ledger and accounting are inside ours, and so are drawing
negatives anew and writing private state. pfl is installed on demand; where it cannot be had, this section says so."""

PFL_SEEN = """\
Seen on 2026-11-22 at 10 000 items: 40 of 105 ms of a round are local training, 20 the noise (`torch.randn` in
float64 on 330 000 coordinates), 10 the flushed ledgers, 7 the server's step, the rest arrays into messages, checks,
digests and private state. All but the training is a round's, not a user's, so that the ratio grows with the cohort.
What is left to take: a faster source of float64 noise."""

SCALE = """\
One round with everybody: the mf branch, 32 dimensions, BCE with 32 negatives, user-level DP, a budget of 512 MiB,
through the whole path (grid, node folder, private shards, ledger, noise, step), each lap in a process of its own.
Histories of 16 events in the median, 20 on average. Memory grows by what the node keeps of everybody: histories,
seeds and the list of participants. About 280 MiB are PyTorch and Flower. What is private lies in shards on the
disk, of which one is in memory."""

CODECS = """\
int8 sends one byte a number, a float32 scale a row (6 % on rows of 64) and about 1 kB besides. One user of 943 is
0.6 % of HR@10, so that one seed cannot show 1 %; a learning rate larger by a thousandth (the control) moves as
much. Low rank and row subset have their place under user-level privacy on nodes of several users, where a code that
rounds may not be applied to the sum (`docs/decisions.md`, 32)."""

CODECS_SEEN = """\
Seen on 2026-11-22: over eight seeds (the last five as single runs) int8 changes HR@10 by -0.16 % on average; under
three seeds by -1.2, 0 and 0 %."""

AGGREGATE = """\
What a server takes to judge and fold a round's replies, bare and under seals, beside Flower's FedAvg on the same
tensors. FedAvg judges no reply and holds all of them; a fold parses, bounds and sums each as it comes, so that
memory does not grow with the cohort."""

CHURN = """\
Rounds under user-level DP with the real server, while half of the devices are away and change places in every
round, three tenths of the tasks are slower than a round, and devices answer with drawn updates ([the
server](server.md))."""

PACING = """\
Days of a fleet of which three in ten devices come at ten in the evening, with and without the server's hints ([the
server](server.md#who-is-asked-how-often-and-how-soon-again)). Day 0 has no hint yet, day 1 the evening before it to
bear; from day 2 on the highest peak is the bar's. The trace is drawn, not recorded."""

BUFFERED = """\
Matrix factorisation of 943 devices, 40 at work at a time, in virtual time. A fifth of them are slow: their tasks
take 10 minutes on average, those of others about one. Server, wire, nodes and training are the real ones; only time
is drawn. A round ends with all its replies, with the first 70 % of them (over-selection), or is a buffer of 10
([the server](server.md#buffered-rounds)). Quality is of each user's second-last event; no learning rate was chosen
for any of them. Looks are 15 minutes apart. This bench takes long and is run apart (`make bench-buffered`)."""

BUFFERED_SEEN = """\
Seen on 2026-11-22, seeds 0 and 1, after 2.5 virtual hours: 8 and 9 steps with all replies (NDCG@10 0.0272, 0.0297),
69 and 72 with the first 70 % (0.0555, 0.0573), 192 and 195 with a buffer (0.0621, 0.0624). A buffer was as good as
rounds that wait for all after 0.26 and 0.25 hours, as good as those that leave the slowest out after 1.51. Part of
the gain is that it takes more and smaller steps, under the same server learning rate. That slow devices' users fare
worse without being heard does not show: item vectors are learned from the others too, and users' own vectors are
fitted to their histories."""

SERVICE = """\
50,000 items, width 64, the default branches, lists of ten over a Unix socket by a real process without torch; an
event comes before every tenth list. The slowest lists are those right after an event, for which the sequence
encoder reads the window anew. "Beside training" is a worker that imports PyTorch and trains one task after another,
as nice as on a device."""

INFERENCE = """\
What a list costs without a socket, by kind of model, on one thread of numpy."""

TRAINING = """\
One round's task for a device of one user with 200 events, 50,000 items, width 64, the default branches, user-level
clip; the process is the trainer's, its imports, Flower's message, guard, ledger, seal and outbox included. Rows are
estimated to need 413 MiB where they take less than half: a device whose `memory_mib` is the default 256 refuses
that kind."""

PRIVACY = """\
What privacy adds to a round, and what its mechanisms keep of what they promise, is on a [page of its
own](privacy-figures.md)."""
