"""The outbox: replies survive, come back bit for bit, and do not pile up."""

import os

import pytest
import torch

from clients.outbox import KEPT, Outbox
from fedrec.models.split import SharedState
from fedrec.rounds import TrainReply


def reply(number: int) -> TrainReply:
    generator = torch.Generator().manual_seed(number)
    total = SharedState({"w": torch.randn(3, 2, generator=generator), "b": torch.zeros(0)})
    return TrainReply(nonce=f"{number:032x}", total=total, num_users=number)


def test_a_reply_comes_back_bit_for_bit_after_a_restart(tmp_path):
    Outbox(tmp_path / "outbox").put(reply(7))
    found = Outbox(tmp_path / "outbox").find(reply(7).nonce)
    assert found is not None
    assert found.num_users == 7
    assert set(found.total) == {"w", "b"}
    assert torch.equal(found.total["w"], reply(7).total["w"])


def test_an_unknown_nonce_has_no_reply(tmp_path):
    assert Outbox(tmp_path / "outbox").find("0" * 32) is None


def test_a_damaged_reply_is_as_good_as_none(tmp_path):
    Outbox(tmp_path / "outbox").put(reply(7))
    path = next((tmp_path / "outbox").iterdir())
    path.write_bytes(path.read_bytes()[:20])
    assert Outbox(tmp_path / "outbox").find(reply(7).nonce) is None


def test_only_the_latest_replies_are_kept(tmp_path):
    outbox = Outbox(tmp_path / "outbox")
    for number in range(1, KEPT + 4):
        outbox.put(reply(number))
        os.utime(tmp_path / "outbox" / f"{number:032x}.safetensors", ns=(number, number))
    kept = [number for number in range(1, KEPT + 4) if outbox.find(reply(number).nonce)]
    assert kept == [4, 5, 6, 7]


@pytest.mark.parametrize("crash", ["before", "after"])
def test_a_crash_while_writing_leaves_no_half_reply(tmp_path, monkeypatch, crash):
    outbox = Outbox(tmp_path / "outbox")
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if crash == "after":
            real(descriptor)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(KeyboardInterrupt):
        outbox.put(reply(7))
    assert outbox.find(reply(7).nonce) is None
    assert list((tmp_path / "outbox").iterdir()) == []
