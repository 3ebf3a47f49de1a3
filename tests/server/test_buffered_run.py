"""Buffered rounds over real nodes: each reply is paid for on its device, and late ones count under their own seal."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Message, RecordDict

from clients.guard.envelope import Sealer
from fedrec.config import LocalConfig, ModelConfig
from fedrec.flower.enrolment import DictEnrolment
from fedrec.flower.folding import Asked, fold_for
from fedrec.flower.identity import task_identity
from fedrec.flower.terms import Hooks
from fedrec.flower.wire import write_reply
from fedrec.models.split import SharedState, state_digest, structure_digest
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.rounds import Contribution, EncodedUpdate, TrainReply, TrainTask
from fedrec.runs.folder import MetricsRow
from fedrec.signing.device_keys import public_pem
from server.app import metrics_row

BUFFERED = (
    "federation.mode=buffered",
    "federation.nodes=5",
    "federation.buffered.buffer=2",
    "federation.buffered.concurrency=4",
    "training.popularity_start=false",
    "training.rounds=4",
)
KEY = ec.generate_private_key(ec.SECP384R1())


def test_a_device_sends_no_more_noisy_replies_than_its_own_ledger_and_the_server_s_have_charged(make_bench):
    reports = []
    bench = make_bench(nodes=5)
    outcome = bench.train(
        *BUFFERED,
        "privacy.enabled=true",
        "privacy.placement=device",
        "privacy.epsilon=50",
        hooks=Hooks(on_round=lambda report, state: reports.append(report)),
    )
    assert outcome.state.round == 4
    assert [report.usable for report in reports] == [2] * 4
    assert max(report.staleness for report in reports) >= 1
    rows = [MetricsRow(**metrics_row(report)) for report in reports]
    assert [row.staleness for row in rows] == [report.staleness for report in reports]
    server = Ledger(bench.folder / "ledger.jsonl")
    assert [charge.round for charge in server.charges()] == [1, 2, 3, 4]
    for path in (bench.folder / "nodes").glob("node-*/ledger.jsonl"):
        own = Counter(charge.round for charge in Ledger(path).charges())
        assert max(own.values()) == 1  # a round asks a user once at most
        assert set(own) <= {1, 2, 3, 4}
    # a buffer of two nodes is planned as two users at least, and divided by those who are in it
    assert outcome.plan.training.expected_cohort == pytest.approx(2.0)
    assert all(bool(tensor.isfinite().all()) for tensor in outcome.state.shared.values())


def test_late_replies_count_under_the_seal_of_the_round_that_asked_and_no_other():
    old = SharedState({"tower.bias": torch.zeros(3)})
    task = TrainTask(
        run_id="run-1",
        round=3,
        nonce="a" * 32,
        contribution=Contribution.UPDATE,
        shared=old,
        model=ModelConfig(dim=4),
        model_digest=structure_digest(old),
        catalogue_digest="c" * 64,
        participants=torch.zeros(1, dtype=torch.int64).numpy(),
        local=LocalConfig(),
        mechanism=None,
    )
    now = replace(task, round=5, shared=SharedState({"tower.bias": torch.ones(3)}))
    numbers = iter(range(1, 9))
    sealer = Sealer(
        key=KEY, node_key="node-0", policy_digest="e" * 64, catalogue_version=2, next_sequence=lambda: next(numbers)
    )
    total = EncodedUpdate({"tower.bias": torch.full((3,), 0.5)})
    answered = {
        asked.round: sealer.seal(asked, TrainReply(nonce="a" * 32, total=total, num_users=1)) for asked in (task, now)
    }

    def reasons(reply: TrainReply, staleness: int, digest: str | None) -> dict[str, int]:
        asked = Asked(key="node-0", nonce="a" * 32, num_users=1, staleness=staleness, model_digest=digest)
        fold = fold_for(now, [asked], 5, enrolment=DictEnrolment({"node-0": public_pem(KEY)}))
        with task_identity(run_id=1):
            fold.take(write_reply(reply, reply.total, to=Message(RecordDict(), 1, "train")))
        return fold.close().reasons

    assert reasons(answered[3], 2, state_digest(old)) == {}
    assert reasons(answered[5], 0, None) == {}
    assert reasons(answered[5], 2, state_digest(old)) == {"replayed": 1}
    assert reasons(answered[3], 0, None) == {"replayed": 1}
    assert reasons(answered[3], 2, state_digest(now.shared)) == {"mismatch": 1}
