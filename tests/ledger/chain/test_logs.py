import random
import time

import pytest

from ledger.chain import EmbeddedChain, RpcDispatcher, RpcError, RpcLimits
from ledger.chain.errors import TooManyLogsError
from ledger.chain.logs import LogQuery, StoredLog
from ledger.chain.params import LIMIT_EXCEEDED, Json
from tests.ledger.chain.conftest import sign
from tests.ledger.chain.test_chain import BURST, deploy, note


def logs_of_receipts(chain: EmbeddedChain) -> list[StoredLog]:
    """Read all logs from the receipts' tries, the slow and certain way."""
    found = []
    for number in range(chain.head().block_number + 1):
        mined = chain.block(chain.header(number))
        position = 0
        for index, (transaction, receipt) in enumerate(
            zip(mined.block.transactions, mined.receipts, strict=True)
        ):
            for log in receipt.logs:
                topics = tuple(topic.to_bytes(32, "big") for topic in log.topics)
                found.append(
                    StoredLog(
                        number, mined.hash, position, index, transaction.hash, log.address, topics, log.data
                    )
                )
                position += 1
    return found


def matches(log: StoredLog, query: LogQuery) -> bool:
    return (
        query.from_block <= log.block_number <= query.to_block
        and (not query.addresses or log.address in query.addresses)
        and len(log.topics) >= len(query.topics)
        and all(
            not accepted or topic in accepted
            for topic, accepted in zip(log.topics, query.topics, strict=False)
        )
    )


def test_index_equals_the_receipts_for_every_kind_of_query(chain: EmbeddedChain) -> None:
    generator = random.Random(7)
    probe = deploy(chain)
    for number in range(80):
        chain.mine([note(1, number, probe, number % 5), note(2, number, probe, number % 3)])
    everything = logs_of_receipts(chain)
    assert len(everything) == 160
    words = sorted({topic for log in everything for topic in log.topics})
    for _ in range(200):
        first = generator.randint(0, 82)
        query = LogQuery(
            first,
            generator.choice([first, first + 5, first + 70, 2**62]),
            generator.choice([(), (probe,), (b"\x00" * 20,), (b"\x00" * 20, probe)]),
            tuple(
                tuple(generator.sample(words, generator.randint(0, 2)))
                for _ in range(generator.randint(0, 4))
            ),
        )
        expected = [log for log in everything if matches(log, query)]
        assert chain.logs.find(query, limit=1_000) == expected, query


def test_too_many_logs_are_refused_not_cut(chain: EmbeddedChain) -> None:
    probe = deploy(chain)
    chain.mine([sign(1, 0, to=probe, data=BURST + (10).to_bytes(32, "big"))])
    assert len(chain.logs.find(LogQuery(0, 9), limit=10)) == 10
    with pytest.raises(TooManyLogsError):
        chain.logs.find(LogQuery(0, 9), limit=9)
    dispatcher = RpcDispatcher(chain, limits=RpcLimits(logs=9))
    with pytest.raises(RpcError) as caught:
        dispatcher.handle("eth_getLogs", [{"fromBlock": "0x0"}])
    assert caught.value.rpc_code == LIMIT_EXCEEDED


def test_ten_thousand_logs_are_quick(chain: EmbeddedChain, rpc: RpcDispatcher) -> None:
    probe = deploy(chain)
    for nonce in range(10):
        chain.mine([sign(1, nonce, to=probe, data=BURST + (1_000).to_bytes(32, "big"), gas=5_000_000)])
    start = time.perf_counter()
    logs = rpc.handle("eth_getLogs", [{"fromBlock": "0x0", "address": f"0x{probe.hex()}"}])
    assert isinstance(logs, list)
    assert len(logs) == 10_000
    assert time.perf_counter() - start < 5
    topics: list[Json] = [None, f"0x{500:064x}"]
    start = time.perf_counter()
    some = rpc.handle("eth_getLogs", [{"fromBlock": "0x0", "topics": topics}])
    assert isinstance(some, list)
    assert len(some) == 10
    assert time.perf_counter() - start < 1
