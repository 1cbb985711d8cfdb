"""Generators named by what they are for.

Every random choice of a run comes from a generator seeded with (run seed, purpose, worker, round ...), never
from global state, so any round can be repeated alone, in any process, with the same outcome.
"""

import hashlib

import numpy as np
import torch


def derive_seed(*parts: int | str) -> int:
    """Give the first 63 bits of sha256 over the parts; equal parts, equal seed."""
    text = "\n".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def torch_generator(*parts: int | str) -> torch.Generator:
    """Give a fresh torch CPU generator for this purpose."""
    return torch.Generator().manual_seed(derive_seed(*parts))


def numpy_generator(*parts: int | str) -> np.random.Generator:
    """Give a fresh numpy generator (PCG64) for this purpose."""
    return np.random.Generator(np.random.PCG64(derive_seed(*parts)))
