"""Reputation lanes: 64 bits per member, four members per word."""

from collections.abc import Sequence
from dataclasses import dataclass

from guard.errors import EvidenceShapeError, RangeError

EMA_MIN, EMA_MAX = -16384, 16383
LLR_MIN, LLR_MAX = -8192, 8191
ACCEPTED_MAX = 8191
REFUSED_MAX = 2047
LAST_ROUND_MAX = 2047
LANES_PER_WORD = 4

_LANE_BITS = 64
_LANE_MASK = 2**_LANE_BITS - 1


@dataclass(frozen=True, slots=True)
class Lane:
    """A member's reputation, derived only from verdicts; a newcomer's is all zero.

    Attributes:
        ema: Moving average of the score in 1/64, [-16384, 16383]; for people to read.
        llr: Sequential evidence against the member in 1/1024 nat, [-8192, 8191].
        accepted: Contributions approved; stops at 8191.
        refused: Contributions refused; stops at 2047.
        last_round: Last judged round mod 2048.

    Raises:
        RangeError: A field does not fit; fault of the caller.
    """

    ema: int = 0
    llr: int = 0
    accepted: int = 0
    refused: int = 0
    last_round: int = 0

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("ema", self.ema, EMA_MIN, EMA_MAX),
            ("llr", self.llr, LLR_MIN, LLR_MAX),
            ("accepted", self.accepted, 0, ACCEPTED_MAX),
            ("refused", self.refused, 0, REFUSED_MAX),
            ("last_round", self.last_round, 0, LAST_ROUND_MAX),
        ):
            if not low <= value <= high:
                raise RangeError(name, value, low, high)

    def pack(self) -> int:
        """Give the 64 bits, 0 <= lane < 2^64.

        Source:
            docs/spec/gate.md, Lane.
        """
        return (
            self.ema & 0x7FFF
            | (self.llr & 0x3FFF) << 15
            | self.accepted << 29
            | self.refused << 42
            | self.last_round << 53
        )

    def judged(self, round_number: int, llr: int, s: int | None, passes: bool) -> "Lane":
        """Give the lane after a round in which the member was judged.

        Args:
            round_number: The round.
            llr: Its evidence after the round.
            s: Its score, None if its update is unavailable or malformed.
            passes: Whether it counts as accepted; refused otherwise.

        Source:
            docs/spec/gate.md, One round.
        """
        return Lane(
            ema=self.ema if s is None else self.ema + ((64 * s - self.ema) >> 2),
            llr=llr,
            accepted=min(self.accepted + passes, ACCEPTED_MAX),
            refused=min(self.refused + (not passes), REFUSED_MAX),
            last_round=round_number % (LAST_ROUND_MAX + 1),
        )

    @classmethod
    def unpack(cls, lane: int) -> "Lane":
        """Read 64 bits; every value of them is a lane.

        Raises:
            RangeError: It is not 0 <= lane < 2^64; fault of the caller.
        """
        if not 0 <= lane <= _LANE_MASK:
            raise RangeError("lane", lane, 0, _LANE_MASK)
        return cls(
            ema=_signed(lane & 0x7FFF, 15),
            llr=_signed(lane >> 15 & 0x3FFF, 14),
            accepted=lane >> 29 & 0x1FFF,
            refused=lane >> 42 & 0x7FF,
            last_round=lane >> 53,
        )


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def pack_lanes(lanes: Sequence[Lane]) -> tuple[int, ...]:
    """Give the words that hold these lanes.

    Args:
        lanes: One for each member, in cohort order.

    Returns:
        ceil(members / 4) words; member i is lane i mod 4 (lowest bits first) of word i div 4.
    """
    words = [0] * -(-len(lanes) // LANES_PER_WORD)
    for index, lane in enumerate(lanes):
        words[index // LANES_PER_WORD] |= lane.pack() << _LANE_BITS * (index % LANES_PER_WORD)
    return tuple(words)


def unpack_lanes(words: Sequence[int], members: int) -> tuple[Lane, ...]:
    """Read the lanes of the first ``members`` members.

    Args:
        words: Lane words, each 0 <= word < 2^256.
        members: How many lanes to read.

    Returns:
        One lane for each member, in cohort order.

    Raises:
        EvidenceShapeError: There are not enough words; fault of the caller.
    """
    if members > LANES_PER_WORD * len(words):
        raise EvidenceShapeError(f"{len(words)} words do not hold {members} lanes")
    return tuple(
        Lane.unpack(words[index // LANES_PER_WORD] >> _LANE_BITS * (index % LANES_PER_WORD) & _LANE_MASK)
        for index in range(members)
    )


def put_back(words: Sequence[int], before: Sequence[int], members: int) -> tuple[int, ...]:
    """Give lane words in which some members' lanes are those of other lane words.

    Args:
        words: Lane words, each 0 <= word < 2**256.
        before: As many lane words, for instance those before a round.
        members: Bitmap of the members whose lanes are taken from `before`.

    Returns:
        The new lane words.
    """
    mixed = list(words)
    for index in range(LANES_PER_WORD * len(mixed)):
        if members >> index & 1:
            word, mask = index // LANES_PER_WORD, _LANE_MASK << _LANE_BITS * (index % LANES_PER_WORD)
            mixed[word] = mixed[word] & ~mask | before[word] & mask
    return tuple(mixed)
