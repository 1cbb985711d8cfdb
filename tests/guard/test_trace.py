import tracemalloc
from hashlib import sha256
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import ForbiddenValueError, RowsError
from guard.signs import SeedSigns
from guard.sketch import Engine, Sketch
from guard.spec import trace as spec
from guard.trace import (
    LEAF_BYTES,
    STATE_0,
    STATE_BYTES,
    FirstDifference,
    Tracer,
    encode_state,
    first_difference,
    leaf_of,
    state_before,
)
from tests.vectors.generate import aligned, values_of
from tests.vectors.load import Case, name_of, raw, section

ENGINES = [Engine.NUMPY, Engine.NUMBA]
SEED = bytes(range(32))
SIGNS = SeedSigns(SEED)


def payload_of(case: Case) -> bytes:
    values = values_of(case["values"])
    return bytes(value % 256 for value in values) + bytes(-len(values) % 8192)


def random_payload(segments: int, seed: int = 0) -> npt.NDArray[np.int8]:
    return np.random.default_rng(seed).integers(-127, 128, segments * 8192, dtype=np.int8)


def traced(payload: bytes, engine: Engine, *cuts: int, seed: bytes = SEED) -> bytes:
    """Give the leaves of a payload that comes in pieces, cut at these segments."""
    tracer = Tracer(Sketch(seed, engine=engine))
    places = [0, *(8192 * cut for cut in sorted(cuts)), len(payload)]
    for start, end in pairwise(places):
        tracer.update(payload[start:end])
    return tracer.leaves()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", section("traces"), ids=name_of)
def test_trace_golden(case: Case, engine: Engine) -> None:
    seed, payload = raw(case["seed"]), payload_of(case)
    assert traced(payload, engine, seed=seed) == b"".join(raw(leaf) for leaf in case["leaves"])
    last = state_before(payload, SeedSigns(seed), len(payload) // 8192, engine=engine)
    assert last == raw(case["lastState"])
    assert leaf_of(last) == raw(case["leaves"][-1])
    assert spec.member_root(seed, payload) == raw(case["root"])


def test_negative_sums_are_in_the_vectors() -> None:
    case = next(case for case in section("traces") if "negative" in case["name"])
    state = raw(case["lastState"])
    assert int.from_bytes(state[1200:1206], "big", signed=True) == -16 * 130_048


@given(
    seed=st.binary(min_size=32, max_size=32),
    content=st.binary(min_size=1, max_size=64),
    segments=st.integers(1, 5),
    cuts=st.lists(st.integers(0, 5), max_size=3),
)
@settings(max_examples=15, deadline=None)
def test_engines_equal_spec_however_the_payload_is_cut(
    seed: bytes, content: bytes, segments: int, cuts: list[int]
) -> None:
    size = 8192 * segments
    payload = (content.replace(b"\x80", b"\x81") * (size // len(content) + 1))[:size]
    states = spec.states(seed, payload)
    signs = SeedSigns(seed)
    for engine in ENGINES:
        leaves = traced(payload, engine, *(min(cut, segments) for cut in cuts), seed=seed)
        assert leaves == b"".join(spec.leaves(seed, payload))
        for segment in {0, 1, segments // 2, segments}:
            assert state_before(payload, signs, segment, engine=engine) == states[segment]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("segments", [31, 32, 33, 70])
def test_leaves_do_not_depend_on_the_pieces(engine: Engine, segments: int) -> None:
    """Pieces around the batches that the tracer, the compiled code and numpy work in."""
    values = random_payload(segments)
    whole = traced(values.tobytes(), engine)
    assert len(whole) == 32 * segments
    assert whole == traced(values.tobytes(), engine, 1, 7, 8, 9, 31)
    tracer = Tracer(Sketch(SEED, engine=engine))
    tracer.update(values.reshape(segments, 8, 1024))
    assert tracer.leaves() == whole
    assert whole == traced(values.tobytes(), Engine.NUMPY)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_trace_changes_neither_word_nor_norm(engine: Engine) -> None:
    values = random_payload(40)
    plain, sketch = Sketch(SEED, engine=engine), Sketch(SEED, engine=engine)
    plain.update(values)
    Tracer(sketch).update(values)
    assert plain.sums().tolist() == sketch.sums().tolist()
    assert (plain.norm2, plain.code(), plain.rows) == (sketch.norm2, sketch.code(), sketch.rows)
    last = state_before(values.tobytes(), SIGNS, 40, engine=engine)
    assert last == encode_state(sketch.sums(), sketch.norm2)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("sign", [1, -1])
def test_largest_sums_keep_their_sign(engine: Engine, sign: int) -> None:
    values = np.array(aligned(SEED, 296, 255), dtype=np.int8) * np.int8(sign)
    state = state_before(values.tobytes(), SIGNS, 37, engine=engine)
    assert int.from_bytes(state[1530:1536], "big", signed=True) == sign * 296 * 130_048
    assert int.from_bytes(state[1536:], "big") == 296 * 1024 * 127**2
    assert leaf_of(state) == traced(values.tobytes(), engine)[-32:]


@pytest.mark.parametrize("engine", ENGINES)
def test_sums_of_48_bits_are_written_in_full(engine: Engine) -> None:
    """As if 2^40 values had come before: numbers that no test can sum up."""
    sketch = Sketch(SEED, engine=engine)
    most = 127 * 2**40
    sketch._sums[:] = [most, -most, -1, 0] * 64
    sketch.norm2 = 127**2 * 2**40
    line = sketch.states(bytes(8192))[0]
    expected = encode_state(sketch.sums(), sketch.norm2)
    assert line[8:].tobytes() == expected
    assert expected == spec.encode_state([most, -most, -1, 0] * 64, 127**2 * 2**40)


def test_state_0_is_zero_and_in_no_tree() -> None:
    payload = bytes(8192)
    assert state_before(payload, SIGNS, 0) == STATE_0 == bytes(STATE_BYTES) == bytes(1544)
    assert spec.states(SEED, payload)[0] == STATE_0
    # Of nothing but zeros, the states after the segments are zero too, and those are in the tree.
    assert traced(payload, Engine.NUMPY) == leaf_of(STATE_0) == sha256(b"\x20" + bytes(1544)).digest()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("wrong", [0, 1, 31, 32, 33, 64, 69])
def test_first_difference_gives_the_segment_and_the_state_before_it(engine: Engine, wrong: int) -> None:
    payload = random_payload(70).tobytes()
    leaves = bytearray(traced(payload, Engine.NUMBA))
    assert first_difference(payload, SIGNS, bytes(leaves), engine=engine) is None
    # A guard that lies once carries its lie on.
    for segment in range(wrong, 70):
        leaves[LEAF_BYTES * segment] ^= 1
    found = first_difference(payload, SIGNS, bytes(leaves), engine=engine)
    assert found == FirstDifference(wrong, state_before(payload, SIGNS, wrong))
    if wrong:
        assert leaf_of(found.state_before) == bytes(leaves[32 * wrong - 32 : 32 * wrong])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("at", [0, 8191, 40 * 8192, 50 * 8192 - 1])
def test_minus_128_has_no_trace(engine: Engine, at: int) -> None:
    values = random_payload(50)
    values[at] = -128
    tracer = Tracer(Sketch(SEED, engine=engine))
    tracer.update(values)
    segment = at // 8192
    with pytest.raises(ForbiddenValueError):
        tracer.leaves()
    with pytest.raises(ForbiddenValueError):
        first_difference(values.tobytes(), SIGNS, traced(random_payload(50).tobytes(), engine), engine=engine)
    with pytest.raises(ForbiddenValueError):
        state_before(values.tobytes(), SIGNS, segment + 1, engine=engine)
    assert len(state_before(values.tobytes(), SIGNS, segment, engine=engine)) == 1544


def test_what_is_no_segment_is_refused() -> None:
    tracer = Tracer(Sketch(SEED))
    for wrong in (
        bytes(1024),
        bytes(8191),
        np.zeros(8192, dtype=np.uint8),
        np.zeros((8192, 2), np.int8)[:, 0],
    ):
        with pytest.raises(RowsError):
            tracer.update(wrong)  # type: ignore[arg-type]
    assert tracer.leaves() == b""
    begun = Sketch(SEED)
    begun.update(bytes(8192))
    with pytest.raises(RowsError):
        Tracer(begun)
    for segment in (-1, 2):
        with pytest.raises(RowsError):
            state_before(bytes(8192), SIGNS, segment)
    for payload, leaves in ((bytes(8192), bytes(64)), (bytes(8192), bytes(31)), (bytes(8191), bytes(32))):
        with pytest.raises(RowsError):
            first_difference(payload, SIGNS, leaves)


@pytest.mark.parametrize("engine", ENGINES)
def test_memory_is_32_bytes_a_segment(engine: Engine) -> None:
    """The states of the update alone would be 1.5 kB a segment, the integers 2 kB."""
    segments = 4096
    values = np.zeros(segments * 8192, dtype=np.int8)
    values[::977] = 3
    tracer = Tracer(Sketch(SEED, engine=engine))
    tracer.update(values[: 8192 * 64])
    tracemalloc.start()
    try:
        tracer.update(values[8192 * 64 :])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(tracer.leaves()) == 32 * segments
    assert peak < 32 * segments * 9 // 8 + (4 << 20 if engine == Engine.NUMPY else 1 << 18)
