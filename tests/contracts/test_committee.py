"""Several guards: what they read together, who may post it, and what one of them alone can do."""

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from web3.contract import Contract
from web3.logs import DISCARD

from tests.contracts.model import (
    Assay,
    Constants,
    Lane,
    Posting,
    gate,
    pack_lanes,
    present_guards,
    present_workers,
    quorum,
    reading,
    score,
    size,
)
from tests.contracts.support import (
    AGGREGATOR,
    BOND_WEI,
    DEPLOYER,
    NOBODY,
    OUTSIDER,
    Actor,
    Revert,
    Run,
    TestChain,
    address,
    with_median,
)
from tests.contracts.test_gate import (
    EXPONENTS,
    NORMS,
    Case,
    random_assay,
    random_constants,
    random_lane,
    with_copies,
)
from tests.contracts.test_gate import random_case as one_guard_case

WORKERS, GUARDS = 5, 3
MEMBERS = WORKERS + GUARDS
FULL = (1 << MEMBERS) - 1
CHALLENGE = 6
MINIMUM = 10**16
IDLE, OPEN, SEALED, SETTLED = range(4)
NO_ANCHOR = 1


def refuse(error: Revert, name: str, *arguments: object) -> None:
    assert (error.name, error.arguments) == (name, arguments)


# ------------------------------------------------------------ differential: the committee against the model


def random_presence(rng: random.Random, members: int, guards: int) -> int:
    """Give a presence with a quorum of guards."""
    there = rng.sample(range(members - guards, members), rng.randint(quorum(guards), guards))
    return rng.getrandbits(members - guards) | sum(1 << i for i in there)


def random_voices(rng: random.Random, count: int) -> list[Assay]:
    """Give anchors with ties in codes and norms, and with the extremes of both."""
    base = rng.getrandbits(256)
    codes = [base, base ^ (2**256 - 1), 0, 2**256 - 1, rng.getrandbits(256)]
    power = rng.randrange(0, 31)
    same = [Assay(0, 4**k, power - k) for k in range(power + 1)]  # all of them 4^power
    kind = rng.randrange(4)
    voices = []
    for _ in range(count):
        code = base ^ rng.getrandbits(256) & rng.getrandbits(256) if kind else rng.choice(codes)
        norm2, exponent = rng.choice([rng.choice(NORMS), rng.randrange(2**64)]), rng.randint(-64, 63)
        if kind == 1:
            tie = rng.choice(same)
            norm2, exponent = tie.norm2, tie.exponent
        elif kind == 2:
            norm2, exponent = rng.choice([0, 1, 2**64 - 1]), rng.choice(EXPONENTS)
        voices.append(Assay(code, norm2, exponent))
    return voices


def random_case(rng: random.Random, constants: Constants, members: int, guards: int) -> Case:
    """Give a well-formed round of several guards."""
    presence = random_presence(rng, members, guards)
    present = present_guards(presence, members, guards)
    lost = rng.sample(present, rng.randint(0, len(present) - quorum(guards)))
    unavailable = sum(1 << i for i in lost if rng.random() < 0.5)
    malformed = sum(1 << i for i in lost) & ~unavailable
    heard = random_voices(rng, len(present) - len(lost))
    anchor = reading(heard)
    rest = iter(heard)
    voices = tuple(Assay() if i in lost else next(rest) for i in present)
    assays = []
    for index in present_workers(presence, members, guards):
        status = rng.choices(["committed", "unavailable", "malformed"], [8, 1, 1])[0]
        unavailable |= (status == "unavailable") << index
        malformed |= (status == "malformed") << index
        assays.append(random_assay(rng, anchor) if status == "committed" else Assay())
    if rng.random() < 0.5:
        assays = with_copies(rng, constants, assays)
    lanes = [random_lane(rng) if rng.random() < 0.8 else Lane() for _ in range(members)]
    posting = Posting(anchor, 0, tuple(assays), unavailable, malformed, guards=voices)
    posting = replace(posting, poster=rng.randrange(guards), trace_root=rng.randbytes(32))
    posting = with_median(constants, lanes, presence, posting, guards)
    yardstick = rng.choice([0, 1, 2**25, rng.randrange(2**14)])
    return Case(rng.choice([1, 2047, 2048, 2**32 - 1]), tuple(lanes), presence, posting, yardstick)


def arguments(case: Case, guards: int) -> tuple[Any, ...]:
    return (
        case.round_,
        len(case.lanes),
        guards,
        case.presence,
        case.posting.encode(),
        case.yardstick,
        pack_lanes(list(case.lanes)),
    )


def assert_equal(spec: Contract, constants: Constants, case: Case, guards: int) -> None:
    approved, yardstick, lanes = gate(
        constants, case.round_, list(case.lanes), case.presence, case.posting, case.yardstick, guards
    )
    result = spec.functions.judge(*arguments(case, guards)).call()
    assert result == [approved, yardstick, pack_lanes(lanes)]


@pytest.fixture(scope="module")
def bench() -> TestChain:
    return TestChain(members=1)


@pytest.fixture(scope="module")
def spec(bench: TestChain) -> Contract:
    return bench.deploy("GateSpec", Constants().as_tuple())


@pytest.mark.parametrize("guards", [3, 5, 7, 15])
@pytest.mark.parametrize("seed", range(4))
def test_judge_random_rounds(spec: Contract, guards: int, seed: int) -> None:
    rng = random.Random(1000 * guards + seed)
    for workers in (1, 2, 3, 4, rng.randint(5, 40)):
        assert_equal(spec, Constants(), random_case(rng, Constants(), workers + guards, guards), guards)


@pytest.mark.parametrize("seed", range(4))
def test_judge_random_constants(bench: TestChain, seed: int) -> None:
    rng = random.Random(7000 + seed)
    constants = random_constants(rng)
    spec = bench.deploy("GateSpec", constants.as_tuple())
    for guards in (3, 5, 15):
        members = guards + rng.randint(1, 20)
        assert_equal(spec, constants, random_case(rng, constants, members, guards), guards)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_judge_many_random_rounds(bench: TestChain, seed: int) -> None:
    rng = random.Random(700_000 + seed)
    constants = random_constants(rng)
    spec = bench.deploy("GateSpec", constants.as_tuple())
    for guards in range(3, 16, 2):
        for workers in (1, 2, 3, 4, 5, rng.randint(6, 60)):
            assert_equal(spec, constants, random_case(rng, constants, workers + guards, guards), guards)


def test_judge_the_largest_cohort(spec: Contract) -> None:
    rng = random.Random(256)
    for guards in (3, 15):
        for members in (253, 256):
            assert_equal(spec, Constants(), random_case(rng, Constants(), members, guards), guards)


@pytest.mark.parametrize("guards", [3, 5, 15])
def test_the_judge_and_the_committee_are_the_spec_s(bench: TestChain, spec: Contract, guards: int) -> None:
    """A ledger's judge, the committee's rules and the spec give the same lanes and the same refusals."""
    rng = random.Random(guards)
    committee = bench.deploy("LibraryHarness").functions
    judge = bench.deploy("Judge", Constants().as_tuple(), 9 + guards, guards).functions.judge
    for _ in range(3):
        case = random_case(rng, Constants(), 9 + guards, guards)
        round_, members, _, presence, payload, yardstick, lanes = arguments(case, guards)
        moved = committee.examine(round_, members, guards, presence, payload, lanes).call()
        approved, after, expected = gate(
            Constants(), round_, list(case.lanes), presence, case.posting, yardstick, guards
        )
        assert judge(round_, presence, payload, yardstick, joined(lanes)).call() == [
            approved,
            after,
            joined(pack_lanes(expected)),
        ]
        # Of the model only the guards' lanes: workers are the gate's.
        both = [*case.lanes[:9], *expected[9:]]
        assert moved == pack_lanes(both)
        wrong = replace(case.posting, anchor=replace(case.posting.anchor, code=case.posting.anchor.code ^ 8))
        wrong = with_median(Constants(), list(case.lanes), presence, wrong, guards)
        calls = (
            committee.examine(round_, members, guards, presence, wrong.encode(), lanes),
            spec.functions.judge(round_, members, guards, presence, wrong.encode(), yardstick, lanes),
            judge(round_, presence, wrong.encode(), yardstick, joined(lanes)),
        )
        for call in calls:
            refuse(bench.error(call), "CommitteeWrongCode", wrong.anchor.code, case.posting.anchor.code)


def joined(words: list[int]) -> bytes:
    return b"".join(word.to_bytes(32, "big") for word in words)


@pytest.mark.parametrize("seed", range(4))
def test_the_judge_of_one_guard_is_the_spec_s(bench: TestChain, seed: int) -> None:
    rng = random.Random(9000 + seed)
    constants = random_constants(rng)
    for members in (2, 5, rng.randint(6, 60)):
        judge = bench.deploy("Judge", constants.as_tuple(), members, 1).functions.judge
        case = one_guard_case(rng, constants, members)
        before = joined(pack_lanes(list(case.lanes)))
        approved, yardstick, lanes = gate(
            constants, case.round_, list(case.lanes), case.presence, case.posting, case.yardstick
        )
        given = (case.round_, case.presence, case.posting.encode(), case.yardstick)
        assert judge(*given, before).call() == [approved, yardstick, joined(pack_lanes(lanes))]
        for wrong in (before[:-32], before + bytes(32)):
            error = bench.error(judge(*given, wrong))
            refuse(error, "GateWrongCohort", members, len(wrong) // 32)


def every_reading(rng: random.Random, guards: int) -> Iterator[tuple[list[Assay], Assay]]:
    """Give voices that are all the same but for one bit each, so that bit j has j mod (n + 1) ones."""
    for count in range(quorum(guards), guards + 1):
        codes = [0] * count
        for j in range(256):
            for k in rng.sample(range(count), j % (count + 1)):
                codes[k] |= 1 << j
        voices = [Assay(code, 1, 0) for code in codes]
        expected = sum((2 * (j % (count + 1)) >= count) << j for j in range(256))
        yield voices, Assay(expected, 1, 0)


@pytest.mark.parametrize("guards", [3, 5, 7, 9, 11, 13, 15])
def test_every_count_of_ones_for_every_number_of_voices(bench: TestChain, guards: int) -> None:
    rng = random.Random(guards)
    committee = bench.deploy("LibraryHarness").functions
    members = guards + 1
    lanes = [0] * -(-members // 4)
    for voices, expected in every_reading(rng, guards):
        assert reading(voices) == expected
        presence = ((1 << len(voices)) - 1) << 1
        posting = Posting(expected, 0, (), guards=tuple(voices))
        committee.examine(1, members, guards, presence, posting.encode(), lanes).call()
        for bit in (0, 77, 255):
            wrong = replace(posting, anchor=replace(expected, code=expected.code ^ 1 << bit))
            error = bench.error(committee.examine(1, members, guards, presence, wrong.encode(), lanes))
            refuse(error, "CommitteeWrongCode", wrong.anchor.code, expected.code)


def test_the_lower_median_is_exact(bench: TestChain) -> None:
    """Norms that differ by one part in 2^64, by an exponent alone, or not at all."""
    committee = bench.deploy("LibraryHarness").functions
    cases = [
        [(2**64 - 1, 62), (2**62, 63), (2**62 - 1, 63)],
        [(4, 0), (1, 1), (16, -1)],
        [(16, -1), (4, 0), (1, 1)],
        [(0, 63), (0, -64), (1, -64)],
        [(1, 63), (2**64 - 1, -64), (2**64 - 1, 63)],
        [(1, 0), (2**64 - 1, -32), (2**64 - 1, -33)],
        [(3, 5), (3, 5), (2, 5)],
        [(1, 1), (4, 0), (3, 0), (5, 0), (0, 9)],
        [(7, 0), (7, 0)],
        [(9, 0), (7, 0)],
        [(7, 0), (9, 0), (8, 0), (6, 0)],
    ]
    for norms in cases:
        guards = 3 if len(norms) < 4 else 5
        voices = [Assay(5, norm2, exponent) for norm2, exponent in norms]
        order = sorted((size(voice), k) for k, voice in enumerate(voices))
        _, median = order[(len(voices) - 1) // 2]
        members, presence = guards + 1, ((1 << len(voices)) - 1) << 1
        lanes = [0] * -(-members // 4)
        for posted in {*voices, Assay(5, 1, 1), Assay(5, 4, 0), Assay(5, 16, -1)}:
            call = committee.examine(
                1, members, guards, presence, Posting(posted, 0, (), guards=tuple(voices)).encode(), lanes
            )
            right = voices[median]
            if posted == right:
                call.call()
            else:
                facts = (posted.norm2, posted.exponent, median, right.norm2, right.exponent)
                refuse(bench.error(call), "CommitteeWrongNorm", *facts)


def test_a_guard_s_lane_says_how_often_it_agreed(bench: TestChain) -> None:
    committee = bench.deploy("LibraryHarness").functions
    code = random.Random(1).getrandbits(256)
    near, half, far = code ^ 0b111, code ^ (2**128 - 1), code ^ (2**256 - 1)
    assert [score(c, code) for c in (near, half, far)] == [250, 0, -256]
    voices = (*(Assay(c, 1, 0) for c in (code, code, code, code, half, far, near)), Assay())
    lanes = [Lane(), *(Lane(ema=100, llr=-3, accepted=5, refused=7, last_round=1) for _ in range(9))]
    lanes[1] = Lane(ema=0, llr=8191, accepted=8191, refused=2047, last_round=0)
    # Of nine guards, number 7 is there and unavailable, number 8 absent.
    assert reading(list(voices[:7])).code == code
    posting = Posting(Assay(code, 1, 0), 0, (), unavailable=1 << 8, guards=voices)
    after = committee.examine(9, 10, 9, 0x1FE, posting.encode(), pack_lanes(lanes)).call()
    agreed = Lane(100 + ((64 * 256 - 100) >> 2), -3, 6, 7, 9)
    assert after == pack_lanes(
        [
            Lane(),
            Lane(4096, 8191, 8191, 2047, 9),
            agreed,
            agreed,
            agreed,
            Lane(100 + (-100 >> 2), -3, 5, 8, 9),
            Lane(100 + ((64 * -256 - 100) >> 2), -3, 5, 8, 9),
            Lane(100 + ((64 * 250 - 100) >> 2), -3, 6, 7, 9),
            Lane(100, -3, 5, 8, 9),
            lanes[9],
        ]
    )


@pytest.mark.parametrize(
    ("guards", "members"), [(0, 4), (2, 8), (4, 8), (16, 40), (17, 40), (3, 3), (5, 5), (7, 6), (255, 256)]
)
def test_the_committee_refuses_sizes(bench: TestChain, spec: Contract, guards: int, members: int) -> None:
    committee = bench.deploy("LibraryHarness").functions
    lanes, payload = [0] * -(-members // 4), Posting(Assay(), 0, ()).encode()
    error = bench.error(committee.examine(1, members, guards, 0, payload, lanes))
    refuse(error, "CommitteeWrongSize", guards, members)
    error = bench.error(spec.functions.judge(1, members, guards, 0, payload, 0, lanes))
    if guards >= members:
        refuse(error, "GateWrongCohort", members, len(lanes))
    elif guards == 0:
        refuse(error, "GateNoSuchPoster", 0, 0)
    else:
        refuse(error, "CommitteeWrongSize", guards, members)


def test_the_committee_refuses_what_no_ledger_would_ask(bench: TestChain) -> None:
    committee = bench.deploy("LibraryHarness").functions
    voices = (Assay(1, 1, 0),) * 3
    payload = Posting(voices[0], 0, (), guards=voices).encode()
    assert committee.examine(1, 4, 3, 0xE, payload, [0]).call() != [0]
    refuse(bench.error(committee.examine(1, 4, 3, 0xE, payload, [0, 0])), "GateWrongCohort", 4, 2)
    refuse(bench.error(committee.examine(1, 257, 3, 0xE, payload, [0] * 65)), "GateWrongCohort", 257, 65)
    refuse(bench.error(committee.examine(1, 4, 3, 0x1E, payload, [0])), "GateUnknownMember", 0x1E, 4)
    for wrong in (payload[:-1], payload + b"\0", b""):
        error = bench.error(committee.examine(1, 4, 3, 0xE, wrong, [0]))
        refuse(error, "GateWrongPayloadLength", len(wrong), 160 + 3 * 41)


# ------------------------------------------------------------------------------- a ledger with three guards


@pytest.fixture(scope="module")
def _three() -> Run:
    return Run.deploy(TestChain(members=12), WORKERS, guards=GUARDS)


@pytest.fixture
def run(_three: Run) -> Iterator[Run]:
    """A run of five workers and three guards, its first round open."""
    yield from between_snapshots(_three)


def between_snapshots(run: Run) -> Iterator[Run]:
    snapshot = run.chain.tester.take_snapshot()
    lanes, yardstick = list(run.lanes), run.yardstick
    yield run
    run.chain.tester.revert_to_snapshot(snapshot)
    run.lanes, run.yardstick = lanes, yardstick


def settle_error(run: Run, posting: Posting, sender: int | None = None, round_: int = 1) -> Revert:
    key = run.guard_number(posting.poster).signer_key if sender is None else sender
    return run.chain.error(run.ledger.functions.settle(round_, posting.encode()), key)


def flipped(seed: bytes, byte: int) -> bytes:
    return seed[:byte] + bytes([seed[byte] ^ 1]) + seed[byte + 1 :]


def rejudged(run: Run, posting: Posting, presence: int = FULL) -> Posting:
    """Give the posting with the median that belongs to its header."""
    return with_median(run.constants, run.lanes, presence, posting, run.guards)


def test_facts(run: Run) -> None:
    functions = run.ledger.functions
    assert functions.guards().call() == GUARDS
    assert functions.guardSigner().call() == run.members[WORKERS].signer
    assert functions.bondedGuards().call() == 0


@pytest.mark.parametrize("absent", [(), (0, 3), (WORKERS,), (MEMBERS - 1,), (1, WORKERS + 1)])
def test_three_rounds_equal_the_model(run: Run, rng: random.Random, absent: tuple[int, ...]) -> None:
    for round_ in (1, 2, 3):
        run.reach_sealed(round_, absent)
        posting = replace(run.posting(rng), poster=round_ % 3)
        receipt = run.settle(round_, posting)
        [event] = run.ledger.events.RoundSettled().process_receipt(receipt, errors=DISCARD)
        assert run.lane_words() == run.model_lane_words()
        assert event["args"]["approved"] >> WORKERS == 0
        assert run.state()["yardstick"] == run.yardstick
        run.finalize(round_, model=None if event["args"]["approved"] else run.state()["parentModel"])
    for index in range(WORKERS, MEMBERS):
        found = run.reputation.functions.reputationAt(index).call()
        lane = run.lanes[index]
        assert list(found[:4]) == [lane.ema, lane.llr, lane.accepted, lane.refused]
        assert lane.accepted + lane.refused == (0 if index in absent else 3)
        assert found[5] is False


@pytest.mark.parametrize("poster", range(GUARDS))
def test_each_guard_can_settle_and_the_first_counts(run: Run, rng: random.Random, poster: int) -> None:
    run.reach_sealed(1)
    posting = replace(run.posting(rng), poster=poster)
    run.settle(1, posting)
    assert run.lane_words() == run.model_lane_words()
    for other in range(GUARDS):
        refuse(settle_error(run, replace(posting, poster=other)), "ContributionLedgerNotSealed", 1, SETTLED)


@pytest.mark.parametrize("absent", [(), (WORKERS + 2,)])
def test_an_absent_guard_may_post_what_the_others_read(
    run: Run, rng: random.Random, absent: tuple[int, ...]
) -> None:
    run.reach_sealed(1, absent)
    run.settle(1, replace(run.posting(rng), poster=2))
    assert run.lane_words() == run.model_lane_words()


def test_the_poster_must_be_the_sender(run: Run, rng: random.Random) -> None:
    run.reach_sealed(1)
    posting = run.posting(rng)
    for poster in range(GUARDS):
        signer = run.guard_number(poster).signer
        for actor in (*run.members, Actor(OUTSIDER, AGGREGATOR)):
            for key in (actor.signer_key, actor.identity_key):
                if address(key) != signer:
                    error = settle_error(run, replace(posting, poster=poster), key)
                    refuse(error, "ContributionLedgerNotGuard", address(key).lower(), signer.lower())


@pytest.mark.parametrize("poster", [3, 4, 127, 255])
def test_a_poster_that_is_no_guard(run: Run, rng: random.Random, poster: int) -> None:
    run.reach_sealed(1)
    posting = replace(run.posting(rng), poster=poster)
    for guard in range(GUARDS):
        index = WORKERS + poster
        error = settle_error(run, posting, run.guard_number(guard).signer_key)
        refuse(error, "ContributionLedgerUnknownMember", 1 << index if index < 256 else 0, FULL)
    call = run.spec.functions.judge(1, MEMBERS, GUARDS, FULL, posting.encode(), 0, [0, 0])
    refuse(run.chain.error(call), "GateNoSuchPoster", poster, GUARDS)


def test_through_a_contract(run: Run, rng: random.Random) -> None:
    run.reach_sealed(1)
    wallet = run.chain.deploy("TestWallet", address(OUTSIDER))
    data = run.ledger.encode_abi("settle", args=[1, run.posting(rng).encode()])
    error = run.chain.error(wallet.functions.forward(run.ledger.address, data), run.guard.signer_key)
    assert error.name == "ContributionLedgerNotDirect"


class TestHostilePayloads:
    @pytest.fixture
    def sealed(self, run: Run) -> Run:
        run.reach_sealed(1)
        return run

    def test_another_code(self, sealed: Run, rng: random.Random) -> None:
        posting = sealed.posting(rng)
        for wrong in (posting.anchor.code ^ 1, posting.anchor.code ^ 1 << 255, 0, posting.guards[0].code):
            changed = rejudged(sealed, replace(posting, anchor=replace(posting.anchor, code=wrong)))
            refuse(settle_error(sealed, changed), "CommitteeWrongCode", wrong, posting.anchor.code)

    def test_another_norm_or_exponent(self, sealed: Run, rng: random.Random) -> None:
        posting = sealed.posting(rng)
        right = posting.anchor
        median = next(k for k, a in enumerate(posting.guards) if a.norm2 == right.norm2)
        others = [replace(right, norm2=a.norm2, exponent=a.exponent) for a in posting.guards]
        others += [replace(right, norm2=right.norm2 + 1), replace(right, exponent=right.exponent - 1)]
        others += [replace(right, norm2=0, exponent=0)]
        for wrong in others:
            if wrong != right:
                changed = rejudged(sealed, replace(posting, anchor=wrong))
                facts = (wrong.norm2, wrong.exponent, median, right.norm2, right.exponent)
                refuse(settle_error(sealed, changed), "CommitteeWrongNorm", *facts)

    @pytest.mark.parametrize("exponent", [-128, -65, 64, 127])
    def test_exponents_out_of_range(self, sealed: Run, rng: random.Random, exponent: int) -> None:
        posting = sealed.posting(rng)
        header = replace(posting, anchor=replace(posting.anchor, exponent=exponent))
        refuse(settle_error(sealed, header), "GateExponentOutOfRange", WORKERS, exponent)
        for k in range(GUARDS):
            voices = list(posting.guards)
            voices[k] = replace(voices[k], exponent=exponent)
            error = settle_error(sealed, replace(posting, guards=tuple(voices)))
            refuse(error, "GateExponentOutOfRange", WORKERS + k, exponent)

    def test_entries_missing_or_too_many(self, sealed: Run, rng: random.Random) -> None:
        posting = sealed.posting(rng)
        expected = 160 + 41 * MEMBERS
        for voices in ((), posting.guards[:2], (*posting.guards, Assay())):
            payload = replace(posting, guards=voices).encode()
            error = sealed.chain.error(sealed.ledger.functions.settle(1, payload), sealed.guard.signer_key)
            refuse(error, "GateWrongPayloadLength", len(payload), expected)
        for payload in (b"", posting.encode()[:140], posting.encode()[:-1], posting.encode() + b"\0"):
            error = sealed.chain.error(sealed.ledger.functions.settle(1, payload), sealed.guard.signer_key)
            refuse(error, "GateWrongPayloadLength", len(payload), expected)

    @pytest.mark.parametrize("byte", [0, 9, 19])
    def test_another_seed(self, sealed: Run, rng: random.Random, byte: int) -> None:
        posting = replace(sealed.posting(rng), poster=1)
        other = replace(posting, seed=flipped(posting.seed, byte))
        refuse(settle_error(sealed, other), "ContributionLedgerWrongSeed", other.seed[:20], posting.seed)

    @pytest.mark.parametrize(
        ("unavailable", "malformed"), [(1, 1), (1 << 6, 1 << 6), (1 << 8, 0), (0, 1 << 8), (2**255, 0)]
    )
    def test_statuses(self, sealed: Run, rng: random.Random, unavailable: int, malformed: int) -> None:
        posting = replace(sealed.posting(rng), unavailable=unavailable, malformed=malformed)
        refuse(settle_error(sealed, posting), "GateWrongStatuses", unavailable, malformed, FULL)

    @pytest.mark.parametrize("assay", [Assay(1, 0, 0), Assay(0, 1, 0), Assay(0, 0, 1), Assay(0, 0, -1)])
    def test_an_undelivered_guard_has_no_word(self, sealed: Run, rng: random.Random, assay: Assay) -> None:
        posting = sealed.posting(rng)
        for k in range(GUARDS):
            voices = list(posting.guards)
            voices[k] = assay
            for change in ({"unavailable": 1 << WORKERS + k}, {"malformed": 1 << WORKERS + k}):
                changed = replace(posting, guards=tuple(voices), **change)  # type: ignore[arg-type]
                refuse(settle_error(sealed, changed), "GateUndeliveredNotZero", WORKERS + k)

    @pytest.mark.parametrize("lost", range(GUARDS))
    def test_one_undelivered_guard_is_left_out(self, sealed: Run, rng: random.Random, lost: int) -> None:
        posting = sealed.posting(rng)
        voices = list(posting.guards)
        voices[lost] = Assay()
        heard = reading([a for k, a in enumerate(voices) if k != lost])
        changed = replace(posting, anchor=heard, guards=tuple(voices), malformed=1 << WORKERS + lost)
        sealed.settle(1, rejudged(sealed, changed))
        assert sealed.lane_words() == sealed.model_lane_words()
        assert sealed.lanes[WORKERS + lost].refused == 1

    def test_two_undelivered_guards_are_no_quorum(self, sealed: Run, rng: random.Random) -> None:
        posting = sealed.posting(rng)
        for heard in range(GUARDS):
            voices = tuple(a if k == heard else Assay() for k, a in enumerate(posting.guards))
            lost = 0b111 << WORKERS & ~(1 << WORKERS + heard)
            changed = replace(posting, anchor=posting.guards[heard], guards=voices, unavailable=lost)
            error = settle_error(sealed, rejudged(sealed, changed))
            refuse(error, "CommitteeNoQuorum", 1 << heard, 2)

    def test_a_wrong_median(self, sealed: Run, rng: random.Random) -> None:
        posting = sealed.posting(rng)
        error = settle_error(sealed, replace(posting, x=posting.x + 2))
        assert error.name == "GateWrongMedian"


def test_a_lying_minority_moves_neither_code_nor_verdict_beyond_the_bits_in_doubt(
    run: Run, rng: random.Random
) -> None:
    """Where the two honest guards agree, the third cannot move a bit."""
    run.reach_sealed(1)
    base = run.posting(rng)
    honest = base.guards[:2]
    agreed = ~(honest[0].code ^ honest[1].code) & (2**256 - 1)
    assert agreed.bit_count() > 128
    for lie in (0, 2**256 - 1, ~honest[0].code & (2**256 - 1), rng.getrandbits(256)):
        voices = (*honest, Assay(lie, base.guards[2].norm2, base.guards[2].exponent))
        read = reading(list(voices))
        assert (read.code ^ honest[0].code) & agreed == 0
        posting = rejudged(run, replace(base, anchor=read, guards=voices))
        snapshot = run.chain.tester.take_snapshot()
        lanes, yardstick = list(run.lanes), run.yardstick
        run.settle(1, posting)
        assert run.lane_words() == run.model_lane_words()
        run.chain.tester.revert_to_snapshot(snapshot)
        run.lanes, run.yardstick = lanes, yardstick


# ---------------------------------------------------------------------------------------------------- seal


@pytest.mark.parametrize(
    ("absent", "is_void"),
    [((5, 6), True), ((5, 7), True), ((6, 7), True), ((5, 6, 7), True), ((5,), False), ((7, 0), False)],
)
def test_seal_needs_a_quorum_of_guards(run: Run, absent: tuple[int, ...], is_void: bool) -> None:
    run.commit_all(1, absent)
    run.chain.travel(run.state()["commitDeadline"] - run.chain.now + 1)
    receipt = run.chain.send(run.ledger.functions.seal(1), OUTSIDER)
    voided = run.ledger.events.RoundVoided().process_receipt(receipt, errors=DISCARD)
    assert [event["args"]["reason"] for event in voided] == [NO_ANCHOR] * is_void
    assert run.state()["stage"] == (IDLE if is_void else SEALED)
    assert run.state()["presence"] == FULL & ~sum(1 << i for i in absent)


def test_all_guards_without_a_worker_seal(run: Run, rng: random.Random) -> None:
    run.reach_sealed(1, absent=range(WORKERS))
    run.settle(1, run.posting(rng))
    assert run.lane_words() == run.model_lane_words()
    assert run.state()["anyApproved"] is False


def test_workers_alone_are_void(run: Run) -> None:
    run.commit_all(1, absent=range(WORKERS, MEMBERS))
    run.chain.travel(run.state()["commitDeadline"] - run.chain.now + 1)
    run.chain.send(run.ledger.functions.seal(1), OUTSIDER)
    assert run.state()["stage"] == IDLE


# ---------------------------------------------------------------------------------------------- deployment


def deployment(run: Run, **changes: object) -> tuple[object, ...]:
    values: dict[str, object] = {
        "registry": run.registry.contract.address,
        "cohort": run.cohort,
        "spec": run.spec.address,
        "requests": NOBODY,
        "challenge": NOBODY,
        "vault": NOBODY,
        "guardian": NOBODY,
        "aggregator": address(AGGREGATOR),
        "run": 1,
        "model": bytes(32),
        "shape": bytes(32),
        "length": 1,
        "deadline": run.chain.now + 10,
        "guards": GUARDS,
    }
    return tuple((values | changes).values())


@pytest.mark.parametrize("guards", [0, 2, 4, 6, 8, 9, 16, 17, 255])
def test_wrong_numbers_of_guards_are_refused(run: Run, guards: int) -> None:
    error = run.chain.deploy_error("ContributionLedger", deployment(run, guards=guards))
    refuse(error, "CommitteeWrongSize", guards, MEMBERS)


@pytest.mark.parametrize("guards", [1, 3, 5, 7])
def test_odd_numbers_that_leave_a_worker_are_taken(run: Run, guards: int) -> None:
    ledger = run.chain.deploy("ContributionLedger", deployment(run, guards=guards))
    assert ledger.functions.guards().call() == guards
    assert ledger.functions.guardSigner().call() == run.members[MEMBERS - guards].signer


def test_no_guard_s_signer_may_have_code(run: Run) -> None:
    chain, registry = run.chain, run.registry
    wallet = chain.deploy("TestWallet", address(DEPLOYER))
    member = Actor(OUTSIDER, OUTSIDER)
    proof = registry.proof(member.identity, wallet.address, DEPLOYER)
    chain.send(registry.contract.functions.join(wallet.address, proof), OUTSIDER, BOND_WEI)
    for place in range(4):
        others = list(run.members[:3])
        others.insert(place, member)
        given = deployment(run, cohort=registry.seal_cohort(others, GUARDS))
        if place == 0:  # a worker may
            chain.deploy("ContributionLedger", given)
        else:
            error = chain.deploy_error("ContributionLedger", given)
            refuse(error, "ContributionLedgerGuardHasCode", wallet.address.lower())


@pytest.mark.parametrize("guards", [5, 15])
def test_rounds_with_more_guards(guards: int) -> None:
    rng = random.Random(guards)
    run = Run.deploy(TestChain(members=guards + 4), 3, guards=guards)
    for round_ in (1, 2):
        absent = rng.sample(range(3, 3 + guards), guards - quorum(guards)) if round_ == 2 else ()
        run.reach_sealed(round_, absent)
        run.settle(round_, replace(run.posting(rng), poster=guards - round_))
        assert run.lane_words() == run.model_lane_words()
        run.finalize(round_, model=run.state()["parentModel"] if not run.state()["anyApproved"] else None)


# -------------------------------------------------------------------------------------------------- stakes


@pytest.fixture(scope="module", params=[3, 15])
def _staked(request: pytest.FixtureRequest) -> Run:
    guards: int = request.param
    chain = TestChain(members=guards + 3)
    vault = chain.deploy("StakeVault", MINIMUM, 1)
    return Run.deploy(chain, 2, challenge=address(CHALLENGE), vault=vault.address, guards=guards)


@pytest.fixture
def staked(_staked: Run) -> Iterator[Run]:
    """A run with a vault in which nobody has a stake yet, of three and of fifteen guards."""
    yield from between_snapshots(_staked)


def vault_of(run: Run) -> Any:
    return run.chain.at("StakeVault", run.ledger.functions.vault().call()).functions


def deposit(run: Run, number: int, amount: int = MINIMUM) -> None:
    holder = run.guard_number(number)
    call = vault_of(run).deposit(run.ledger.address, holder.identity)
    run.chain.send(call, holder.identity_key, amount)


def bonded(run: Run) -> tuple[int, bool]:
    return run.ledger.functions.bondedGuards().call(), run.state()["isUnbonded"]


def test_only_bonded_guards_settle(staked: Run, rng: random.Random) -> None:
    assert bonded(staked) == (0, True)
    staked.reach_sealed(1)
    posting = staked.posting(rng)
    vault = staked.ledger.functions.vault().call().lower()
    last = staked.guards - 1
    for poster in (0, 1, last):
        refuse(
            settle_error(staked, replace(posting, poster=poster)), "ContributionLedgerGuardUnbonded", vault
        )
    deposit(staked, 1, MINIMUM - 1)
    assert bonded(staked) == (0, True)
    deposit(staked, 1, 1)
    assert bonded(staked) == (2, True)
    for poster in (0, last):
        refuse(
            settle_error(staked, replace(posting, poster=poster)), "ContributionLedgerGuardUnbonded", vault
        )
    staked.settle(1, replace(posting, poster=1))
    assert staked.lane_words() == staked.model_lane_words()


def test_a_stake_of_somebody_else_bonds_no_guard(staked: Run) -> None:
    for number in (0, 1):
        holder = staked.members[number]
        call = vault_of(staked).deposit(staked.ledger.address, holder.identity)
        staked.chain.send(call, holder.identity_key, MINIMUM)
    call = vault_of(staked).deposit(staked.ledger.address, staked.guard.signer)
    staked.chain.send(call, OUTSIDER, MINIMUM)
    assert bonded(staked) == (0, True)


def test_one_guard_s_unbonding_stops_that_guard_alone(staked: Run, rng: random.Random) -> None:
    everybody = (1 << staked.guards) - 1
    for number in range(staked.guards):
        deposit(staked, number)
    assert bonded(staked) == (everybody, False)
    gone = staked.guards - 1
    holder = staked.guard_number(gone)
    staked.chain.send(vault_of(staked).startUnbonding(staked.ledger.address), holder.identity_key)
    assert bonded(staked) == (everybody & ~(1 << gone), True)
    staked.reach_sealed(1)
    posting = staked.posting(rng)
    assert settle_error(staked, replace(posting, poster=gone)).name == "ContributionLedgerGuardUnbonded"
    staked.settle(1, replace(posting, poster=gone - 1))
    staked.chain.send(vault_of(staked).cancelUnbonding(staked.ledger.address), holder.identity_key)
    assert bonded(staked) == (everybody, False)


def test_a_slash_unbonds_the_slashed_guard_alone(staked: Run) -> None:
    for number in range(staked.guards):
        deposit(staked, number)
    call = vault_of(staked).slash(staked.ledger.address, staked.guard_number(1).identity, address(OUTSIDER))
    staked.chain.send(call, CHALLENGE)
    assert bonded(staked) == ((1 << staked.guards) - 1 & ~2, True)


def test_nobody_can_starve_the_notice_of_gas(staked: Run) -> None:
    """With any gas limit, either nothing happens or the ledger hears of it: fifteen guards' search fits."""
    deposit(staked, staked.guards - 1)
    holder = staked.guard_number(staked.guards - 1)
    data = staked.chain.at("StakeVault", vault_of(staked).address).encode_abi(
        "startUnbonding", args=[staked.ledger.address]
    )
    outcomes = set()
    for gas in range(60_000, 260_000, 20_000):
        snapshot = staked.chain.tester.take_snapshot()
        fields = {"from": holder.identity, "to": vault_of(staked).address, "data": data, "gas": gas}
        sent = staked.chain.web3.eth.send_transaction(fields)  # type: ignore[arg-type]
        done = staked.chain.web3.eth.get_transaction_receipt(sent)["status"] == 1
        assert bonded(staked)[0] == (0 if done else 1 << staked.guards - 1)
        outcomes.add(done)
        staked.chain.tester.revert_to_snapshot(snapshot)
    assert outcomes == {False, True}


def test_an_overturned_round_gives_the_guards_lanes_back(staked: Run, rng: random.Random) -> None:
    for number in range(staked.guards):
        deposit(staked, number)
    before, yardstick = staked.lane_words(), staked.yardstick
    staked.reach_sealed(1)
    staked.settle(1, staked.posting(rng, flip=0.2))
    assert staked.lane_words() != before
    index = len(staked.members) - staked.guards
    functions = staked.ledger.functions
    for wrong in (index, index + 1, len(staked.members) - 1):
        error = staked.chain.error(functions.overturn(1, wrong, 0, 0), CHALLENGE)
        refuse(error, "ContributionLedgerUnknownMember", 1 << wrong, 0b11)
    staked.chain.send(functions.overturnRound(1, before, yardstick), CHALLENGE)
    assert staked.lane_words() == before
    assert functions.overturnedOf(1).call() == staked.full
    assert staked.state()["stage"] == IDLE
