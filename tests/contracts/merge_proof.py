"""docs/merge-proof.md with numpy: the integer merge, what an aggregator posts of it, and who shows it false.

All of it is in memory. A real aggregator would keep one block of rows, as `merge` does, and the roots of
finished subtrees; the leaves it would write to a file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
from web3 import Web3

from ledger.challenges.paths import DigestTree
from ledger.merkle import leaf_digest

ROW = 1024
ROW_SUMS_BYTES = 4 * ROW
SEGMENT = 8192
BLOCK_ROWS = 64
"""Rows merged at a time: as many values as trainer.merge takes."""

TERMS, TRACE, OLD_MODEL, NEW_MODEL = 1, 2, 3, 4

Int32 = npt.NDArray[np.int32]

_LOW, _HIGH = -(2**31), 2**31 - 1
_SUMS_TAG = sha256(b"\x30")
_MODEL_TAG = sha256(b"\x31")


# ------------------------------------------------------------------ the merge


@dataclass(frozen=True, slots=True)
class Constants:
    """What a run fixes."""

    shape_digest: bytes
    length: int
    outer_lr_micro: int = 700_000
    outer_momentum_micro: int = 900_000

    @property
    def rows(self) -> int:
        """Number of rows."""
        return -(-self.length // ROW)

    @property
    def segments(self) -> int:
        """Number of an update's segments."""
        return -(-self.length // SEGMENT)


@dataclass(frozen=True, slots=True)
class Term:
    """One update with its weight.

    Attributes:
        header: Its header, 96 bytes.
        payload: Its values, whole segments.
        weight: In 2^-32, 0 <= weight < 2^64.
    """

    header: bytes
    payload: bytes
    weight: int

    @property
    def exponent(self) -> int:
        """The exponent in the header."""
        return int.from_bytes(self.header[5:6], "big", signed=True)

    def tree(self) -> DigestTree:
        """Hash the segments."""
        return DigestTree(
            b"".join(
                leaf_digest(self.payload[at : at + SEGMENT]) for at in range(0, len(self.payload), SEGMENT)
            )
        )

    def leaf(self) -> bytes:
        """Give its leaf in the terms' tree."""
        root = sha256(b"\x02" + self.header + self.tree().root).digest()
        return sha256(b"\x33" + root + self.weight.to_bytes(8, "big")).digest()


@dataclass(frozen=True, slots=True)
class Model:
    """Parameters and outer momentum, int32 in 2^-24, whole rows; what is behind the length is zero."""

    theta: Int32
    v: Int32

    def row(self, number: int) -> bytes:
        """Give the bytes of a row, 8,192."""
        part = slice(ROW * number, ROW * (number + 1))
        return self.theta[part].astype("<i4").tobytes() + self.v[part].astype("<i4").tobytes()

    def leaves(self) -> list[bytes]:
        """Give the leaves of all rows."""
        return [_hash(_MODEL_TAG, self.row(r)) for r in range(len(self.theta) // ROW)]


def steps_of(weight: int, exponent: int) -> npt.NDArray[np.int64]:
    """Give what each int8 value adds to a sum, by the value read as a byte.

    Cut off at 2^33, from where on every sum saturates.
    """
    steps = []
    for byte in range(256):
        product = weight * (byte - 256 if byte > 127 else byte)
        down = 8 - exponent
        step = (product + (1 << down - 1)) >> down if down > 0 else product << -down
        steps.append(min(max(step, -(2**33)), 2**33))
    return np.array(steps, dtype=np.int64)


def running_sums(terms: Sequence[Term], rows: slice) -> Iterator[Int32]:
    """Give the sums of some rows after each term; the array is used again for the next."""
    part = slice(ROW * rows.start, ROW * rows.stop)
    sums = np.zeros(part.stop - part.start, dtype=np.int32)
    added = np.empty_like(sums)
    reach = 0
    for term in terms:
        steps = steps_of(term.weight, term.exponent)
        values = np.frombuffer(term.payload, dtype=np.uint8, count=len(sums), offset=part.start)
        reach += int(np.abs(steps).max())
        if reach <= _HIGH:
            # No sum can have left int32 yet.
            np.take(steps.astype(np.int32), values, out=added, mode="clip")
            np.add(sums, added, out=sums)
        else:
            sums[:] = np.clip(sums + steps[values], _LOW, _HIGH)
        yield sums


def outer_step(constants: Constants, sums: Int32, model: Model, rows: slice) -> Model:
    """Give some rows of the model after the step."""
    part = slice(ROW * rows.start, ROW * rows.stop)
    lr, mu = (
        np.int64((micro * 65536 + 500_000) // 1_000_000)
        for micro in (constants.outer_lr_micro, constants.outer_momentum_micro)
    )
    delta = sums.astype(np.int64)
    v = np.clip(((mu * model.v[part] + 0x8000) >> 16) + delta, _LOW, _HIGH)
    step = np.clip(delta + ((mu * v + 0x8000) >> 16), _LOW, _HIGH)
    theta = np.clip(model.theta[part] - ((lr * step + 0x8000) >> 16), _LOW, _HIGH)
    return Model(theta.astype(np.int32), v.astype(np.int32))


def merge(
    constants: Constants, model: Model, terms: Sequence[Term], block_rows: int = BLOCK_ROWS
) -> tuple[Model, list[list[bytes]]]:
    """Give the next model, and the leaves of the trace: for each row, one for each term."""
    theta, v = np.empty_like(model.theta), np.empty_like(model.v)
    trace: list[list[bytes]] = []
    for start in range(0, constants.rows, block_rows):
        rows = slice(start, min(start + block_rows, constants.rows))
        by_term = []
        sums = np.zeros(0, dtype=np.int32)
        for sums in running_sums(terms, rows):
            view = sums.astype("<i4", copy=False).data.cast("B")
            by_term.append(
                [
                    _hash(_SUMS_TAG, view[at : at + ROW_SUMS_BYTES])
                    for at in range(0, len(view), ROW_SUMS_BYTES)
                ]
            )
        trace += [list(leaves) for leaves in zip(*by_term, strict=True)]
        after = outer_step(constants, sums, model, rows)
        theta[ROW * rows.start : ROW * rows.stop] = after.theta
        v[ROW * rows.start : ROW * rows.stop] = after.v
    return Model(theta, v), trace


def sums_bytes(sums: Int32) -> bytes:
    """Give the bytes of sums."""
    return sums.astype("<i4").tobytes()


def sums_leaf(sums: Int32) -> bytes:
    """Hash the sums of a row."""
    return _hash(_SUMS_TAG, sums_bytes(sums))


def _hash(tag: Any, data: bytes | memoryview) -> bytes:
    digest = tag.copy()
    digest.update(data)
    return bytes(digest.digest())


# ------------------------------------------------------------------ what is posted, and by whom it is checked


@dataclass(slots=True)
class Posted:
    """What an aggregator posted: the truth until a test changes it.

    Attributes:
        constants: Of the run.
        terms: The terms; true, as the chain has them.
        old: The model before; true.
        trace: Leaves of the sums, by row and term.
        new: Leaves of the new model's rows.
        behind_terms: Leaves behind the last term.
        behind_row: Leaves behind the last term of a row, by row.
        behind_trace: Leaves behind the last row of the trace.
        behind_model: Leaves behind the last row of the new model.
    """

    constants: Constants
    terms: list[Term]
    old: Model
    trace: list[list[bytes]]
    new: list[bytes]
    behind_terms: list[bytes] = field(default_factory=list)
    behind_row: dict[int, list[bytes]] = field(default_factory=dict)
    behind_trace: list[bytes] = field(default_factory=list)
    behind_model: list[bytes] = field(default_factory=list)

    @classmethod
    def truly(cls, constants: Constants, old: Model, terms: list[Term]) -> "Posted":
        """Merge, and post it."""
        new, trace = merge(constants, old, terms)
        return cls(constants, terms, old, trace, new.leaves())

    @property
    def term_depth(self) -> int:
        """Depth of the tree below a row of the trace."""
        return (len(self.terms) - 1).bit_length()

    def terms_tree(self) -> DigestTree:
        """Hash the terms."""
        return DigestTree(b"".join([term.leaf() for term in self.terms] + self.behind_terms))

    def trace_tree(self) -> DigestTree:
        """Hash the trace."""
        width = 1 << self.term_depth
        flat = []
        for row, leaves in enumerate(self.trace):
            shown = leaves + self.behind_row.get(row, [])
            flat += shown + [bytes(32)] * (width - len(shown))
        return DigestTree(b"".join(flat + self.behind_trace))

    def old_tree(self) -> DigestTree:
        """Hash the old model."""
        return DigestTree(b"".join(self.old.leaves()))

    def new_tree(self) -> DigestTree:
        """Hash the new model."""
        return DigestTree(b"".join(self.new + self.behind_model))

    def claim(self) -> tuple[Any, ...]:
        """Give what is on the chain, as the contract takes it."""
        c = self.constants
        return (
            c.shape_digest,
            c.length,
            c.outer_lr_micro,
            c.outer_momentum_micro,
            len(self.terms),
            self.terms_tree().root,
            self._model_root(self.old_tree()),
            self.trace_tree().root,
            self._model_root(self.new_tree()),
        )

    def claim_digest(self) -> bytes:
        """Give the digest by which the claim is known."""
        shape, length, lr, mu, count, *roots = self.claim()
        numbers = (
            length.to_bytes(8, "big")
            + lr.to_bytes(4, "big")
            + mu.to_bytes(4, "big")
            + count.to_bytes(2, "big")
        )
        return bytes(Web3.keccak(b"hallmark.merge.v2" + shape + numbers + b"".join(roots)))

    def _model_root(self, tree: DigestTree) -> bytes:
        length = self.constants.length.to_bytes(8, "big")
        return sha256(b"\x32" + self.constants.shape_digest + length + tree.root).digest()

    # -------------------------------------------------------------- proofs

    def sums(self, row: int, count: int) -> bytes:
        """Give the true sums of a row after so many terms; nothing before the first."""
        found = b""
        for sums in running_sums(self.terms[:count], slice(row, row + 1)):
            found = sums_bytes(sums)
        return found

    def step_proof(self, index: int, row: int) -> "Proof":
        """Show the step of a term in a row."""
        term = self.terms[index]
        segment = row // 8
        position = row << self.term_depth | index
        return Proof(
            "proveStep",
            {
                "index": index,
                "row": row,
                "weight": term.weight,
                "termSiblings": self.terms_tree().path(index),
                "header": term.header,
                "segment": term.payload[SEGMENT * segment : SEGMENT * (segment + 1)],
                "segmentSiblings": term.tree().path(segment),
                "sumsBefore": self.sums(row, index),
                "postedLeaf": self.trace[row][index],
                "traceSiblings": step_path(self.trace_tree(), position)
                if index
                else self.trace_tree().path(position),
            },
        )

    def last_step_proof(self, row: int) -> "Proof":
        """Show the step of the model in a row."""
        count = len(self.terms)
        return Proof(
            "proveLastStep",
            {
                "row": row,
                "sums": self.sums(row, count),
                "traceSiblings": self.trace_tree().path(row << self.term_depth | (count - 1)),
                "oldRow": self.old.row(row),
                "oldSiblings": self.old_tree().path(row),
                "postedLeaf": self.new[row],
                "newSiblings": self.new_tree().path(row),
            },
        )

    def tail_proof(self, tree: int, row: int = 0) -> "Proof":
        """Show what is behind the last leaf of a tree."""
        if tree == TRACE:
            shown, position = self.trace_tree(), row << self.term_depth | (len(self.terms) - 1)
        elif tree == TERMS:
            shown, position = self.terms_tree(), len(self.terms) - 1
        else:
            shown, position = self.new_tree(), self.constants.rows - 1
        return Proof(
            "proveTail",
            {"tree": tree, "row": row, "leaf": shown.node(0, position), "siblings": shown.path(position)},
        )

    # -------------------------------------------------------------- an honest auditor

    def find_lie(self) -> "Proof | None":
        """Merge again and compare; give the proof of the first difference."""
        true = Posted.truly(self.constants, self.old, self.terms)
        for row, (posted, found) in enumerate(zip(self.trace, true.trace, strict=True)):
            for index in range(len(self.terms)):
                if posted[index] != found[index]:
                    return self.step_proof(index, row)
        for row, (leaf, computed) in enumerate(zip(self.new, true.new, strict=True)):
            if leaf != computed:
                return self.last_step_proof(row)
        if self.terms_tree().root != true.terms_tree().root:
            return self.tail_proof(TERMS)
        if self.trace_tree().root != true.trace_tree().root:
            filled = [row for row, leaves in self.behind_row.items() if any(map(any, leaves))]
            return self.tail_proof(TRACE, filled[0] if filled else self.constants.rows - 1)
        if self.new_tree().root != true.new_tree().root:
            return self.tail_proof(NEW_MODEL)
        return None


@dataclass(slots=True)
class Proof:
    """A call of the contract: which function, and the fields of its proof in order."""

    function: str
    fields: dict[str, Any]

    def arguments(self) -> tuple[Any, ...]:
        """Give the fields as the contract takes them."""
        return tuple(self.fields.values())


def step_path(tree: DigestTree, position: int) -> tuple[bytes, ...]:
    """Give the joint path of a leaf and the one before it, as in docs/spec/challenge.md."""
    apart = (position & -position).bit_length() - 1
    left, right = tree.path(position - 1), tree.path(position)
    pairs = tuple(digest for pair in zip(left[:apart], right[:apart], strict=True) for digest in pair)
    return pairs + right[apart + 1 :]
