"""Every refusal of the ledger has its own error, with the facts in it."""

import random
from dataclasses import replace

import pytest
from eth_utils import keccak

from tests.contracts.model import Assay, Constants
from tests.contracts.support import (
    AGGREGATOR,
    BOND_WEI,
    DEPLOYER,
    HALF_ORDER,
    ORDER,
    OUTSIDER,
    RELAYER,
    Actor,
    Commitment,
    Revert,
    Run,
    TestChain,
    address,
    canonical,
    sign_compact,
    sign_full,
    update_root,
)

ZERO = "0x" + "00" * 20


def refuse(error: Revert, name: str, *arguments: object) -> None:
    assert (error.name, error.arguments) == (name, arguments)


def batch_with(run: Run, signatures: dict[int, bytes], round_: int = 1) -> Revert:
    """Give the error of a batch in which some signatures are replaced."""
    deadline = run.chain.now + 100
    items = b""
    for i in range(6):
        c = Commitment(i, update_root(round_, i))
        signature = sign_compact(run.digest(round_, c, deadline), run.members[i].signer_key)
        items += c.update_root + c.tokens.to_bytes(8, "big") + signatures.get(i, signature)
    return run.chain.error(run.ledger.functions.commitBatch(round_, deadline, 63, items), RELAYER)


class TestBatchSignatures:
    def digest(self, run: Run, index: int, **changes: object) -> bytes:
        c = Commitment(index, update_root(1, index))
        return run.digest(1, c, run.chain.now + 100, **changes)  # type: ignore[arg-type]

    def expect(self, run: Run, index: int, signature: bytes, recovered: str | None) -> None:
        error = batch_with(run, {index: signature})
        assert error.name == "ContributionLedgerWrongSigner"
        assert error.arguments[:2] == (index, run.members[index].signer.lower())
        if recovered is not None:
            assert error.arguments[2] == recovered.lower()

    def test_another_key(self, run: Run) -> None:
        key = run.members[2].signer_key
        self.expect(run, 3, sign_compact(self.digest(run, 3), key), run.members[2].signer)

    def test_cold_key(self, run: Run) -> None:
        key = run.members[3].identity_key
        self.expect(run, 3, sign_compact(self.digest(run, 3), key), run.members[3].identity)

    def test_zero(self, run: Run) -> None:
        self.expect(run, 0, bytes(64), ZERO)

    def test_high_s(self, run: Run) -> None:
        # s has 255 bits in this form, so only a sliver above half of the order can be written at all.
        signature = sign_compact(self.digest(run, 1), run.members[1].signer_key)
        high = HALF_ORDER + 1
        self.expect(run, 1, signature[:32] + high.to_bytes(32, "big"), ZERO)

    def test_flipped_parity(self, run: Run) -> None:
        signature = bytearray(sign_compact(self.digest(run, 1), run.members[1].signer_key))
        signature[32] ^= 0x80
        self.expect(run, 1, bytes(signature), None)

    @pytest.mark.parametrize("field", ["chain_id", "ledger", "parent"])
    def test_another_context(self, run: Run, field: str) -> None:
        changes = {"chain_id": 1, "ledger": address(OUTSIDER), "parent": bytes(32)}
        digest = self.digest(run, 4, **{field: changes[field]})
        self.expect(run, 4, sign_compact(digest, run.members[4].signer_key), None)

    def test_another_round(self, run: Run) -> None:
        digest = run.digest(2, Commitment(4, update_root(1, 4)), run.chain.now + 100)
        self.expect(run, 4, sign_compact(digest, run.members[4].signer_key), None)

    def test_another_deadline_tokens_or_root(self, run: Run) -> None:
        now, key = run.chain.now, run.members[5].signer_key
        for c, deadline in (
            (Commitment(5, update_root(1, 5)), now + 101),
            (Commitment(5, update_root(1, 5), 1), now + 100),
            (Commitment(5, update_root(2, 5)), now + 100),
        ):
            self.expect(run, 5, sign_compact(run.digest(1, c, deadline), key), None)


class TestCommit:
    def test_batch_shape(self, run: Run) -> None:
        ledger, deadline = run.ledger.functions, run.chain.now + 100
        items = run.items(1, [Commitment(0, update_root(1, 0))], deadline)
        refuse(
            run.chain.error(ledger.commitBatch(1, deadline, 0, b""), RELAYER), "ContributionLedgerEmptyBatch"
        )
        refuse(
            run.chain.error(ledger.commitBatch(1, deadline, 1 << 6, items), RELAYER),
            "ContributionLedgerUnknownMember",
            1 << 6,
            63,
        )
        for wrong in (items[:-1], items + b"\0", b""):
            refuse(
                run.chain.error(ledger.commitBatch(1, deadline, 1, wrong), RELAYER),
                "ContributionLedgerWrongItemsLength",
                len(wrong),
                104,
            )

    def test_wrong_round_and_stage(self, run: Run) -> None:
        commitments = [Commitment(0, update_root(1, 0))]
        deadline = run.chain.now + 100
        for round_ in (0, 2):
            function = run.batch(round_, commitments, deadline)
            refuse(run.chain.error(function, RELAYER), "ContributionLedgerWrongRound", round_, 1)
        function = run.batch(1, commitments, deadline)
        run.commit_all(1)
        refuse(run.chain.error(function, RELAYER), "ContributionLedgerNotOpen", 1, 2)

    def test_second_commitment(self, run: Run) -> None:
        one, two = Commitment(0, update_root(1, 0)), Commitment(1, update_root(1, 1))
        deadline, parent = run.chain.now + 100, keccak(text="model 0")
        run.chain.send(run.batch(1, [one], deadline), RELAYER)
        refuse(
            run.chain.error(run.batch(1, [one, two], deadline), RELAYER),
            "ContributionLedgerAlreadyCommitted",
            1,
        )
        ledger = run.ledger.functions
        refuse(
            run.chain.error(ledger.commit(1, 0, parent, b"\1" * 32, 1, deadline), run.members[0].signer_key),
            "ContributionLedgerAlreadyCommitted",
            1,
        )
        refuse(
            run.chain.error(ledger.commitFor(1, 0, b"\1" * 32, 1, deadline, b"")),
            "ContributionLedgerAlreadyCommitted",
            1,
        )

    def test_late(self, run: Run) -> None:
        closes = run.state()["commitDeadline"]
        function = run.batch(1, [Commitment(0, update_root(1, 0))], closes + 1000)
        run.chain.travel(closes - run.chain.now + 1)
        refuse(run.chain.error(function, RELAYER), "ContributionLedgerWindowClosed", closes)

    def test_expired_signature(self, run: Run) -> None:
        deadline = run.chain.now + 10
        function = run.batch(1, [Commitment(0, update_root(1, 0))], deadline)
        run.chain.travel(11)
        refuse(run.chain.error(function, RELAYER), "ContributionLedgerSignatureExpired", deadline)

    def test_alone_by_a_stranger_or_for_a_stranger(self, run: Run) -> None:
        ledger, parent, deadline = run.ledger.functions, keccak(text="model 0"), run.chain.now + 100
        call = ledger.commit(1, 0, parent, b"\1" * 32, 1, deadline)
        for key in (OUTSIDER, run.members[1].signer_key):
            refuse(run.chain.error(call, key), "ContributionLedgerNotMember", 0, address(key).lower())
        for index, bits in ((6, 64), (300, 0)):
            refuse(
                run.chain.error(ledger.commit(1, index, parent, b"\1" * 32, 1, deadline)),
                "ContributionLedgerUnknownMember",
                bits,
                63,
            )

    def test_alone_with_another_parent(self, run: Run) -> None:
        call = run.ledger.functions.commit(1, 0, bytes(32), b"\1" * 32, 1, run.chain.now + 100)
        refuse(
            run.chain.error(call, run.members[0].signer_key),
            "ContributionLedgerWrongParent",
            bytes(32),
            keccak(text="model 0"),
        )

    def test_for_with_bad_signatures(self, run: Run) -> None:
        c, deadline = Commitment(2, update_root(1, 2)), run.chain.now + 100
        digest = run.digest(1, c, deadline)
        good = sign_full(digest, run.members[2].signer_key)
        s = int.from_bytes(good[32:64], "big")
        high = good[:32] + (ORDER - s).to_bytes(32, "big") + bytes([55 - good[64]])
        for bad in (b"", good[:-1], high, sign_full(digest, OUTSIDER), bytes(65)):
            function = run.ledger.functions.commitFor(1, 2, c.update_root, c.tokens, deadline, bad)
            refuse(
                run.chain.error(function),
                "ContributionLedgerWrongSigner",
                2,
                run.members[2].signer.lower(),
                ZERO,
            )
        run.chain.send(
            run.ledger.functions.commitFor(1, 2, c.update_root, c.tokens, deadline, good), OUTSIDER
        )

    def test_batch_through_a_contract(self, run: Run) -> None:
        wallet = run.chain.deploy("TestWallet", address(OUTSIDER))
        function = run.batch(1, [Commitment(0, update_root(1, 0))], run.chain.now + 100)
        data = run.ledger.encode_abi("commitBatch", args=list(function.args))
        refuse(
            run.chain.error(wallet.functions.forward(run.ledger.address, data), RELAYER),
            "ContributionLedgerNotDirect",
            wallet.address.lower(),
            address(RELAYER).lower(),
        )


class TestStages:
    def test_before_their_time(self, run: Run, rng: random.Random) -> None:
        ledger = run.ledger.functions
        guard = run.guard.signer_key
        payload = run.posting(rng, presence=63).encode()
        closes = run.state()["commitDeadline"]
        refuse(run.chain.error(ledger.seal(1)), "ContributionLedgerWindowOpen", closes)
        refuse(run.chain.error(ledger.settle(1, payload), guard), "ContributionLedgerNotSealed", 1, 1)
        refuse(run.chain.error(ledger.fixSeed(1)), "ContributionLedgerNotSealed", 1, 1)
        refuse(run.chain.error(ledger.voidRound(1)), "ContributionLedgerNotSealed", 1, 1)
        model = keccak(text="model 1")
        finalize = ledger.finalize(1, model, model, 0)
        refuse(run.chain.error(finalize, AGGREGATOR), "ContributionLedgerNotSettled", 1, 1)
        opening = ledger.openRound(run.chain.now + 100)
        refuse(run.chain.error(opening, AGGREGATOR), "ContributionLedgerNotIdle", 1, 1)
        for call in (ledger.seal(2), ledger.fixSeed(2), ledger.voidRound(2)):
            refuse(run.chain.error(call), "ContributionLedgerWrongRound", 2, 1)
        refuse(run.chain.error(ledger.settle(2, payload), guard), "ContributionLedgerWrongRound", 2, 1)

        run.commit_all(1)
        block = run.state()["sealBlock"]
        refuse(run.chain.error(ledger.settle(1, payload), guard), "ContributionLedgerSeedTooEarly", block + 2)
        refuse(run.chain.error(ledger.fixSeed(1)), "ContributionLedgerSeedTooEarly", block + 2)
        assert ledger.currentSeed().call() == bytes(32)
        refuse(run.chain.error(ledger.seal(1)), "ContributionLedgerNotOpen", 1, 2)
        run.chain.mine(1)
        run.chain.send(ledger.fixSeed(1), OUTSIDER)
        assert run.chain.error(ledger.fixSeed(1)).name == "ContributionLedgerSeedAlreadyFixed"
        run.settle(1, run.posting(rng))
        refuse(run.chain.error(ledger.settle(1, payload), guard), "ContributionLedgerNotSealed", 1, 3)
        refuse(run.chain.error(ledger.voidRound(1)), "ContributionLedgerNotSealed", 1, 3)
        refuse(run.chain.error(opening, AGGREGATOR), "ContributionLedgerNotIdle", 1, 3)

    def test_wrong_callers(self, run: Run, rng: random.Random) -> None:
        ledger = run.ledger.functions
        stranger, aggregator = address(OUTSIDER).lower(), address(AGGREGATOR).lower()
        refuse(
            run.chain.error(ledger.openRound(2**31)), "ContributionLedgerNotAggregator", stranger, aggregator
        )
        refuse(
            run.chain.error(ledger.finalize(1, bytes(32), bytes(32), 0)),
            "ContributionLedgerNotAggregator",
            stranger,
            aggregator,
        )
        run.reach_sealed(1)
        call = ledger.settle(1, run.posting(rng).encode())
        for key in (OUTSIDER, run.guard.identity_key, AGGREGATOR):
            refuse(
                run.chain.error(call, key),
                "ContributionLedgerNotGuard",
                address(key).lower(),
                run.guard.signer.lower(),
            )

    def test_deadlines(self, run: Run, rng: random.Random) -> None:
        run.reach_settled(1, rng)
        model = keccak(text="model 1")
        for deadline in (run.chain.now, 1, 2**40):
            error = run.chain.error(run.ledger.functions.finalize(1, model, model, deadline), AGGREGATOR)
            assert error.name == "ContributionLedgerDeadlineOutOfRange"
            assert error.arguments[0] == deadline

    def test_empty_round_keeps_the_model(self, run: Run, rng: random.Random) -> None:
        run.reach_sealed(1)
        base = run.posting(rng)
        # Nothing is alive, so nothing is approved.
        posting = replace(base, assays=tuple(replace(assay, norm2=0) for assay in base.assays))
        run.settle(1, posting)
        moved = run.ledger.functions.finalize(1, keccak(text="x"), bytes(32), 0)
        refuse(
            run.chain.error(moved, AGGREGATOR),
            "ContributionLedgerModelMoved",
            keccak(text="model 0"),
            keccak(text="x"),
        )
        run.finalize(1, model=keccak(text="model 0"))

    def test_challenge_window(self, run: Run, rng: random.Random) -> None:
        slow = Run.deploy(
            run.chain, 5, Constants(challenge_window_s=600), registry=run.registry, members=run.members
        )
        slow.reach_settled(1, rng)
        ready = slow.state()["settledAt"] + 600
        function = slow.ledger.functions.finalize(1, keccak(text="m"), bytes(32), 0)
        refuse(run.chain.error(function, AGGREGATOR), "ContributionLedgerWindowRunning", ready)
        run.chain.travel(ready - run.chain.now)
        run.chain.send(function, AGGREGATOR)


class TestPayload:
    @pytest.fixture
    def sealed(self, run: Run) -> Run:
        run.reach_sealed(1)
        return run

    def error(self, run: Run, payload: bytes) -> Revert:
        return run.chain.error(run.ledger.functions.settle(1, payload), run.guard.signer_key)

    def test_length(self, sealed: Run, rng: random.Random) -> None:
        payload = sealed.posting(rng).encode()
        for wrong in (payload[:-1], payload + b"\0", b"", payload[:160]):
            refuse(self.error(sealed, wrong), "GateWrongPayloadLength", len(wrong), 160 + 41 * 5)

    def test_every_bit_of_the_seed_s_first_20_bytes(self, sealed: Run, rng: random.Random) -> None:
        posting = sealed.posting(rng)
        for bit in range(160):
            other = (int.from_bytes(posting.seed, "big") ^ 1 << 255 - bit).to_bytes(32, "big")
            error = self.error(sealed, replace(posting, seed=other).encode())
            refuse(error, "ContributionLedgerWrongSeed", other[:20], posting.seed)

    def test_the_seed_that_was_stored_counts(self, sealed: Run, rng: random.Random) -> None:
        posting = sealed.posting(rng)
        sealed.chain.send(sealed.ledger.functions.fixSeed(1), OUTSIDER)
        error = self.error(sealed, replace(posting, seed=bytes(32)).encode())
        refuse(error, "ContributionLedgerWrongSeed", bytes(20), posting.seed)
        sealed.settle(1, posting)

    @pytest.mark.parametrize("poster", [1, 255])
    def test_another_poster_than_the_only_guard(self, sealed: Run, rng: random.Random, poster: int) -> None:
        error = self.error(sealed, replace(sealed.posting(rng), poster=poster).encode())
        refuse(error, "GateNoSuchPoster", poster, 1)

    @pytest.mark.parametrize("trace_root", [bytes(32), b"\xff" * 32])
    def test_any_trace_root_is_taken(self, sealed: Run, rng: random.Random, trace_root: bytes) -> None:
        sealed.settle(1, replace(sealed.posting(rng), trace_root=trace_root))
        assert sealed.lane_words() == sealed.model_lane_words()

    @pytest.mark.parametrize(("unavailable", "malformed"), [(1, 1), (1 << 5, 0), (0, 1 << 6), (2**255, 0)])
    def test_bitmaps(self, sealed: Run, rng: random.Random, unavailable: int, malformed: int) -> None:
        posting = replace(sealed.posting(rng), unavailable=unavailable, malformed=malformed)
        refuse(self.error(sealed, posting.encode()), "GateWrongStatuses", unavailable, malformed, 31)

    @pytest.mark.parametrize("assay", [Assay(1, 0, 0), Assay(0, 1, 0), Assay(0, 0, 1), Assay(0, 0, -1)])
    def test_undelivered_not_zero(self, sealed: Run, rng: random.Random, assay: Assay) -> None:
        posting = sealed.posting(rng)
        assays = (*posting.assays[:2], assay, *posting.assays[3:])
        for change in ({"unavailable": 4}, {"malformed": 4}):
            payload = replace(posting, assays=assays, **change).encode()  # type: ignore[arg-type]
            refuse(self.error(sealed, payload), "GateUndeliveredNotZero", 2)

    @pytest.mark.parametrize("exponent", [-128, -65, 64, 127])
    def test_exponents(self, sealed: Run, rng: random.Random, exponent: int) -> None:
        posting = sealed.posting(rng)
        assays = (*posting.assays[:4], replace(posting.assays[4], exponent=exponent))
        error = self.error(sealed, replace(posting, assays=assays).encode())
        refuse(error, "GateExponentOutOfRange", 4, exponent)
        anchor = replace(posting.anchor, exponent=exponent)
        error = self.error(sealed, replace(posting, anchor=anchor).encode())
        refuse(error, "GateExponentOutOfRange", 5, exponent)

    def test_median(self, sealed: Run, rng: random.Random) -> None:
        posting = sealed.posting(rng)
        scores = sorted(256 - 2 * (a.code ^ posting.anchor.code).bit_count() for a in posting.assays)
        for x in {scores[0], scores[1], scores[3], scores[4], scores[2] - 1, 257, -257, 32767, -32768}:
            if x != scores[2]:
                error = self.error(sealed, replace(posting, x=x).encode())
                assert error.name == "GateWrongMedian"
                assert error.arguments == (x, 5, sum(s < x for s in scores), scores.count(x))


class TestDeployment:
    def arguments(self, run: Run, **changes: object) -> tuple[object, ...]:
        values: dict[str, object] = {
            "registry": run.registry.contract.address,
            "cohort": run.cohort,
            "spec": run.spec.address,
            "requests": ZERO,
            "challenge": ZERO,
            "vault": ZERO,
            "guardian": ZERO,
            "aggregator": address(AGGREGATOR),
            "run": 1,
            "model": bytes(32),
            "shape": bytes(32),
            "length": 1,
            "deadline": run.chain.now + 10,
            "guards": 1,
        }
        return tuple((values | changes).values())

    def test_arguments(self, run: Run) -> None:
        vault = run.chain.deploy("StakeVault", 1, 100).address
        for changes, name, arguments in (
            ({"cohort": run.spec.address}, "UnknownCohort", (run.spec.address.lower(),)),
            ({"aggregator": ZERO}, "ZeroArgument", ("aggregator",)),
            ({"length": 0}, "ZeroArgument", ("length",)),
            ({"challenge": vault}, "ZeroArgument", ("vault",)),
            ({"vault": vault}, "ZeroArgument", ("challenge",)),
            ({"deadline": run.chain.now}, "DeadlineOutOfRange", (run.chain.now, run.chain.now)),
        ):
            given = self.arguments(run, **changes)
            refuse(
                run.chain.deploy_error("ContributionLedger", given), "ContributionLedger" + name, *arguments
            )

    def test_length(self, run: Run) -> None:
        error = run.chain.deploy_error("ContributionLedger", self.arguments(run, length=2**40 + 1))
        assert error == Revert("SegmentTreeLengthOutOfRange", (2**40 + 1,))
        run.chain.deploy("ContributionLedger", self.arguments(run, length=2**40))

    @pytest.mark.parametrize(("delay", "is_refused"), [(699, True), (700, True), (701, False)])
    def test_stakes_must_outlast_the_requests(self, run: Run, delay: int, is_refused: bool) -> None:
        # What is asked for in the window's last second may stay unanswered for the answer window.
        spec = run.chain.deploy("GateSpec", Constants(challenge_window_s=100).as_tuple()).address
        vault = run.chain.deploy("StakeVault", 1, delay).address
        book = run.chain.deploy("DataRequests", 1, 600).address
        given = self.arguments(run, spec=spec, vault=vault, challenge=address(OUTSIDER), requests=book)
        if is_refused:
            error = run.chain.deploy_error("ContributionLedger", given)
            refuse(error, "ContributionLedgerUnbondingTooShort", delay, 700)
        else:
            run.chain.deploy("ContributionLedger", given)

    @pytest.mark.parametrize(("delay", "is_refused"), [(99, True), (100, True), (101, False)])
    def test_stakes_must_outlast_the_challenge_window(self, run: Run, delay: int, is_refused: bool) -> None:
        spec = run.chain.deploy("GateSpec", Constants(challenge_window_s=100).as_tuple()).address
        vault = run.chain.deploy("StakeVault", 1, delay).address
        given = self.arguments(run, spec=spec, vault=vault, challenge=address(OUTSIDER))
        if is_refused:
            error = run.chain.deploy_error("ContributionLedger", given)
            refuse(error, "ContributionLedgerUnbondingTooShort", delay, 100)
        else:
            ledger = run.chain.deploy("ContributionLedger", given)
            assert ledger.functions.state().call()[12] is True
            assert ledger.functions.initialModel().call() == bytes(32)

    @pytest.mark.parametrize(
        "change",
        [
            {"version": 2},
            {"sketch_version": 0},
            {"yardstick_divisor": 0},
            {"yardstick_keep": 10},
            {"yardstick_gain": 65537},
            {"yardstick_divisor": 65537},
            {"yardstick_offset": 257},
            {"evidence_divisor": 0},
            {"evidence_divisor": 2**31 + 1},
            {"evidence_min": 1},
            {"evidence_max": -1},
            {"evidence_floor": 1},
            {"evidence_floor": -8193},
            {"fault_evidence": -1},
            {"accept_below": 0},
            {"accept_below": 7169},
            {"ban_from": 8192},
            {"alive_factor": 0},
            {"alive_factor": 65537},
            {"clip_low_percent": 101},
            {"clip_high_percent": 99},
            {"clip_high_percent": 1001},
            {"duplicate_bits": 257},
            {"coalition_keep_q8": 257},
            {"group_spared": 257},
            {"vote_offset": 257},
            {"anchor_share_bps": 10001},
        ],
    )
    def test_spec_ranges(self, run: Run, change: dict[str, int]) -> None:
        error = run.chain.deploy_error("GateSpec", Constants(**change).as_tuple())
        assert error.name == "GateSpecOutOfRange"
        [field] = change
        head, *tail = field.split("_")
        assert error.arguments == (head + "".join(part.capitalize() for part in tail),)


def test_deploy_with_a_foreign_sender_changes_nothing(run: Run) -> None:
    # There is no owner: the deployer has no function of its own.
    refuse(
        run.chain.error(run.ledger.functions.openRound(2**31), DEPLOYER),
        "ContributionLedgerNotAggregator",
        address(DEPLOYER).lower(),
        address(AGGREGATOR).lower(),
    )


DELEGATION = bytes.fromhex("ef0100") + canonical(address(OUTSIDER))


def test_an_account_with_delegated_code_is_not_direct() -> None:
    # EIP-7702: such an account can send a transaction itself, and its code could make more calls of it.
    chain = TestChain(members=3, code={RELAYER: DELEGATION})
    run = Run.deploy(chain, 1)
    function = run.batch(1, [Commitment(0, update_root(1, 0))], chain.now + 100)
    sender = address(RELAYER).lower()
    refuse(chain.error(function, RELAYER), "ContributionLedgerNotDirect", sender, sender)
    chain.send(function, OUTSIDER)


def test_a_guard_whose_signer_has_code_could_never_settle(run: Run) -> None:
    chain, registry = run.chain, run.registry
    wallet = chain.deploy("TestWallet", address(DEPLOYER))
    member = Actor(OUTSIDER, OUTSIDER)
    proof = registry.proof(member.identity, wallet.address, DEPLOYER)
    chain.send(registry.contract.functions.join(wallet.address, proof), OUTSIDER, BOND_WEI)
    cohort = registry.seal_cohort([run.members[0], member])
    arguments = TestDeployment().arguments(run, cohort=cohort)
    refuse(
        chain.deploy_error("ContributionLedger", arguments),
        "ContributionLedgerGuardHasCode",
        wallet.address.lower(),
    )
