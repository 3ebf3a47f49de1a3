"""Where noise comes from: a random generator, and the words by which the ledger records its seeding.

The generator is torch's Mersenne Twister. Seeded from the operating system, its whole state of 19937 bits is random:
``torch.Generator.manual_seed`` keeps only the low 32 bits of a seed on the CPU, which anybody can try out. Known gaps:
the Mersenne Twister is not a cryptographic generator, and floating-point Gaussians have known attacks (Mironov 2012;
Haney et al. 2022); ``docs/privacy.md`` says so.
"""

import secrets
from dataclasses import dataclass

import torch

from fedrec.privacy.entries import FROM_SYSTEM, SEEDED

_STATE_BYTES = 5056
"""Length of the state of torch's CPU generator (``CPUGeneratorImplState``)."""
_WORDS = slice(24, 24 + 624 * 8)
"""Its 624 words of 32 bits, each stored in 8 bytes, after seed, flags and position."""


@dataclass(frozen=True, kw_only=True)
class NoiseSource:
    """A generator of noise and its description, ``operating system`` or ``seeded: N``."""

    generator: torch.Generator
    description: str


def noise_generator(seed: int | None) -> NoiseSource:
    """Return a CPU generator seeded with ``seed``, or from the operating system if it is None.

    A seed makes noise repeatable by everybody who knows it, which voids the claim against them: for tests and
    simulations. Of a seed, torch uses the low 32 bits.
    """
    if seed is None:
        return NoiseSource(generator=_system_generator(), description=FROM_SYSTEM)
    generator = torch.Generator()
    generator.manual_seed(seed % 2**64)
    return NoiseSource(generator=generator, description=f"{SEEDED}: {seed}")


def _system_generator() -> torch.Generator:
    generator = torch.Generator()
    generator.manual_seed(0)
    state = generator.get_state()
    if state.numel() != _STATE_BYTES:
        raise RuntimeError(
            f"torch {torch.__version__} keeps its generator in {state.numel()} bytes, not {_STATE_BYTES}: "
            "fedrec.privacy.noise must learn the new layout before noise can be seeded from the operating system"
        )
    words = torch.frombuffer(bytearray(secrets.token_bytes(624 * 4)), dtype=torch.uint8).reshape(624, 4)
    state[_WORDS] = torch.nn.functional.pad(words, (0, 4)).reshape(-1)  # little-endian, upper half zero
    generator.set_state(state)
    return generator
