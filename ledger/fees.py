"""What a transaction offers for its gas, and by how much it is raised when nobody takes it. No IO."""

from dataclasses import dataclass

from ledger.errors import InputError

GWEI = 10**9
TIP_WEI = GWEI
MAX_FEE_GWEI = 500
"""Default cap. Ethereum's base fee was above it for some hours in all since 2021."""

LOCAL_CONFIRMATIONS = 0
CONFIRMATIONS = 2
"""Blocks on top of a transaction, or of the seed's block, before it is built upon (docs/security.md)."""


@dataclass(frozen=True, slots=True)
class Fee:
    """The two fields of EIP-1559, in wei for each gas.

    Attributes:
        max_wei: Most that is paid, base fee and tip together.
        tip_wei: Most that whoever makes the block gets of it.
    """

    max_wei: int
    tip_wei: int

    @classmethod
    def first(cls, base_fee_wei: int, cap_wei: int) -> "Fee":
        """Give a fee that outlasts six full blocks: twice the base fee, and a tip; never above the cap."""
        max_wei = min(2 * base_fee_wei + TIP_WEI, cap_wei)
        return cls(max_wei, min(TIP_WEI, max_wei))

    def raised(self, base_fee_wei: int, cap_wei: int) -> "Fee | None":
        """Give a fee that nodes take in place of this one, and that pays for the next blocks.

        Both fields go up by 1/8 at least, rounded up: the most that a common node asks for (Nethermind,
        Erigon and geth ask for 10 %, some pools for 12.5 %).

        Args:
            base_fee_wei: Base fee of the newest block.
            cap_wei: Most that may be offered.

        Returns:
            The fee; None if the cap leaves no room for it.
        """
        least = _eighth_more(self.max_wei)
        if least > cap_wei:
            return None
        tip = _eighth_more(self.tip_wei)
        return Fee(min(max(least, 2 * base_fee_wei + tip), cap_wei), min(tip, cap_wei))


@dataclass(frozen=True, slots=True)
class SendPolicy:
    """How long a sender waits, what it pays at most, and when it believes that something is mined.

    Attributes:
        max_fee_wei: Cap on what is offered for each gas.
        patience_s: Seconds without a receipt after which the fee is raised; three blocks of a slow chain.
        replacements: How often at most.
        confirmations: Blocks on top of a transaction before it counts; None: LOCAL_CONFIRMATIONS on a local
            chain, CONFIRMATIONS elsewhere.
        confirmation_timeout_s: Most seconds to wait for these blocks.
        receipt_lag_s: Most seconds by which a receipt may come after its nonce is used: of several nodes that
            answer in turn, one may be behind.

    Raises:
        InputError: A number that cannot be meant.
    """

    max_fee_wei: int = MAX_FEE_GWEI * GWEI
    patience_s: float = 36.0
    replacements: int = 8
    confirmations: int | None = None
    confirmation_timeout_s: float = 900.0
    receipt_lag_s: float = 60.0

    def __post_init__(self) -> None:
        if not 0 < self.max_fee_wei < 1 << 96:
            raise InputError("the cap on fees must be above 0", hint="for instance --max-fee-gwei 500")
        if self.confirmations is not None and not 0 <= self.confirmations <= 64:
            raise InputError(
                f"{self.confirmations} confirmations make no sense",
                hint="0 to 64; the block hash that a seed is made of is out of reach after 256 blocks",
            )


def _eighth_more(value_wei: int) -> int:
    return value_wei + -(-value_wei // 8)
