"""Differential: the gate on the chain against the model, on random and on extreme inputs."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from web3.contract import Contract

from tests.contracts.model import (
    Assay,
    Constants,
    Lane,
    Posting,
    counted,
    gate,
    pack_lanes,
    present_workers,
    unpack_lanes,
    upper_median,
)
from tests.contracts.support import Run, TestChain, with_median

NORMS = (0, 1, 2, 255, 256, 2**32, 2**63, 2**64 - 1)
EXPONENTS = (-64, -63, -1, 0, 1, 32, 62, 63)


@dataclass(frozen=True, slots=True)
class Case:
    """One call of the gate."""

    round_: int
    lanes: tuple[Lane, ...]
    presence: int
    posting: Posting
    yardstick: int


def random_constants(rng: random.Random) -> Constants:
    """Give constants anywhere in their ranges."""
    divisor = rng.choice([1, 2, 10, 65536, rng.randint(1, 65536)])
    accept = rng.randint(1, 8191)
    return Constants(
        yardstick_keep=rng.randrange(divisor),
        yardstick_gain=rng.choice([0, 65536, rng.randint(0, 65536)]),
        yardstick_divisor=divisor,
        yardstick_offset=rng.choice([0, 256, rng.randint(0, 256)]),
        evidence_divisor=rng.choice([1, 2**31, rng.randint(1, 2**20)]),
        evidence_min=rng.choice([0, -(2**31), -rng.randint(0, 9000)]),
        evidence_max=rng.choice([0, 2**31 - 1, rng.randint(0, 9000)]),
        evidence_floor=rng.choice([0, -8192, -rng.randint(0, 8192)]),
        fault_evidence=rng.choice([0, 2**31 - 1, rng.randint(0, 9000)]),
        accept_below=accept,
        ban_from=rng.randint(accept, 8191),
        score_above=rng.choice([-(2**31), 2**31 - 1, -256, 256, rng.randint(-256, 256)]),
        alive_factor=rng.choice([1, 65536, rng.randint(1, 65536)]),
        duplicate_bits=rng.choice([0, 16, 63, 64, 65, 256, rng.randint(0, 256)]),
    )


def random_lane(rng: random.Random) -> Lane:
    """Give a lane anywhere in its range, full counters and both signs included."""
    return Lane(
        rng.choice([0, -16384, 16383, rng.randint(-16384, 16383)]),
        rng.choice([0, -8192, 8191, 7167, 7168, 1023, rng.randint(-8192, 8191), rng.randint(-2000, 2000)]),
        rng.choice([0, 8191, 8190, rng.randint(0, 8191)]),
        rng.choice([0, 2047, 2046, rng.randint(0, 2047)]),
        rng.randint(0, 2047),
    )


def random_code(rng: random.Random, anchor_code: int) -> int:
    """Give a code at any distance, the extremes included."""
    flips = rng.choice([0, 1, 128, 255, 256, rng.randint(0, 256), rng.randint(100, 140)])
    return anchor_code ^ sum(1 << bit for bit in rng.sample(range(256), flips))


def random_assay(rng: random.Random, anchor: Assay) -> Assay:
    """Give one worker's words, at and around the edge of being alive."""
    exponent = rng.choice([anchor.exponent, rng.choice(EXPONENTS), rng.randint(-64, 63)])
    norm2 = rng.choice(
        [rng.choice(NORMS), rng.randrange(2**64), anchor.norm2 // 256, anchor.norm2 // 256 + 1]
    )
    return Assay(random_code(rng, anchor.code), norm2, exponent)


def with_copies(rng: random.Random, constants: Constants, assays: list[Assay]) -> list[Assay]:
    """Make some words near others: equal, exactly as near as copies are, and one bit further."""
    near = list(assays)
    for k in range(len(near)):
        other = rng.choice(near)
        if other.code and near[k].code and rng.random() < 0.4:
            bits = constants.duplicate_bits
            flips = min(256, rng.choice([0, bits, bits + 1, rng.randint(0, bits)]))
            code = other.code ^ sum(1 << bit for bit in rng.sample(range(256), flips))
            near[k] = replace(near[k], code=code)
    return near


def random_case(rng: random.Random, constants: Constants, members: int) -> Case:
    """Give a well-formed case with the right median."""
    lanes = [random_lane(rng) if rng.random() < 0.8 else Lane() for _ in range(members)]
    presence = rng.choice([2**members - 1, rng.getrandbits(members), rng.getrandbits(members)])
    anchor = Assay(
        rng.choice([0, 2**256 - 1, rng.getrandbits(256)]),
        rng.choice([rng.choice(NORMS), rng.randrange(2**64)]),
        rng.choice([rng.choice(EXPONENTS), rng.randint(-64, 63)]),
    )
    workers = present_workers(presence, members)
    assays, unavailable, malformed = [], 0, 0
    for index in workers:
        status = rng.choices(["committed", "unavailable", "malformed"], [8, 1, 1])[0]
        unavailable |= (status == "unavailable") << index
        malformed |= (status == "malformed") << index
        assays.append(random_assay(rng, anchor) if status == "committed" else Assay())
    if rng.random() < 0.5:
        assays = with_copies(rng, constants, assays)
    posting = with_median(
        constants, lanes, presence, Posting(anchor, 0, tuple(assays), unavailable, malformed)
    )
    yardstick = rng.choice([0, 1, 2, 2**25, rng.randrange(2**17), rng.randrange(2**14)])
    return Case(
        rng.choice([1, 2047, 2048, 2**32 - 1, rng.randrange(2**32)]),
        tuple(lanes),
        presence,
        posting,
        yardstick,
    )


def assert_equal(judge: Callable[..., object], constants: Constants, case: Case) -> None:
    """Compare the chain with the model."""
    result = judge(
        case.round_,
        len(case.lanes),
        1,
        case.presence,
        case.posting.encode(),
        case.yardstick,
        pack_lanes(list(case.lanes)),
    )
    approved, yardstick, lanes = gate(
        constants, case.round_, list(case.lanes), case.presence, case.posting, case.yardstick
    )
    assert result == [approved, yardstick, pack_lanes(lanes)]


@pytest.fixture(scope="module")
def bench() -> TestChain:
    return TestChain(members=1)


def judge_of(spec: Contract) -> Callable[..., object]:
    return lambda *arguments: spec.functions.judge(*arguments).call()


@pytest.mark.parametrize("seed", range(12))
def test_judge_random_inputs_default_constants(bench: TestChain, seed: int) -> None:
    rng = random.Random(seed)
    constants = Constants()
    judge = judge_of(bench.deploy("GateSpec", constants.as_tuple()))
    for members in (2, 3, 4, 5, 6, 9, 17, rng.randint(2, 60)):
        assert_equal(judge, constants, random_case(rng, constants, members))


@pytest.mark.parametrize("seed", range(24))
def test_judge_random_inputs_random_constants(bench: TestChain, seed: int) -> None:
    rng = random.Random(1000 + seed)
    constants = random_constants(rng)
    judge = judge_of(bench.deploy("GateSpec", constants.as_tuple()))
    for members in (2, 5, 8, 9, 10, 12, rng.randint(2, 40)):
        assert_equal(judge, constants, random_case(rng, constants, members))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100))
def test_judge_many_random_inputs(bench: TestChain, seed: int) -> None:
    rng = random.Random(100_000 + seed)
    constants = random_constants(rng)
    judge = judge_of(bench.deploy("GateSpec", constants.as_tuple()))
    for members in [*range(2, 14), 31, 32, 33, 64, 65, 255, 256]:
        assert_equal(judge, constants, random_case(rng, constants, members))


def test_judge_the_largest_cohort(bench: TestChain) -> None:
    rng = random.Random(256)
    constants = Constants()
    judge = judge_of(bench.deploy("GateSpec", constants.as_tuple()))
    for members in (253, 254, 255, 256):
        assert_equal(judge, constants, random_case(rng, constants, members))


def test_judge_every_distance(bench: TestChain) -> None:
    constants = Constants()
    judge = judge_of(bench.deploy("GateSpec", constants.as_tuple()))
    rng = random.Random(5)
    anchor = Assay(rng.getrandbits(256), 1000, 0)
    for first in (0, 86, 172):
        distances = range(first, min(first + 86, 257))
        codes = [anchor.code ^ sum(1 << bit for bit in rng.sample(range(256), d)) for d in distances]
        assays = tuple(Assay(code, 1000, 0) for code in codes)
        lanes = [Lane() for _ in range(len(codes) + 1)]
        presence = 2 ** len(lanes) - 1
        posting = with_median(constants, lanes, presence, Posting(anchor, 0, assays))
        for yardstick in (0, 1, 1 + 256 * 105, 1 + 256 * 256):
            assert_equal(judge, constants, Case(3, tuple(lanes), presence, posting, yardstick))


def test_judge_each_side_of_alive(bench: TestChain) -> None:
    constants = Constants()
    judge = judge_of(bench.deploy("GateSpec", constants.as_tuple()))
    anchor_norm2 = 2**63 + 12345
    for anchor_exponent in (-64, -1, 0, 63):
        assays = []
        for exponent in (-64, -33, -2, -1, 0, 1, 2, 31, 63):
            k = exponent - anchor_exponent
            edge = -(-anchor_norm2 * 4 ** max(-k, 0) // (256 * 4 ** max(k, 0)))
            assays += [Assay(1, n, exponent) for n in (edge - 1, edge, 1, 0) if 0 <= n < 2**64]
        lanes = [Lane() for _ in range(len(assays) + 1)]
        presence = 2 ** len(lanes) - 1
        for norm2 in (anchor_norm2, 0, 1, 255, 256, 257):
            posting = Posting(Assay(0, norm2, anchor_exponent), 0, tuple(assays))
            posting = with_median(constants, lanes, presence, posting)
            assert_equal(judge, constants, Case(3, tuple(lanes), presence, posting, 7))


def test_judge_refuses_every_wrong_median(bench: TestChain) -> None:
    rng = random.Random(77)
    constants = Constants()
    spec = bench.deploy("GateSpec", constants.as_tuple())
    for members in (2, 3, 6, 9):
        case = random_case(rng, constants, members)
        scores = sorted(counted(constants, list(case.lanes), case.presence, case.posting).values())
        right = upper_median(scores)
        for x in {*scores, right - 1, right + 1, right - 2, right + 2, 0, 300, -300} - {right}:
            posting = replace(case.posting, x=x)
            error = bench.error(
                spec.functions.judge(
                    1, members, 1, case.presence, posting.encode(), 9, pack_lanes(list(case.lanes))
                )
            )
            assert error.name == "GateWrongMedian"
            expected = (
                (x, len(scores), sum(s < x for s in scores), scores.count(x)) if scores else (x, 0, 0, 0)
            )
            assert error.arguments == expected


@pytest.mark.parametrize("bits", [0, 1, 16, 63, 64, 65, 127, 128, 255, 256])
def test_copies_are_those_of_the_double_loop(bench: TestChain, bits: int) -> None:
    harness = bench.deploy("LibraryHarness")
    rng = random.Random(bits)
    for count in (0, 1, 2, 7, 8, 9, 15, 16, 17, 33, rng.randint(34, 80)):
        words: list[int] = []
        for _ in range(count):
            base = rng.choice([0, 2**256 - 1, rng.getrandbits(256), *words])
            flips = rng.choice([0, 1, bits, bits + 1, rng.randint(0, 256)])
            words.append(base ^ sum(1 << bit for bit in rng.sample(range(256), min(256, flips))))
        copies = sum(
            any((words[j] ^ words[k]).bit_count() <= bits for j in range(k)) << k for k in range(count)
        )
        assert harness.functions.copiesAmong(words, bits).call() == copies


def test_copies_among_the_most_words(bench: TestChain) -> None:
    """Folds that are all the same are no reason to call different words copies."""
    harness = bench.deploy("LibraryHarness")
    rng = random.Random(256)
    low = [rng.getrandbits(64) for _ in range(128)]
    words = [quarter | quarter << 64 for quarter in low] * 2
    copies = harness.functions.copiesAmong(words, 0).call()
    assert copies == (2**128 - 1) << 128
    far = [sum((rng.random() < 0.3) << bit for bit in range(256)) for _ in range(256)]
    far[255] = far[0] ^ 0xFFFF << 120
    assert harness.functions.copiesAmong(far, 16).call() == 1 << 255
    assert harness.functions.copiesAmong(far, 15).call() == 0


def test_judge_refuses_wrong_cohorts(bench: TestChain) -> None:
    spec = bench.deploy("GateSpec", Constants().as_tuple())
    payload = Posting(Assay(), 0, ()).encode()
    for members, words in ((0, 0), (1, 1), (257, 65), (5, 1), (4, 2)):
        error = bench.error(spec.functions.judge(1, members, 1, 0, payload, 0, [0] * words))
        assert (error.name, error.arguments) == ("GateWrongCohort", (members, words))
    error = bench.error(spec.functions.judge(1, 4, 1, 16, payload, 0, [0]))
    assert (error.name, error.arguments) == ("GateUnknownMember", (16, 4))


def test_lanes_pack_and_unpack(bench: TestChain) -> None:
    harness = bench.deploy("LibraryHarness")
    rng = random.Random(8)
    for _ in range(20):
        lanes = [random_lane(rng) for _ in range(4)]
        [word] = pack_lanes(lanes)
        assert unpack_lanes([word], 4) == lanes
        for index, lane in enumerate(lanes):
            assert harness.functions.unpackLane(word, index).call() == [
                lane.ema,
                lane.llr,
                lane.accepted,
                lane.refused,
                lane.last_round,
                lane.accepted + lane.refused > 0,
            ]


def test_count_bits(bench: TestChain) -> None:
    harness = bench.deploy("LibraryHarness")
    rng = random.Random(9)
    words = [0, 1, 2**255, 2**256 - 1, 2**256 - 2, 2**255 - 1, 0x55 * (2**256 // 255)]
    words += [rng.getrandbits(256) for _ in range(100)]
    words += [sum(1 << b for b in rng.sample(range(256), n)) for n in range(257)]
    assert harness.functions.countBits(words).call() == [word.bit_count() for word in words]


def test_judge_equals_settle(run: Run, rng: random.Random) -> None:
    run.reach_sealed(1)
    posting = run.posting(rng)
    approved, yardstick, lanes = run.spec.functions.judge(1, 6, 1, 63, posting.encode(), 0, [0, 0]).call()
    run.settle(1, posting)
    assert (run.state()["yardstick"], run.lane_words()) == (yardstick, lanes)
    assert run.state()["anyApproved"] == (approved != 0)
