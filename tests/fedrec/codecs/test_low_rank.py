"""Public directions: orthonormal, the same for all, new each round, and the whole space over many rounds."""

import torch

from fedrec.codecs.low_rank import VALUES, LowRank
from fedrec.codecs.public import PublicSeed


def codec(rank: int = 3, round: int = 1, run: int = 1) -> LowRank:
    return LowRank(rank=rank, seed=PublicSeed(run=run, round=round))


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def through(coder: LowRank, tensor: torch.Tensor, name: str = "w") -> torch.Tensor:
    return coder.decode(coder.encode({name: tensor}), {name: tensor})[name]


def test_only_rank_numbers_a_row_are_sent():
    assert len(codec().encode({"w": random(10, 8)})[VALUES]) == 10 * 3
    assert len(codec().encode({"w": random(2, 5, 8)})[VALUES]) == 2 * 5 * 3


def test_what_comes_back_is_the_orthogonal_projection_on_the_directions():
    coder = codec()
    basis = through(coder, torch.eye(8)).double()
    torch.testing.assert_close(basis @ basis, basis, rtol=0, atol=1e-6)
    torch.testing.assert_close(basis, basis.T, rtol=0, atol=1e-6)
    assert torch.linalg.matrix_rank(basis, atol=1e-4) == 3
    torch.testing.assert_close(through(coder, random(10, 8)), (random(10, 8).double() @ basis).float())


def test_vectors_and_narrow_matrices_are_sent_whole():
    for tensor in (random(8), random(5, 3), random(5, 2)):
        assert torch.equal(through(codec(), tensor), tensor)


def test_directions_change_with_run_round_and_tensor():
    seen = [
        through(codec(), torch.eye(8)),
        through(codec(round=2), torch.eye(8)),
        through(codec(run=2), torch.eye(8)),
        through(codec(), torch.eye(8), name="v"),
    ]
    assert all(not torch.allclose(one, other) for i, one in enumerate(seen) for other in seen[i + 1 :])


def test_over_many_rounds_every_direction_has_its_turn():
    mean = torch.stack([through(codec(round=number), torch.eye(8)) for number in range(400)]).mean(0)
    torch.testing.assert_close(mean, torch.eye(8) * 3 / 8, rtol=0, atol=0.05)


def test_directions_are_those_that_were_once_written_down():
    """Two ends of different versions must agree, or decode nonsense."""
    drawn = codec(rank=1)._basis("w", 4)[:, 0]
    written = [0.435940106721, -0.802684667681, 0.401716070085, 0.065404484998]
    torch.testing.assert_close(drawn, torch.tensor(written, dtype=torch.float64), rtol=0, atol=1e-9)
