"""What an attacker sees and what it hands in.

An attack may act at five levels: on the data it trains on (`poisons`), on the model it trains from
(`parent`), on the float pseudo-gradient (`Forged`), on the bytes (`ForgedBytes`), and on the commitment
(`CopiedRoot`: it signs another worker's update root).
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PublicRecord:
    """What everybody can read after a round under a gate that keeps a ledger.

    Attributes:
        scores: Worker index -> its score in the last round.
        llrs: Worker index -> evidence against it, in 1/1024 nat.
        yardstick: How far honest work agreed with the anchor, as a score.
    """

    scores: Mapping[int, int]
    llrs: Mapping[int, int]
    yardstick: float


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
        peers: Attacker index -> what training gave that attacker this round, the own one included; attackers
            may collude.
        record: What the last round left for all to read; None in the first, or if nothing was published.
        projection: The fixed public projection [d, k] by which updates are judged, if the defence has one.
    """

    worker: int
    round_number: int
    own: FloatArray
    honest: Mapping[int, FloatArray]
    known_seed: bytes | None
    memory: MutableMapping[str, FloatArray]
    rng: np.random.Generator
    peers: Mapping[int, FloatArray] = field(default_factory=dict)
    record: PublicRecord | None = None
    projection: FloatArray | None = None

    def honest_mean(self) -> FloatArray:
        """Give the mean of the honest pseudo-gradients, float32 [d]; the own one if there is none."""
        if not self.honest:
            return self.own
        mean: FloatArray = np.mean(list(self.honest.values()), axis=0, dtype=np.float32)
        return mean

    def honest_deviation(self) -> FloatArray:
        """Give the standard deviation of every coordinate over the honest, float32 [d]; 0 without them."""
        if not self.honest:
            return np.zeros_like(self.own)
        deviation: FloatArray = np.std(list(self.honest.values()), axis=0, dtype=np.float32)
        return deviation

    def peer_mean(self) -> FloatArray:
        """Give the mean of what training gave the attackers, float32 [d]; the same for all of them."""
        if not self.peers:
            return self.own
        mean: FloatArray = np.mean(list(self.peers.values()), axis=0, dtype=np.float32)
        return mean

    def largest_honest_norm(self) -> float:
        """Give the largest norm of an honest update; that of the own one if there is none."""
        return max(float(np.linalg.norm(update)) for update in (self.honest or {0: self.own}).values())

    def noise(self, norm: float) -> FloatArray:
        """Draw a random direction of this norm, float32 [d], another one at every call."""
        drawn = self.rng.standard_normal(len(self.own), dtype=np.float32)
        return scaled(drawn, norm)


def scaled(vector: FloatArray, norm: float) -> FloatArray:
    """Give the vector with this norm, float32 [d]; a zero vector stays zero."""
    size = float(np.linalg.norm(vector))
    return vector * np.float32(norm / size) if size > 0 else vector.copy()


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

    def parent(
        self,
        round_number: int,  # noqa: ARG002
        theta: FloatArray,
        memory: MutableMapping[str, FloatArray],  # noqa: ARG002
    ) -> FloatArray:
        """Choose the model, float32 [d], that training starts from; by default this round's."""
        return theta

    def act(self, context: AttackContext) -> Forgery:
        """Choose what to commit to; by default what training gave."""
        return Forged(context.own)
