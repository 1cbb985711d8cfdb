"""Fee advice and fee history."""

from typing import Final

from eth.abc import BlockHeaderAPI
from eth.vm.forks.london.headers import calculate_expected_base_fee_per_gas

from ledger.chain.chain import EmbeddedChain, MinedBlock
from ledger.chain.params import Json
from ledger.chain.views import effective_gas_price

SUGGESTED_TIP_WEI: Final = 1_000_000_000
MAX_BLOCKS: Final = 1_024


def fee_history(
    chain: EmbeddedChain, count: int, newest: BlockHeaderAPI, percentiles: tuple[float, ...] | None
) -> dict[str, Json]:
    """Give base fees, fill and tips of the newest blocks, as eth_feeHistory.

    Args:
        chain: The chain.
        count: How many blocks; at most 1024 are given, as clients expect.
        newest: Header of the last of them.
        percentiles: Shares of the gas, ascending, at which to read the tips.

    Returns:
        The answer; ``baseFeePerGas`` has one entry more, for the next block.
    """
    last = newest.block_number
    first = max(0, last + 1 - min(count, MAX_BLOCKS))
    headers = [chain.header(number) for number in range(first, last + 1)]
    fees: list[Json] = [hex(header.base_fee_per_gas or 0) for header in headers]
    ratios: list[Json] = [header.gas_used / header.gas_limit for header in headers]
    answer: dict[str, Json] = {
        "oldestBlock": hex(first),
        "baseFeePerGas": [*fees, hex(calculate_expected_base_fee_per_gas(newest))],
        "gasUsedRatio": ratios,
    }
    if percentiles is not None:
        answer["reward"] = [_tips(chain.block(header), percentiles) for header in headers]
    return answer


def _tips(mined: MinedBlock, percentiles: tuple[float, ...]) -> list[Json]:
    base_fee = mined.block.header.base_fee_per_gas or 0
    paid: list[tuple[int, int]] = []
    before = 0
    for transaction, receipt in zip(mined.block.transactions, mined.receipts, strict=True):
        paid.append((effective_gas_price(transaction, base_fee) - base_fee, receipt.gas_used - before))
        before = receipt.gas_used
    paid.sort()
    return [hex(_tip_at(paid, before * percentile / 100)) for percentile in percentiles]


def _tip_at(paid: list[tuple[int, int]], threshold: float) -> int:
    passed = 0
    for tip, gas in paid:
        passed += gas
        if passed >= threshold:
            return tip
    return paid[-1][0] if paid else 0
