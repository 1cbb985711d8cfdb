"""Gas of proofs against a merge of 268 million values, exactly. A change shows up in the reviewed snapshot.

A proof shows one row and the siblings on its way up: random siblings make as good a tree as a gigabyte does.
`HALLMARK_UPDATE_GAS=1 pytest tests/contracts/test_merge_proof_gas.py -m ""` writes the snapshot again.
"""

import json
import os
import random
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ledger.challenges.paths import climb, climb_step
from ledger.merkle import leaf_digest
from ledger.update import bind_root
from tests.contracts.merge_proof import (
    ROW,
    SEGMENT,
    TRACE,
    Model,
    Term,
    running_sums,
    sums_bytes,
    sums_leaf,
)
from tests.contracts.support import OUTSIDER, TestChain

SNAPSHOT = Path(__file__).with_name("merge_proof_gas.json")
LENGTH = 268_435_456
ROW_DEPTH, SEGMENT_DEPTH = 18, 15
WORKERS = [8, pytest.param(16, marks=pytest.mark.slow), pytest.param(64, marks=pytest.mark.slow)]
PLACE = 8 * 12_346 + 3
"""A row in the middle of its segment."""


class Opened:
    """One row of a claim, and random siblings around it.

    Attributes:
        depth: Of the trees below a row and of the terms.
        index: A term in the middle, whose joint path has as many siblings as all have on average.
    """

    def __init__(self, workers: int) -> None:
        self.rng = random.Random(workers)
        self.normal = np.random.default_rng(workers)
        self.terms = [self.term(workers) for _ in range(workers + 1)]
        self.depth = workers.bit_length()
        self.index = workers // 2 + 2
        self.shape = self.rng.randbytes(32)

    def term(self, workers: int) -> Term:
        """Give a segment as training makes them; the rest of the update is a path."""
        header = bytearray(self.rng.randbytes(24) + bytes(72))
        header[5] = 256 - 14
        header[20:72] = self.rng.randbytes(52)
        header[72:80] = LENGTH.to_bytes(8, "little")
        values = np.clip(np.rint(self.normal.normal(0, 42, SEGMENT)), -127, 127).astype(np.int8)
        return Term(bytes(header), values.tobytes(), self.rng.randrange(2**31 // workers, 2**33 // workers))

    def path(self, count: int) -> tuple[bytes, ...]:
        """Give random siblings."""
        return tuple(self.rng.randbytes(32) for _ in range(count))

    def model(self) -> Model:
        """Give a row: parameters of a deviation of 0.05, momenta of 0.005."""
        theta, v = (
            np.rint(self.normal.normal(0, deviation * 2**24, ROW)).astype(np.int32)
            for deviation in (0.05, 0.005)
        )
        return Model(theta, v)

    def claim(self, **roots: bytes) -> tuple[Any, ...]:
        """Give a claim with some true roots."""
        names = ("terms", "old", "trace", "new")
        return (
            self.shape,
            LENGTH,
            700_000,
            900_000,
            len(self.terms),
            *(roots.get(name) or self.rng.randbytes(32) for name in names),
        )

    def model_root(self, leaf: bytes, path: tuple[bytes, ...]) -> bytes:
        """Give the root of a model."""
        tree = climb(leaf, PLACE, path)
        return sha256(b"\x32" + self.shape + LENGTH.to_bytes(8, "big") + tree).digest()

    def sums(self) -> list[bytes]:
        """Give the sums of the row after each term."""
        place = PLACE % 8
        return [sums_bytes(sums) for sums in running_sums(self.terms, slice(place, place + 1))]

    # -------------------------------------------------------------- proofs

    def step(self, before: bytes, segment: bytes) -> tuple[str, tuple[Any, ...], tuple[Any, ...]]:
        """Show a false step."""
        term = self.terms[self.index]
        segment_path, term_path = self.path(SEGMENT_DEPTH), self.path(self.depth)
        root = bind_root(term.header, climb(leaf_digest(segment), PLACE // 8, segment_path))
        term_leaf = sha256(b"\x33" + root + term.weight.to_bytes(8, "big")).digest()
        position = PLACE << self.depth | self.index
        apart = (position & -position).bit_length() - 1
        assert apart == 1
        posted, path = self.rng.randbytes(32), self.path(ROW_DEPTH + self.depth + apart - 1)
        trace = climb_step(sums_leaf(np.frombuffer(before, "<i4")), posted, position, path)
        proof = (
            *(self.index, PLACE, term.weight, term_path, term.header, segment, segment_path),
            *(before, posted, path),
        )
        return "proveStep", self.claim(terms=climb(term_leaf, self.index, term_path), trace=trace), proof

    def last_step(self, sums: bytes, row: bytes) -> tuple[str, tuple[Any, ...], tuple[Any, ...]]:
        """Show a false row."""
        path, old, new = self.path(ROW_DEPTH + self.depth), self.path(ROW_DEPTH), self.path(ROW_DEPTH)
        position, posted = PLACE << self.depth | (len(self.terms) - 1), self.rng.randbytes(32)
        claim = self.claim(
            trace=climb(sums_leaf(np.frombuffer(sums, "<i4")), position, path),
            old=self.model_root(sha256(b"\x31" + row).digest(), old),
            new=self.model_root(posted, new),
        )
        return "proveLastStep", claim, (PLACE, sums, path, row, old, posted, new)

    def tail(self) -> tuple[str, tuple[Any, ...], tuple[Any, ...]]:
        """Show something behind the last term of a row."""
        leaf, path = self.rng.randbytes(32), self.path(ROW_DEPTH + self.depth)
        root = climb(leaf, PLACE << self.depth | (len(self.terms) - 1), path)
        return "proveTail", self.claim(trace=root), (TRACE, PLACE, leaf, path)

    def without_zeros(self, count: int) -> bytes:
        """Give bytes that cost most; as values they are sound."""
        return bytes(self.rng.choices([b for b in range(1, 256) if b != 128], k=count))


def measure(workers: int) -> dict[str, int]:
    """Give the gas of whole transactions; "without_zeros" where no byte of segment, sums and rows is zero."""
    opened = Opened(workers)
    sums, term = opened.sums(), opened.terms[opened.index]
    proofs = {
        "step": opened.step(sums[opened.index - 1], term.payload),
        "last_step": opened.last_step(sums[-1], opened.model().row(0)),
        "tail": opened.tail(),
        "step_without_zeros": opened.step(opened.without_zeros(4096), opened.without_zeros(SEGMENT)),
        "last_step_without_zeros": opened.last_step(opened.without_zeros(4096), opened.without_zeros(8192)),
    }
    chain = TestChain(members=1)
    contract = chain.deploy("MergeProof")
    gas = {}
    for name, (function, claim, proof) in proofs.items():
        call = contract.get_function_by_name(function)(claim, proof)
        gas[name] = chain.send(call, OUTSIDER)["gasUsed"]
        if name != "tail":
            # EIP-7623: computing costs less than the calldata, so it costs nothing.
            data = bytes.fromhex(call._encode_transaction_data()[2:])
            assert gas[name] == 21_000 + 10 * (4 * len(data) - 3 * data.count(0))
    return gas


@pytest.mark.parametrize("workers", WORKERS)
def test_gas_of_proofs_at_268m_values(workers: int) -> None:
    gas = measure(workers)
    content: dict[str, Any] = json.loads(SNAPSHOT.read_text()) if SNAPSHOT.exists() else {}
    if os.environ.get("HALLMARK_UPDATE_GAS"):
        content[str(workers)] = gas
        SNAPSHOT.write_text(json.dumps(content, indent=1) + "\n")
    assert content[str(workers)] == gas
