"""What an attacker sees and what it hands in.

An attack may act at four levels: on the data it trains on (`poisons`), on the float pseudo-gradient
(`Forged`), on the bytes (`ForgedBytes`), and on the commitment (`CopiedRoot`: it signs another worker's
update root).
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AttackContext:
    """Everything an omniscient attacker knows when it has to commit.

    Attributes:
        worker: The attacker's index.
        round_number: The round, >= 1.
        own: What honest (or poisoned) training gave it, float32 [d].
        honest: Worker index -> that honest worker's pseudo-gradient of this round, float32 [d]; read only.
        known_seed: The last round's challenge, 32 bytes; None in the first. This round's is drawn after the
            commitments.
        memory: float32 arrays that the attacker keeps from round to round; it may write to it.
        rng: Source of all its randomness.
    """

    worker: int
    round_number: int
    own: FloatArray
    honest: Mapping[int, FloatArray]
    known_seed: bytes | None
    memory: MutableMapping[str, FloatArray]
    rng: np.random.Generator

    def honest_mean(self) -> FloatArray:
        """Give the mean of the honest pseudo-gradients, float32 [d]; the own one if there is none."""
        return np.mean(list(self.honest.values()), axis=0, dtype=np.float32) if self.honest else self.own


@dataclass(frozen=True, slots=True)
class Forged:
    """A float pseudo-gradient, float32 [d], that then goes the ordinary way to int8."""

    gradient: FloatArray


@dataclass(frozen=True, slots=True)
class ForgedBytes:
    """int8 values [d] and an exponent that go into the update file as they are."""

    values: NDArray[np.int8]
    exponent: int


@dataclass(frozen=True, slots=True)
class CopiedRoot:
    """The attacker commits to the update root of this other worker."""

    victim: int


Forgery = Forged | ForgedBytes | CopiedRoot


class Attack:
    """One vice. Attacks hold no state: what they must remember goes into the context's memory.

    Attributes:
        name: Name in configurations.
        poisons: None, or the kind of data poisoning (see Task.poison) that precedes `act`.
    """

    name: ClassVar[str]
    poisons: ClassVar[str | None] = None

    def act(self, context: AttackContext) -> Forgery:
        """Choose what to commit to; by default what training gave."""
        return Forged(context.own)
