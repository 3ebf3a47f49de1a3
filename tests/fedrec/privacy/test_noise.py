import numpy as np
import pytest
import torch

from fedrec.privacy.noise import noise_generator

WORDS = slice(24, 24 + 624 * 8)


def words_of(generator: torch.Generator) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return generator.get_state().numpy()[WORDS].view(np.uint64)


def test_the_same_seed_gives_the_same_noise() -> None:
    one, other = (torch.randn(9, generator=noise_generator(7).generator) for _ in range(2))
    assert torch.equal(one, other)


def test_other_seeds_give_other_noise() -> None:
    assert not torch.equal(
        torch.randn(9, generator=noise_generator(7).generator), torch.randn(9, generator=noise_generator(8).generator)
    )


def test_the_description_names_the_seed_or_the_operating_system() -> None:
    assert [noise_generator(7).description, noise_generator(None).description] == ["seeded: 7", "operating system"]


def test_noise_from_the_operating_system_never_repeats() -> None:
    draws = torch.stack([torch.randn(4, generator=noise_generator(None).generator) for _ in range(50)])
    assert len(draws.unique(dim=0)) == 50


def test_noise_from_the_operating_system_has_more_than_the_32_bits_of_a_torch_seed() -> None:
    # A seeded Mersenne Twister's words follow from its first one, so that trying 2^32 seeds finds the noise.
    generator = noise_generator(None).generator
    from_first_word = torch.Generator().manual_seed(int(words_of(generator)[0]))
    assert (words_of(generator) != words_of(from_first_word)).mean() > 0.99


def test_random_words_use_all_their_32_bits() -> None:
    words = np.concatenate([words_of(noise_generator(None).generator) for _ in range(8)])
    ones = [int((words >> np.uint64(bit) & np.uint64(1)).sum()) for bit in range(64)]
    assert all(abs(count - len(words) / 2) < 6 * np.sqrt(len(words)) / 2 for count in ones[:32])
    assert ones[32:] == [0] * 32


def test_torch_draws_from_the_words_that_were_set_as_numpys_mersenne_twister_does() -> None:
    generator = noise_generator(None).generator
    oracle = np.random.MT19937()
    oracle.state = {"bit_generator": "MT19937", "state": {"key": words_of(generator).astype(np.uint32), "pos": 624}}
    drawn = torch.empty(1000, dtype=torch.int64).random_(0, 2**31, generator=generator).numpy()
    np.testing.assert_array_equal(drawn, oracle.random_raw(2000)[1::2] % 2**31)  # torch joins two words, takes the low


def test_another_layout_of_torchs_generator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedrec.privacy.noise._STATE_BYTES", 5057)
    with pytest.raises(RuntimeError, match="must learn the new layout"):
        noise_generator(None)
