"""A false merge is always proven, a true one never; Python, numpy and the EVM have the same integers."""

import random
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from eth_tester.exceptions import TransactionFailed
from eth_utils import to_bytes
from web3.contract import Contract

from tests.contracts import merge_literal as literal
from tests.contracts import merge_proof
from tests.contracts.merge_proof import (
    NEW_MODEL,
    OLD_MODEL,
    ROW,
    SEGMENT,
    TERMS,
    TRACE,
    Constants,
    Int32,
    Model,
    Posted,
    Proof,
    Term,
    outer_step,
    running_sums,
    steps_of,
    sums_leaf,
)
from tests.contracts.support import GAS_LIMIT, OUTSIDER, Revert, TestChain, address, decode_error

LENGTHS = (1, 1000, 1024, 1025, 5000, 3 * 8192, 20_000)
"""1, 1, 1, 2, 5, 24 and 20 rows."""


@pytest.fixture(scope="module")
def chain() -> TestChain:
    return TestChain(members=1)


@pytest.fixture(scope="module")
def contract(chain: TestChain) -> Contract:
    return chain.deploy("MergeProof")


# ------------------------------------------------------------------ claims


def random_payload(rng: random.Random, constants: Constants, values: bytes) -> bytes:
    """Give an update's values, drawn from some bytes."""
    drawn = bytes(rng.choices(values, k=constants.length))
    return drawn + bytes(SEGMENT * constants.segments - constants.length)


def random_term(rng: random.Random, constants: Constants) -> Term:
    """Give a term as training makes them, or one at the ends of what can be written."""
    header = bytearray(rng.randbytes(96))
    if rng.random() < 0.6:
        weight, exponent = rng.randrange(1 << 26, 1 << 31), rng.randrange(-18, -8)
        values = bytes(range(256))[:128] + bytes(range(129, 256))
    else:
        weight = rng.choice([0, 1, 2, 2**32 - 1, 2**32, 2**41 - 1, 2**64 - 1, rng.getrandbits(41)])
        exponent = rng.choice([-128, -64, -63, -41, -1, 0, 7, 8, 9, 31, 63, 127, rng.randrange(-64, 64)])
        values = rng.choice([b"\x7f\x81", b"\x80\x7f", b"\x00\x01\xff", bytes(range(256))])
    header[5] = exponent % 256
    return Term(bytes(header), random_payload(rng, constants, values), weight)


def random_model(rng: random.Random, constants: Constants) -> Model:
    """Give a model, its values small or at the ends of int32."""
    arrays = []
    for _ in range(2):
        values = np.frombuffer(rng.randbytes(4 * ROW * constants.rows), dtype="<i4").astype(np.int32)
        values >>= rng.choice([0, 7, 12])
        if rng.random() < 0.3:
            values[::7] = rng.choice([-(2**31), 2**31 - 1])
        values[constants.length :] = 0
        arrays.append(values)
    return Model(*arrays)


def random_claim(rng: random.Random, length: int | None = None, count: int | None = None) -> Posted:
    """Give a true claim."""
    micro = (700_000, 900_000)
    if rng.random() < 0.3:
        micro = rng.choice([0, 1, 10**6, 2**32 - 1]), rng.choice([0, 1, 10**6, 2**32 - 1])
    constants = Constants(rng.randbytes(32), length or rng.choice(LENGTHS), *micro)
    terms = [random_term(rng, constants) for _ in range(count or rng.randrange(1, 10))]
    return Posted.truly(constants, random_model(rng, constants), terms)


def call(chain: TestChain, contract: Contract, posted: Posted, proof: Proof) -> Revert | bytes:
    """Give the digest that the contract gives, or the error in which it ends."""
    function = contract.get_function_by_name(proof.function)(posted.claim(), proof.arguments())
    fields = {
        "from": address(OUTSIDER),
        "to": function.address,
        "data": function._encode_transaction_data(),
        "gas": GAS_LIMIT,
    }
    try:
        return to_bytes(hexstr=chain.tester.call(fields, "pending"))
    except TransactionFailed as error:
        return decode_error(error)


def expect(answer: Revert | bytes, name: str, *arguments: Any) -> None:
    assert isinstance(answer, Revert)
    assert (answer.name, answer.arguments) == (name, arguments)


def literally(posted: Posted, row: int) -> tuple[list[bytes], bytes]:
    """Give the leaves of a row as the literal writing has them: of the sums, and of the new model."""
    terms = [literal.Term(term.header, term.payload, term.weight) for term in posted.terms]
    sums = literal.sums(terms, row)
    part = slice(ROW * row, ROW * (row + 1))
    old = zip(sums[-1], posted.old.theta[part].tolist(), posted.old.v[part].tolist(), strict=True)
    micro = posted.constants.outer_lr_micro, posted.constants.outer_momentum_micro
    after = [literal.outer_step(delta, theta, v, *micro) for delta, theta, v in old]
    theta, v = (list(column) for column in zip(*after, strict=True))
    return [literal.sums_leaf(values) for values in sums], literal.model_leaf(theta, v)


# ------------------------------------------------------------------ the arithmetic


def test_scale_rounds_to_nearest_and_ties_up() -> None:
    halves = [literal.scale(n, -1) for n in (-3, -2, -1, 0, 1, 2, 3)]
    assert halves == [-1, -1, 0, 0, 1, 1, 2]
    assert [literal.scale(n, -3) for n in (-13, -12, -11, 3, 4, 5)] == [-2, -1, -1, 0, 1, 1]
    assert literal.scale(-5, 3) == -40


def test_steps_are_what_the_literal_writing_adds() -> None:
    rng = random.Random(1)
    for exponent in range(-128, 128):
        for weight in (0, 1, 3, 2**32 - 1, 2**41 - 1, 2**64 - 1, rng.getrandbits(41)):
            steps = steps_of(weight, exponent).tolist()
            for byte in (0, 1, 127, 128, 129, 255, rng.randrange(256)):
                exact = literal.scale(weight * literal.signed(byte), exponent - 8)
                for before in (literal.LOW, -1, 0, literal.HIGH):
                    assert literal.saturate(before + steps[byte]) == literal.saturate(before + exact)


def test_an_update_of_weight_one_is_added_as_it_is() -> None:
    """2^32 is one: 3 * 2^-4 is 3 * 2^20 in 2^-24, and a model without momentum moves by it."""
    constants = Constants(bytes(32), 1024, 1_000_000, 0)
    header = bytes(5) + (256 - 4).to_bytes(1, "big") + bytes(90)
    term = Term(header, b"\x03" * 1024 + bytes(SEGMENT - 1024), 2**32)
    zero = np.zeros(1024, dtype=np.int32)
    new, _ = merge_proof.merge(constants, Model(zero, zero), [term])
    assert (new.theta == -3 << 20).all()
    assert (new.v == 3 << 20).all()


def test_blocks_change_nothing() -> None:
    posted = random_claim(random.Random(2), 20_000, 5)
    whole = merge_proof.merge(posted.constants, posted.old, posted.terms, 64)
    for block_rows in (1, 3, 20):
        model, trace = merge_proof.merge(posted.constants, posted.old, posted.terms, block_rows)
        assert trace == whole[1]
        assert model.leaves() == whole[0].leaves()


@pytest.mark.parametrize("seed", range(12))
def test_numpy_does_what_the_literal_writing_says(seed: int) -> None:
    rng = random.Random(f"literal {seed}")
    posted = random_claim(rng, LENGTHS[seed % len(LENGTHS)])
    for row in {0, posted.constants.rows // 2, posted.constants.rows - 1}:
        assert literally(posted, row) == (posted.trace[row], posted.new[row])


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_roots_are_those_of_the_literal_writing(count: int) -> None:
    posted = random_claim(random.Random(f"roots {count}"), 5000, count)
    constants = posted.constants
    claim = posted.claim()
    roots = [sha256(b"\x02" + term.header + term.tree().root).digest() for term in posted.terms]
    leaves = [literal.term_leaf(r, term.weight) for r, term in zip(roots, posted.terms, strict=True)]
    old = [
        literal.model_leaf(*(list(np.frombuffer(part, "<i4").tolist()) for part in halves(row)))
        for row in map(posted.old.row, range(constants.rows))
    ]
    assert claim[5:] == (
        literal.tree(leaves),
        literal.model_root(old, constants.shape_digest, constants.length),
        literal.trace_root(posted.trace),
        literal.model_root(posted.new, constants.shape_digest, constants.length),
    )


def halves(row: bytes) -> tuple[bytes, bytes]:
    return row[:4096], row[4096:]


# ------------------------------------------------------------------ the truth is never proven false


@pytest.mark.parametrize("seed", range(len(LENGTHS)))
def test_a_true_claim_holds(chain: TestChain, contract: Contract, seed: int) -> None:
    """Which also says that the contract computes the leaves that numpy does."""
    rng = random.Random(f"true {seed}")
    posted = random_claim(rng, LENGTHS[seed % len(LENGTHS)])
    rows, count = posted.constants.rows, len(posted.terms)
    assert posted.find_lie() is None
    assert contract.functions.claimDigest(posted.claim()).call() == posted.claim_digest()
    for row in {0, rows - 1}:
        for index in {0, count - 1}:
            answer = call(chain, contract, posted, posted.step_proof(index, row))
            expect(answer, "MergeProofStepHolds", index, row, posted.trace[row][index])
        answer = call(chain, contract, posted, posted.last_step_proof(row))
        expect(answer, "MergeProofLastStepHolds", row, posted.new[row])
        answer = call(chain, contract, posted, posted.tail_proof(TRACE, row))
        expect(answer, "MergeProofNothingBehind", TRACE, row)
    for tree in (TERMS, NEW_MODEL):
        expect(call(chain, contract, posted, posted.tail_proof(tree)), "MergeProofNothingBehind", tree, 0)


@pytest.mark.parametrize("micro", [8, 123_457, 2**32 - 1])
def test_the_constants_of_the_step_are_rounded(chain: TestChain, contract: Contract, micro: int) -> None:
    """In 2^-16 they are 0.52, 8090.88 and 281474976.65: cut off, each would be one less."""
    rng = random.Random(micro)
    constants = Constants(bytes(32), 1024, micro, micro)
    momenta = np.frombuffer(rng.randbytes(4096), dtype="<i4").astype(np.int32)
    old = Model(np.zeros(ROW, dtype=np.int32), momenta)
    posted = Posted.truly(constants, old, [replace(random_term(rng, constants), weight=0)])
    assert literally(posted, 0) == (posted.trace[0], posted.new[0])
    answer = call(chain, contract, posted, posted.last_step_proof(0))
    expect(answer, "MergeProofLastStepHolds", 0, posted.new[0])


EXTREMES = [
    (weight, exponent, values)
    for weight in (1, 2**41 - 1, 2**64 - 1)
    for exponent in (-128, -64, 7, 8, 63, 127)
    for values in (b"\x7f\x81", b"\x80\x7f\x00\x01\xff")
]


@pytest.mark.slow
def test_extremes_are_the_same_on_the_chain(chain: TestChain, contract: Contract) -> None:
    """Largest and smallest weights and exponents, upon each other."""
    rng = random.Random(3)
    constants = Constants(bytes(32), 1024, 2**32 - 1, 2**32 - 1)
    rng.shuffle(EXTREMES)
    for start in range(0, len(EXTREMES), 6):
        terms = []
        for weight, exponent, values in EXTREMES[start : start + 6]:
            header = bytes(5) + (exponent % 256).to_bytes(1, "big") + bytes(90)
            terms.append(Term(header, random_payload(rng, constants, values), weight))
        posted = Posted.truly(constants, random_model(rng, constants), terms)
        assert literally(posted, 0) == (posted.trace[0], posted.new[0])
        for index in range(6):
            answer = call(chain, contract, posted, posted.step_proof(index, 0))
            expect(answer, "MergeProofStepHolds", index, 0, posted.trace[0][index])
        answer = call(chain, contract, posted, posted.last_step_proof(0))
        expect(answer, "MergeProofLastStepHolds", 0, posted.new[0])


# ------------------------------------------------------------------ aggregators with one vice each


Lie = Callable[[random.Random, Posted], None]
LIES: dict[str, Lie] = {}
KINDS: dict[str, str] = {}


def lie(kind: str) -> Callable[[Lie], Lie]:
    """Name the kind of proof that shows a lie."""

    def decorate(function: Lie) -> Lie:
        LIES[function.__name__], KINDS[function.__name__] = function, kind
        return function

    return decorate


def some_row(rng: random.Random, posted: Posted) -> int:
    """Give the first, the last or any row."""
    rows = posted.constants.rows
    return rng.choice([0, rows - 1, rng.randrange(rows)])


def flip(rng: random.Random, values: Int32, length: int = ROW) -> Int32:
    """Change one bit of one value."""
    changed = values.copy()
    changed.view(np.uint32)[rng.randrange(length)] ^= np.uint32(1 << rng.randrange(32))
    return changed


def true_sums(posted: Posted, row: int) -> list[Int32]:
    return [sums.copy() for sums in running_sums(posted.terms, slice(row, row + 1))]


def new_row(posted: Posted, row: int, sums: Int32) -> Model:
    return outer_step(posted.constants, sums, posted.old, slice(row, row + 1))


def merged_with(posted: Posted, **changes: Any) -> None:
    """Post the merge of something else than what is claimed."""
    other = replace(posted, **changes)
    new, posted.trace = merge_proof.merge(other.constants, other.old, other.terms)
    posted.new = new.leaves()


@lie("proveStep")
def one_bit_of_one_sum(rng: random.Random, posted: Posted) -> None:
    row, index = some_row(rng, posted), rng.randrange(len(posted.terms))
    posted.trace[row][index] = sums_leaf(flip(rng, true_sums(posted, row)[index]))


@lie("proveStep")
def all_follows_from_one_false_sum(rng: random.Random, posted: Posted) -> None:
    """One step is false, and everything after it is as it should be."""
    row, index = some_row(rng, posted), rng.randrange(len(posted.terms))
    sums = flip(rng, true_sums(posted, row)[index])
    posted.trace[row][index] = sums_leaf(sums)
    for after in range(index + 1, len(posted.terms)):
        term = posted.terms[after]
        values = np.frombuffer(term.payload, np.uint8, ROW, ROW * row)
        sums = np.clip(sums + steps_of(term.weight, term.exponent)[values], literal.LOW, literal.HIGH)
        sums = sums.astype(np.int32)
        posted.trace[row][after] = sums_leaf(sums)
    posted.new[row] = new_row(posted, row, sums).leaves()[0]


@lie("proveStep")
def sums_that_do_not_start_at_zero(rng: random.Random, posted: Posted) -> None:
    row = some_row(rng, posted)
    first = flip(rng, np.zeros(ROW, dtype=np.int32))
    first = np.clip(first.astype(np.int64) + true_sums(posted, row)[0], literal.LOW, literal.HIGH)
    posted.trace[row][0] = sums_leaf(first.astype(np.int32))


@lie("proveStep")
def a_leaf_that_is_no_sum(rng: random.Random, posted: Posted) -> None:
    row, index = some_row(rng, posted), rng.randrange(len(posted.terms))
    posted.trace[row][index] = rng.choice([bytes(32), rng.randbytes(32)])


@lie("proveStep")
def swapped_workers(rng: random.Random, posted: Posted) -> None:
    terms = list(posted.terms)
    i, j = rng.randrange(len(terms)), rng.randrange(len(terms))
    terms[i], terms[j] = terms[j], terms[i]
    merged_with(posted, terms=terms)


@lie("proveStep")
def updates_swapped_under_their_weights(rng: random.Random, posted: Posted) -> None:
    terms = list(posted.terms)
    i, j = rng.randrange(len(terms)), rng.randrange(len(terms))
    terms[i], terms[j] = replace(terms[j], weight=terms[i].weight), replace(terms[i], weight=terms[j].weight)
    merged_with(posted, terms=terms)


def with_term(rng: random.Random, posted: Posted, change: Callable[[Term], Term]) -> None:
    terms = list(posted.terms)
    i = rng.randrange(len(terms))
    terms[i] = change(terms[i])
    merged_with(posted, terms=terms)


@lie("proveStep")
def another_weight(rng: random.Random, posted: Posted) -> None:
    def change(term: Term) -> Term:
        weight = rng.choice([0, term.weight + 1, term.weight ^ 1 << rng.randrange(41), 2 * term.weight])
        return replace(term, weight=weight)

    with_term(rng, posted, change)


@lie("proveStep")
def another_shift(rng: random.Random, posted: Posted) -> None:
    def change(term: Term) -> Term:
        header = bytearray(term.header)
        header[5] = (header[5] + rng.choice([1, -1, 8])) % 256
        return replace(term, header=bytes(header))

    with_term(rng, posted, change)


@lie("proveStep")
def one_value_of_an_update(rng: random.Random, posted: Posted) -> None:
    def change(term: Term) -> Term:
        payload = bytearray(term.payload)
        payload[rng.randrange(posted.constants.length)] ^= 1 << rng.randrange(8)
        return replace(term, payload=bytes(payload))

    with_term(rng, posted, change)


@lie("proveStep")
def a_value_in_the_padding_of_an_update(rng: random.Random, posted: Posted) -> None:
    def change(term: Term) -> Term:
        payload = bytearray(term.payload)
        payload[ROW * posted.constants.rows - 1] ^= 1 << rng.randrange(8)
        return replace(term, payload=bytes(payload))

    with_term(rng, posted, change)


@lie("proveStep")
def floors_instead_of_rounding(rng: random.Random, posted: Posted) -> None:
    def floors(weight: int, exponent: int) -> npt.NDArray[np.int64]:
        numerators = [weight * literal.signed(byte) for byte in range(256)]
        down = max(0, 8 - exponent)
        steps = [(n << max(0, exponent - 8)) >> down for n in numerators]
        return np.array([min(max(s, -(2**33)), 2**33) for s in steps], dtype=np.int64)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge_proof, "steps_of", floors)
        merged_with(posted)


@lie("proveStep")
def wraps_instead_of_saturating(rng: random.Random, posted: Posted) -> None:
    row = some_row(rng, posted)
    sums = np.zeros(ROW, dtype=np.int64)
    for index, term in enumerate(posted.terms):
        values = np.frombuffer(term.payload, np.uint8, ROW, ROW * row)
        sums = (sums + steps_of(term.weight, term.exponent)[values]).astype(np.int32).astype(np.int64)
        posted.trace[row][index] = sums_leaf(sums.astype(np.int32))


@lie("proveLastStep")
def another_momentum_constant(rng: random.Random, posted: Posted) -> None:
    micro = rng.randrange(1 << 20)
    merged_with(posted, constants=replace(posted.constants, outer_momentum_micro=micro))


@lie("proveLastStep")
def another_learning_rate(rng: random.Random, posted: Posted) -> None:
    merged_with(posted, constants=replace(posted.constants, outer_lr_micro=rng.randrange(1 << 20)))


@lie("proveLastStep")
def another_old_parameter(rng: random.Random, posted: Posted) -> None:
    theta = flip(rng, posted.old.theta, posted.constants.length)
    merged_with(posted, old=replace(posted.old, theta=theta))


@lie("proveLastStep")
def another_old_momentum(rng: random.Random, posted: Posted) -> None:
    v = flip(rng, posted.old.v, posted.constants.length)
    merged_with(posted, old=replace(posted.old, v=v))


@lie("proveLastStep")
def one_bit_of_a_new_parameter(rng: random.Random, posted: Posted) -> None:
    row = some_row(rng, posted)
    true = new_row(posted, row, true_sums(posted, row)[-1])
    posted.new[row] = replace(true, theta=flip(rng, true.theta)).leaves()[0]


@lie("proveLastStep")
def one_bit_of_a_new_momentum(rng: random.Random, posted: Posted) -> None:
    row = some_row(rng, posted)
    true = new_row(posted, row, true_sums(posted, row)[-1])
    posted.new[row] = replace(true, v=flip(rng, true.v)).leaves()[0]


@lie("proveLastStep")
def something_in_the_padding_of_the_new_model(rng: random.Random, posted: Posted) -> None:
    row = posted.constants.rows - 1
    true = new_row(posted, row, true_sums(posted, row)[-1])
    theta = true.theta.copy()
    theta[-1] ^= 1 << rng.randrange(31)
    posted.new[row] = replace(true, theta=theta).leaves()[0]


@lie("proveLastStep")
def a_row_that_stays_as_it_was(rng: random.Random, posted: Posted) -> None:
    row = some_row(rng, posted)
    posted.new[row] = posted.old.leaves()[row]


@lie("proveLastStep")
def swapped_rows_of_the_new_model(rng: random.Random, posted: Posted) -> None:
    i, j = some_row(rng, posted), some_row(rng, posted)
    posted.new[i], posted.new[j] = posted.new[j], posted.new[i]


@lie("proveLastStep")
def a_leaf_that_is_no_row(rng: random.Random, posted: Posted) -> None:
    posted.new[some_row(rng, posted)] = rng.choice([bytes(32), rng.randbytes(32)])


def junk(rng: random.Random, used: int) -> list[bytes]:
    """Give leaves for the free places behind some, if there are any."""
    free = (1 << (used - 1).bit_length()) - used
    leaves = [bytes(32)] * free
    if free:
        leaves[rng.randrange(free)] = rng.randbytes(32)
    return leaves


@lie("proveTail")
def more_terms(rng: random.Random, posted: Posted) -> None:
    posted.behind_terms = junk(rng, len(posted.terms))


@lie("proveTail")
def sums_behind_the_last_term(rng: random.Random, posted: Posted) -> None:
    posted.behind_row = {some_row(rng, posted): junk(rng, len(posted.terms))}


@lie("proveTail")
def sums_behind_the_last_row(rng: random.Random, posted: Posted) -> None:
    posted.behind_trace = junk(rng, posted.constants.rows << posted.term_depth)


@lie("proveTail")
def rows_behind_the_last_row(rng: random.Random, posted: Posted) -> None:
    posted.behind_model = junk(rng, posted.constants.rows)


def tell(rng: random.Random, vice: str) -> Posted:
    """Give a claim with a lie in it; one that changes nothing is drawn again."""
    for _ in range(200):
        posted = random_claim(rng)
        truth = posted.claim()
        LIES[vice](rng, posted)
        if posted.claim() != truth:
            return posted
    raise AssertionError(f"{vice} changed nothing")


def prove(chain: TestChain, contract: Contract, posted: Posted) -> str:
    """Check that an honest auditor proves the claim false; give the kind."""
    proof = posted.find_lie()
    assert proof is not None
    assert call(chain, contract, posted, proof) == posted.claim_digest()
    return proof.function


@pytest.mark.parametrize("vice", LIES)
def test_every_lie_is_proven(chain: TestChain, contract: Contract, vice: str) -> None:
    kind = prove(chain, contract, tell(random.Random(vice), vice))
    assert kind == KINDS[vice]


@pytest.mark.slow
@pytest.mark.parametrize("vice", LIES)
def test_random_lies_are_proven(chain: TestChain, contract: Contract, vice: str) -> None:
    """16 for each vice; there are 26."""
    for trial in range(16):
        prove(chain, contract, tell(random.Random(f"{vice} {trial}"), vice))


# ------------------------------------------------------------------ proofs that are none


def tampered(rng: random.Random, proof: Proof) -> Proof:
    """Change one field."""
    fields = dict(proof.fields)
    name = rng.choice(list(fields))
    value = fields[name]
    if isinstance(value, int):
        fields[name] = rng.choice([value + 1, max(0, value - 1), value ^ 1 << rng.randrange(8)])
        if name == "tree":
            fields[name] %= 256
    elif isinstance(value, bytes):
        fields[name] = tampered_bytes(rng, value, fixed=name in ("postedLeaf", "leaf"))
    else:
        fields[name] = tampered_path(rng, value)
    return Proof(proof.function, fields)


def tampered_bytes(rng: random.Random, value: bytes, *, fixed: bool) -> bytes:
    how = rng.randrange(2 if fixed or not value else 4)
    if how == 2:
        return value[:-1]
    if how == 3:
        return value + rng.randbytes(rng.choice([1, 32, 4096]))
    if not value:
        return rng.randbytes(rng.choice([1, 4096]))
    changed = bytearray(value)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def tampered_path(rng: random.Random, path: tuple[bytes, ...]) -> tuple[bytes, ...]:
    how = rng.randrange(4)
    if how == 0 or not path:
        return (*path, rng.randbytes(32))
    at, other = rng.randrange(len(path)), rng.randrange(len(path))
    changed = list(path)
    if how == 1:
        del changed[at]
    elif how == 2:
        changed[at], changed[other] = changed[other], changed[at]
    else:
        changed[at] = tampered_bytes(rng, changed[at], fixed=True)
    return tuple(changed)


REFUSALS = {
    "MergeProofNoSuchTerm",
    "MergeProofNoSuchRow",
    "MergeProofWrongDepth",
    "MergeProofWrongRoot",
    "MergeProofStepHolds",
    "MergeProofLastStepHolds",
    "MergeProofNothingBehind",
    "MergeProofUnknownTree",
    "MergeRowWrongLength",
    "SegmentTreeWrongDepth",
    "SegmentTreeWrongHeaderLength",
    "SegmentTreeWrongSegmentLength",
    "TraceTreeWrongDepth",
}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(15))
def test_no_tampered_proof_proves_a_true_claim_false(chain: TestChain, contract: Contract, seed: int) -> None:
    rng = random.Random(f"tampered {seed}")
    posted = random_claim(rng)
    rows, count = posted.constants.rows, len(posted.terms)
    for _ in range(20):
        row = rng.randrange(rows)
        proof = rng.choice(
            [
                posted.step_proof(rng.randrange(count), row),
                posted.last_step_proof(row),
                posted.tail_proof(TRACE, row),
                posted.tail_proof(rng.choice([TERMS, NEW_MODEL])),
            ]
        )
        answer = call(chain, contract, posted, tampered(rng, proof))
        assert isinstance(answer, Revert)
        assert answer.name in REFUSALS


def changed(proof: Proof, **fields: Any) -> Proof:
    return Proof(proof.function, {**proof.fields, **fields})


def test_malformed_proofs_are_refused(chain: TestChain, contract: Contract) -> None:
    """Twenty rows of five terms: depths 5 and 3, and 2 for the three segments."""
    posted = random_claim(random.Random(8), 20_000, 5)
    step, last = posted.step_proof(2, 9), posted.last_step_proof(9)
    first, tail = posted.step_proof(0, 9), posted.tail_proof(TRACE, 9)
    many = (bytes(32),) * 5000
    claim = posted.claim()
    path = step.fields["traceSiblings"]
    swapped = (path[1], path[0], *path[2:])
    assert len(path) == 8

    def refused(proof: Proof, name: str, *arguments: Any) -> None:
        expect(call(chain, contract, posted, proof), name, *arguments)

    refused(changed(step, index=5), "MergeProofNoSuchTerm", 5, 5)
    refused(changed(step, index=2**256 - 1), "MergeProofNoSuchTerm", 2**256 - 1, 5)
    for proof in (step, last, tail):
        refused(changed(proof, row=20), "MergeProofNoSuchRow", 20, 20)
        refused(changed(proof, row=2**256 - 1), "MergeProofNoSuchRow", 2**256 - 1, 20)
    refused(changed(step, header=step.fields["header"][:-1]), "SegmentTreeWrongHeaderLength", 95)
    for length in (0, 8191, 8193, 100_000):
        refused(changed(step, segment=bytes(length)), "SegmentTreeWrongSegmentLength", length)
    for siblings in ((), (bytes(32),), many):
        refused(changed(step, segmentSiblings=siblings), "SegmentTreeWrongDepth", len(siblings), 2)
        refused(changed(step, termSiblings=siblings), "MergeProofWrongDepth", TERMS, len(siblings), 3)
        refused(changed(first, traceSiblings=siblings), "MergeProofWrongDepth", TRACE, len(siblings), 8)
        refused(changed(last, traceSiblings=siblings), "MergeProofWrongDepth", TRACE, len(siblings), 8)
        refused(changed(last, oldSiblings=siblings), "MergeProofWrongDepth", OLD_MODEL, len(siblings), 5)
        refused(changed(last, newSiblings=siblings), "MergeProofWrongDepth", NEW_MODEL, len(siblings), 5)
        refused(changed(tail, siblings=siblings), "MergeProofWrongDepth", TRACE, len(siblings), 8)
    for length in (0, 4095, 4097, 8192, 100_000):
        refused(changed(step, sumsBefore=bytes(length)), "MergeRowWrongLength", length, 4096)
        refused(changed(last, sums=bytes(length)), "MergeRowWrongLength", length, 4096)
    for length in (0, 4096, 8191, 8193, 100_000):
        refused(changed(last, oldRow=bytes(length)), "MergeRowWrongLength", length, 8192)
    refused(changed(first, sumsBefore=bytes(4096)), "MergeRowWrongLength", 4096, 0)
    refused(changed(tail, tree=OLD_MODEL), "MergeProofNoSuchRow", 9, 1)
    refused(changed(tail, tree=OLD_MODEL, row=0), "MergeProofUnknownTree", OLD_MODEL)
    refused(changed(tail, tree=0, row=0), "MergeProofUnknownTree", 0)
    refused(posted.tail_proof(TERMS, 0), "MergeProofNothingBehind", TERMS, 0)

    false = changed(step, postedLeaf=bytes(32))
    for proof, tree, root in (
        (changed(step, weight=posted.terms[2].weight + 1), TERMS, claim[5]),
        (changed(step, index=1), TERMS, claim[5]),
        (changed(step, segmentSiblings=step.fields["segmentSiblings"][::-1]), TERMS, claim[5]),
        (changed(step, segment=bytes(8192)), TERMS, claim[5]),
        (changed(step, header=bytes(96)), TERMS, claim[5]),
        (changed(step, termSiblings=step.fields["termSiblings"][::-1]), TERMS, claim[5]),
        (false, TRACE, claim[7]),
        (changed(false, traceSiblings=swapped), TRACE, claim[7]),
        (changed(step, sumsBefore=bytes(4096)), TRACE, claim[7]),
        (changed(first, postedLeaf=bytes(32)), TRACE, claim[7]),
        (changed(last, sums=bytes(4096)), TRACE, claim[7]),
        (changed(last, traceSiblings=last.fields["traceSiblings"][::-1]), TRACE, claim[7]),
        (changed(last, oldRow=bytes(8192)), OLD_MODEL, claim[6]),
        (changed(last, oldSiblings=last.fields["newSiblings"]), OLD_MODEL, claim[6]),
        (changed(last, newSiblings=last.fields["oldSiblings"]), NEW_MODEL, claim[8]),
        (changed(last, postedLeaf=bytes(32)), NEW_MODEL, claim[8]),
        (changed(tail, row=8), TRACE, claim[7]),
        (changed(tail, leaf=bytes(32)), TRACE, claim[7]),
    ):
        answer = call(chain, contract, posted, proof)
        assert isinstance(answer, Revert)
        assert (answer.name, answer.arguments[0], answer.arguments[2]) == ("MergeProofWrongRoot", tree, root)


def test_a_step_of_another_place_is_no_proof(chain: TestChain, contract: Contract) -> None:
    """All bytes are true, and of another row or term: a neighbour's sums, a leaf elsewhere."""
    posted = random_claim(random.Random(9), 20_000, 5)
    for index, row in ((2, 9), (2, 10), (1, 9), (4, 17)):
        here, step = posted.step_proof(2, 9), posted.step_proof(index, row)
        for name in ("row", "index", "sumsBefore", "postedLeaf", "traceSiblings"):
            mixed = changed(here, **{name: step.fields[name]})
            answer = call(chain, contract, posted, mixed)
            assert isinstance(answer, Revert)
            if mixed == here:
                assert answer.name == "MergeProofStepHolds"
            else:
                assert answer.name in ("MergeProofWrongRoot", "TraceTreeWrongDepth")


def test_claims_of_no_size_are_refused(chain: TestChain, contract: Contract) -> None:
    posted = random_claim(random.Random(10), 1000, 2)
    proofs = [posted.step_proof(1, 0), posted.last_step_proof(0), posted.tail_proof(TERMS)]
    for field, values in ((1, (0, 2**40 + 1, 2**64 - 1)), (4, (0, 257, 65535))):
        for value in values:
            claim = tuple(value if i == field else item for i, item in enumerate(posted.claim()))
            for proof in proofs:
                function = contract.get_function_by_name(proof.function)(claim, proof.arguments())
                expect(chain.error(function), "MergeProofBadClaim", claim[1], claim[4])


def test_a_proof_of_one_claim_is_none_of_another(chain: TestChain, contract: Contract) -> None:
    """The digest names every field, so that what is shown of a false claim says nothing about a true one."""
    posted = random_claim(random.Random(11), 5000, 3)
    digests = {posted.claim_digest()}
    claim = posted.claim()
    for i, item in enumerate(claim):
        other = item + 1 if isinstance(item, int) else bytes(32)
        changed_claim = tuple(other if j == i else field for j, field in enumerate(claim))
        digests.add(contract.functions.claimDigest(changed_claim).call())
    assert len(digests) == 10


def test_the_largest_claim(chain: TestChain, contract: Contract) -> None:
    """256 terms: depth 8, nothing behind the last one."""
    rng = random.Random(12)
    constants = Constants(bytes(32), 1024)
    term = random_term(rng, constants)
    terms = [replace(term, weight=rng.getrandbits(25)) for _ in range(256)]
    posted = Posted.truly(constants, random_model(rng, constants), terms)
    answer = call(chain, contract, posted, posted.step_proof(255, 0))
    expect(answer, "MergeProofStepHolds", 255, 0, posted.trace[0][255])
    posted.trace[0][128] = bytes(32)
    assert prove(chain, contract, posted) == "proveStep"
