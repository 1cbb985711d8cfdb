import subprocess
import sys
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import ForbiddenValueError, RangeError, RowsError
from guard.signs import SeedSigns
from guard.sketch import Engine, Sketch, code_of
from guard.spec import sketch as spec
from tests.vectors import generate
from tests.vectors.generate import aligned, packed_signs
from tests.vectors.load import Case, name_of, number, raw, section

ENGINES = [Engine.NUMPY, Engine.NUMBA]
SEED = bytes(range(32))


def values_of(recipe: dict[str, Any]) -> npt.NDArray[np.int8]:
    return np.array(generate.values_of(recipe), dtype=np.int8)


@pytest.mark.parametrize("case", section("signs"), ids=lambda case: case["seed"][:10])
def test_signs_golden(case: Case) -> None:
    signs = SeedSigns(raw(case["seed"]))
    for column in case["columns"]:
        assert packed_signs(signs.columns[column["i"]].tolist()) == column["minus"]
    for row in case["rows"]:
        assert "0x" + signs.row_digests(number(row["b"]), 1).tobytes().hex() == row["minus"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", section("segments"), ids=lambda case: f"{case['name']} {case['segment']}")
def test_segment_golden(case: Case, engine: Engine) -> None:
    sketch = Sketch(raw(case["seed"]), engine=engine)
    sketch.rows = 8 * case["segment"]
    sketch.update(values_of(case["values"]))
    assert sketch.sums().tolist() == case["sums"]
    assert sketch.norm2 == case["norm2"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", section("sketches"), ids=name_of)
def test_sketch_golden(case: Case, engine: Engine) -> None:
    sketch = Sketch(raw(case["seed"]), engine=engine)
    values = values_of(case["values"])
    for at in range(0, len(values), 8192):
        sketch.update(values[at : at + 8192])
    assert sketch.sums().tolist() == case["sums"]
    assert (sketch.norm2, sketch.code()) == (case["norm2"], number(case["code"]))


def test_atoms_are_the_sums_in_eights() -> None:
    sketch = Sketch(SEED)
    sketch.update(np.arange(8192).astype(np.int8).clip(-127))
    assert sketch.atoms().tolist() == spec.atoms(sketch.sums().tolist())


def test_auto_compiles_for_large_updates_only() -> None:
    assert Sketch(SEED, expected_rows=1 << 20).engine == Engine.NUMBA
    program = "import sys; from guard.sketch import Sketch; sys.exit(Sketch(bytes(32)).engine != 'numpy')"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_largest_sum_is_reached() -> None:
    case = next(case for case in section("sketches") if "largest" in case["name"])
    assert case["sums"][200] == 16 * 130_048


@given(
    seed=st.binary(min_size=32, max_size=32),
    content=st.binary(min_size=1, max_size=64),
    rows=st.integers(0, 40),
    cut=st.integers(0, 40),
    first=st.integers(0, 2**40),
)
@settings(max_examples=25, deadline=None)
def test_engines_equal_spec(seed: bytes, content: bytes, rows: int, cut: int, first: int) -> None:
    data = (content.replace(b"\x80", b"\x81") * (rows * 1024 // len(content) + 1))[: rows * 1024]
    expected = spec.project(seed, data, first)
    for engine in ENGINES:
        sketch = Sketch(seed, engine=engine)
        sketch.rows = first
        sketch.update(data[: 1024 * min(cut, rows)])
        sketch.update(memoryview(data)[1024 * min(cut, rows) :])
        assert sketch.sums().tolist() == expected
        assert sketch.norm2 == spec.norm2(data)
        assert sketch.code() == spec.code(expected) == code_of(np.array(expected, dtype=np.int64))
        assert sketch.rows == first + rows


@pytest.mark.parametrize("rows", [1, 15, 255, 256, 257, 1000])
def test_numba_equals_numpy_on_random_rows(rows: int) -> None:
    values = np.random.default_rng(rows).integers(-127, 128, (rows, 1024), dtype=np.int8)
    values[rows // 2] = 127
    sketches = [Sketch(SEED, engine=engine) for engine in ENGINES]
    for sketch in sketches:
        sketch.update(values)
    assert sketches[0].sums().tolist() == sketches[1].sums().tolist()
    assert sketches[0].norm2 == sketches[1].norm2 == int((values.astype(np.int64) ** 2).sum())


@pytest.mark.parametrize("engine", ENGINES)
def test_largest_rows_do_not_overflow(engine: Engine) -> None:
    """300 rows, each with the largest possible entry at the same output."""
    values = np.array(aligned(SEED, 300, 77), dtype=np.int8)
    sketch = Sketch(SEED, engine=engine)
    sketch.update(values)
    assert sketch.sums()[77] == 300 * 130_048
    assert sketch.norm2 == 300 * 1024 * 127**2


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("at", [0, 1023, 1024 * 300, 1024 * 301 - 1])
def test_minus_128_is_seen(engine: Engine, at: int) -> None:
    values = np.full(1024 * 301, -127, dtype=np.int8)
    sketch = Sketch(SEED, engine=engine)
    sketch.update(values)
    was_seen_early = sketch.has_minus_128
    values[at] = -128
    sketch.update(values)
    sketch.update(np.zeros(1024, dtype=np.int8))
    assert (was_seen_early, sketch.has_minus_128) == (False, True)
    for read in (sketch.sums, sketch.code):
        with pytest.raises(ForbiddenValueError):
            read()


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_at_all_has_every_bit_set(engine: Engine) -> None:
    sketch = Sketch(SEED, engine=engine)
    sketch.update(b"")
    assert (sketch.code(), sketch.norm2, sketch.rows) == (2**256 - 1, 0, 0)
    assert sketch.states(b"").shape == (0, 1552)


def test_what_is_no_rows_is_refused() -> None:
    sketch = Sketch(SEED)
    with pytest.raises(RowsError):
        sketch.update(bytes(1000))
    with pytest.raises(RowsError):
        sketch.update(np.zeros(1024, dtype=np.uint8))
    with pytest.raises(RowsError):
        sketch.update(np.zeros((1024, 2), dtype=np.int8)[:, 0])
    sketch.update(bytes(1024))
    with pytest.raises(RowsError, match="whole segments"):
        sketch.states(bytes(8192))
    with pytest.raises(RangeError):
        Sketch(bytes(31))


def test_rows_in_another_order_are_another_update() -> None:
    values = np.random.default_rng(0).integers(-127, 128, (16, 1024), dtype=np.int8)
    one, other = Sketch(SEED), Sketch(SEED)
    one.update(values)
    other.update(values[::-1].copy())
    assert one.sums().tolist() != other.sums().tolist()


def test_opposite_update_has_opposite_sums() -> None:
    values = np.random.default_rng(0).integers(-127, 128, (16, 1024), dtype=np.int8)
    one, other = Sketch(SEED), Sketch(SEED)
    one.update(values)
    other.update(-values)
    assert (one.sums() == -other.sums()).all()


@pytest.mark.parametrize("first", [0, 2**32 - 2, 2**40])
def test_compiled_hashes_equal_sha256(first: int) -> None:
    from guard.sketch_numba import NumbaSums, hash_rows

    state, schedule = np.empty((8, 20), dtype=np.uint32), np.empty((16, 20), dtype=np.uint32)
    hash_rows(NumbaSums(SeedSigns(SEED))._message, first, state, schedule)
    for lane in range(20):
        expected = sha256(b"\x11" + SEED + (first + lane).to_bytes(8, "big")).digest()
        assert state[:, lane].astype(">u4").tobytes() == expected


def test_small_updates_do_not_compile() -> None:
    program = (
        "import sys; from guard.sketch import Sketch; s = Sketch(bytes(32), expected_rows=8);"
        "s.update(bytes(8192)); s.code(); sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
