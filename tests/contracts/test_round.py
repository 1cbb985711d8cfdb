"""Whole rounds: every digest, lane and stage against the model, on the chain."""

import random

from eth_abi.abi import encode
from eth_utils import keccak
from web3.logs import DISCARD

from tests.contracts.model import Assay, Lane, Posting, gate
from tests.contracts.support import (
    AGGREGATOR,
    DEPLOYER,
    OUTSIDER,
    RELAYER,
    Commitment,
    Run,
    address,
    artifact,
    sign_full,
    spec_digest,
    update_root,
    with_median,
)


def start_digest(run: Run, round_: int, previous: bytes, parent: bytes) -> bytes:
    return keccak(
        encode(
            ["bytes32", "uint256", "address", "uint64", "uint256", "bytes32", "bytes32", "bytes32"],
            [
                keccak(text="hallmark.round.v1"),
                run.chain.chain_id,
                run.ledger.address,
                run.run_id,
                round_,
                spec_digest(run.constants),
                previous,
                parent,
            ],
        )
    )


def seed_digest(run: Run, round_: int, accumulator: bytes, block_hash: bytes) -> bytes:
    return keccak(
        encode(
            ["bytes32", "uint256", "address", "uint64", "uint256", "bytes32", "bytes32"],
            [
                keccak(text="hallmark.seed.v1"),
                run.chain.chain_id,
                run.ledger.address,
                run.run_id,
                round_,
                accumulator,
                block_hash,
            ],
        )
    )


def lanes_hash(words: list[int]) -> bytes:
    return keccak(b"".join(word.to_bytes(32, "big") for word in words))


def settled_digest(
    accumulator: bytes,
    presence: int,
    seed: bytes,
    payload: bytes,
    approved: int,
    yardsticks: tuple[int, int],
    lanes: tuple[list[int], list[int]],
) -> bytes:
    return keccak(
        encode(
            [*["bytes32"] * 2, "uint256", *["bytes32"] * 2, *["uint256"] * 3, *["bytes32"] * 2],
            [
                keccak(text="hallmark.settled.v1"),
                accumulator,
                presence,
                seed,
                keccak(payload),
                approved,
                *yardsticks,
                lanes_hash(lanes[0]),
                lanes_hash(lanes[1]),
            ],
        )
    )


def test_rounds_full_cohort_every_digest_matches(run: Run, rng: random.Random) -> None:
    chain, ledger = run.chain, run.ledger
    previous, parent = bytes(32), keccak(text="model 0")
    for round_ in range(1, 4):
        deadline = chain.now + 10_000
        commitments = [Commitment(i, update_root(round_, i), 1000 + i) for i in range(6)]
        receipt = chain.send(run.batch(round_, commitments, deadline), RELAYER)
        accumulator = start_digest(run, round_, previous, parent)
        for commitment in commitments:
            digest = run.digest(round_, commitment, deadline, parent)
            assert (
                digest
                == ledger.functions.contributionDigest(
                    round_, commitment.index, parent, commitment.update_root, commitment.tokens, deadline
                ).call()
            )
            accumulator = keccak(accumulator + digest)
        assert ledger.functions.recordOf(round_).call() == accumulator
        [batch] = ledger.events.BatchCommitted().process_receipt(receipt, errors=DISCARD)
        assert dict(batch["args"]) == {"round": round_, "members": 63, "accumulator": accumulator}
        [sealed] = ledger.events.RoundSealed().process_receipt(receipt, errors=DISCARD)
        seal_block = receipt["blockNumber"]
        assert dict(sealed["args"]) == {
            "round": round_,
            "presence": 63,
            "accumulator": accumulator,
            "sealBlock": seal_block,
        }
        assert run.state()["stage"] == 2

        chain.mine(1)
        seed = seed_digest(run, round_, accumulator, chain.block_hash(seal_block + 1))
        assert ledger.functions.currentSeed().call() == seed
        posting = run.posting(rng)
        lanes, yardstick = list(run.lanes), run.yardstick
        words_before = run.model_lane_words()
        receipt = run.settle(round_, posting)
        approved, yardstick_after, _ = gate(run.constants, round_, lanes, 63, posting, yardstick)
        assert run.lane_words() == run.model_lane_words()
        record = settled_digest(
            accumulator,
            63,
            seed,
            posting.encode(),
            approved,
            (yardstick, yardstick_after),
            (words_before, run.model_lane_words()),
        )
        [settled] = ledger.events.RoundSettled().process_receipt(receipt, errors=DISCARD)
        assert dict(settled["args"]) == {
            "round": round_,
            "approved": approved,
            "yardstick": yardstick_after,
            "seed": seed,
            "record": record,
        }
        assert ledger.functions.recordOf(round_).call() == record

        receipt = run.finalize(round_)
        parent, weights = keccak(text=f"model {round_}"), keccak(text=f"weights {round_}")
        previous = keccak(
            encode(["bytes32"] * 4, [keccak(text="hallmark.final.v1"), record, parent, weights])
        )
        [final] = ledger.events.RoundFinalized().process_receipt(receipt, errors=DISCARD)
        assert dict(final["args"]) == {
            "round": round_,
            "modelRoot": parent,
            "weightsDigest": weights,
            "record": previous,
        }
        [opened] = ledger.events.RoundOpened().process_receipt(receipt, errors=DISCARD)
        assert opened["args"]["round"] == round_ + 1
        assert opened["args"]["parentModel"] == parent
        assert ledger.functions.recordOf(round_).call() == previous
        assert ledger.functions.recordOf(round_ + 1).call() == bytes(32)
        assert run.state()["presence"] == 0


def test_rounds_with_absent_members_lanes_match_the_model(run: Run, rng: random.Random) -> None:
    for round_ in range(1, 9):
        absent = [i for i in range(5) if rng.random() < 0.4]
        run.commit_all(round_, absent)
        run.seal_if_open(round_)
        run.chain.mine(1)
        posting = run.posting(rng, flip=rng.choice([0.1, 0.4, 0.5, 0.6]))
        run.settle(round_, posting)
        assert run.lane_words() == run.model_lane_words()
        assert run.state()["yardstick"] == run.yardstick
        approved_any = run.state()["anyApproved"]
        run.finalize(round_, model=None if approved_any else run.ledger.functions.parentModel().call())


def test_commit_alone_for_and_batch_append_to_the_same_record(run: Run) -> None:
    chain, ledger, parent = run.chain, run.ledger, keccak(text="model 0")
    deadline = chain.now + 500
    accumulator = start_digest(run, 1, bytes(32), parent)

    # 3 by its signer, 1 by its identity, 5 with a 65-byte signature, 0 and 4 as a batch; 2 closes the cohort.
    for index, key in ((3, run.members[3].signer_key), (1, run.members[1].identity_key)):
        c = Commitment(index, update_root(1, index))
        receipt = chain.send(
            ledger.functions.commit(1, index, parent, c.update_root, c.tokens, deadline), key
        )
        [event] = ledger.events.ContributionCommitted().process_receipt(receipt, errors=DISCARD)
        assert dict(event["args"]) == {
            "round": 1,
            "index": index,
            "worker": run.members[index].identity,
            "updateRoot": c.update_root,
            "tokens": c.tokens,
            "deadline": deadline,
        }
        accumulator = keccak(accumulator + run.digest(1, c, deadline))
    c = Commitment(5, update_root(1, 5))
    signature = sign_full(run.digest(1, c, deadline), run.members[5].signer_key)
    chain.send(ledger.functions.commitFor(1, 5, c.update_root, c.tokens, deadline, signature), OUTSIDER)
    accumulator = keccak(accumulator + run.digest(1, c, deadline))
    pair = [Commitment(0, update_root(1, 0)), Commitment(4, update_root(1, 4))]
    chain.send(run.batch(1, pair, deadline), RELAYER)
    for c in pair:
        accumulator = keccak(accumulator + run.digest(1, c, deadline))
    assert ledger.functions.presence().call() == 0b111011
    assert run.state()["stage"] == 1
    c = Commitment(2, update_root(1, 2))
    chain.send(
        ledger.functions.commit(1, 2, parent, c.update_root, c.tokens, deadline), run.members[2].signer_key
    )
    accumulator = keccak(accumulator + run.digest(1, c, deadline))
    assert ledger.functions.recordOf(1).call() == accumulator
    assert run.state()["stage"] == 2
    assert run.state()["presence"] == 63


def test_presence_of_an_earlier_round_does_not_leak(run: Run, rng: random.Random) -> None:
    run.reach_settled(1, rng, absent=[0])
    run.finalize(1)
    assert run.ledger.functions.presence().call() == 0
    run.commit_all(2, absent=[1, 2])
    assert run.ledger.functions.presence().call() == 0b111001
    run.seal_if_open(2)
    run.chain.mine(1)
    run.settle(2, run.posting(rng))
    run.finalize(2)
    run.commit_all(3)
    assert run.ledger.functions.presence().call() == 63
    run.chain.mine(1)
    run.settle(3, run.posting(rng))
    run.finalize(3)
    run.commit_all(4, absent=[4])
    assert run.ledger.functions.presence().call() == 0b101111


def test_fixed_seed_outlives_the_block_hash(run: Run, rng: random.Random) -> None:
    run.reach_sealed(1)
    seed = run.ledger.functions.currentSeed().call()
    receipt = run.chain.send(run.ledger.functions.fixSeed(1), OUTSIDER)
    [event] = run.ledger.events.SeedFixed().process_receipt(receipt, errors=DISCARD)
    assert event["args"]["seed"] == seed
    run.chain.mine(300)
    assert run.ledger.functions.currentSeed().call() == seed
    receipt = run.settle(1, run.posting(rng))
    [settled] = run.ledger.events.RoundSettled().process_receipt(receipt, errors=DISCARD)
    assert settled["args"]["seed"] == seed


def void_digest(last: bytes, reason: int) -> bytes:
    return keccak(encode(["bytes32", "bytes32", "uint256"], [keccak(text="hallmark.void.v1"), last, reason]))


def test_seed_missed_voids_and_the_next_round_chains_on(run: Run, rng: random.Random) -> None:
    run.commit_all(1)
    seal_block = run.state()["sealBlock"]
    accumulator = run.ledger.functions.recordOf(1).call()
    # The next block is the last in which the hash of seal_block + 1 can be read.
    run.chain.mine(256)
    assert run.chain.web3.eth.block_number == seal_block + 256
    assert run.ledger.functions.currentSeed().call() != bytes(32)
    not_yet = run.chain.error(run.ledger.functions.voidRound(1))
    assert not_yet.name == "ContributionLedgerNotOverdue"
    run.chain.mine(1)
    assert run.ledger.functions.currentSeed().call() == bytes(32)
    assert run.chain.error(run.ledger.functions.fixSeed(1)).name == "ContributionLedgerSeedMissed"
    posting = run.posting(rng)
    missed = run.chain.error(run.ledger.functions.settle(1, posting.encode()), run.guard.signer_key)
    assert missed.name == "ContributionLedgerSeedMissed"
    assert missed.arguments == (seal_block + 257,)
    receipt = run.chain.send(run.ledger.functions.voidRound(1), OUTSIDER)
    [event] = run.ledger.events.RoundVoided().process_receipt(receipt, errors=DISCARD)
    record = void_digest(accumulator, 2)
    assert dict(event["args"]) == {"round": 1, "reason": 2, "record": record}
    state = run.state()
    assert (state["stage"], state["round"], state["record"]) == (0, 1, record)
    assert state["parentModel"] == keccak(text="model 0")

    run.chain.send(run.ledger.functions.openRound(run.chain.now + 100), AGGREGATOR)
    deadline = run.chain.now + 50
    one = Commitment(2, update_root(2, 2))
    run.chain.send(run.batch(2, [one], deadline), RELAYER)
    start = start_digest(run, 2, record, keccak(text="model 0"))
    assert run.ledger.functions.recordOf(2).call() == keccak(start + run.digest(2, one, deadline))


def test_settle_overdue_voids_even_with_a_fixed_seed(run: Run) -> None:
    run.reach_sealed(1)
    run.chain.send(run.ledger.functions.fixSeed(1), OUTSIDER)
    early = run.chain.error(run.ledger.functions.voidRound(1))
    assert early.name == "ContributionLedgerNotOverdue"
    assert early.arguments == (0, run.state()["sealedAt"] + 3600)
    run.chain.travel(3601)
    receipt = run.chain.send(run.ledger.functions.voidRound(1), OUTSIDER)
    [event] = run.ledger.events.RoundVoided().process_receipt(receipt, errors=DISCARD)
    assert event["args"]["reason"] == 3


def test_seal_without_anchor_voids(run: Run) -> None:
    run.commit_all(1, absent=[5])
    accumulator = run.ledger.functions.recordOf(1).call()
    run.chain.travel(1100)
    receipt = run.chain.send(run.ledger.functions.seal(1), OUTSIDER)
    [event] = run.ledger.events.RoundVoided().process_receipt(receipt, errors=DISCARD)
    assert dict(event["args"]) == {"round": 1, "reason": 1, "record": void_digest(accumulator, 1)}


def test_records_of_empty_rounds_chain_on(run: Run) -> None:
    previous = bytes(32)
    for round_ in (1, 2):
        run.chain.travel(1100)
        receipt = run.chain.send(run.ledger.functions.seal(round_), OUTSIDER)
        [event] = run.ledger.events.RoundVoided().process_receipt(receipt, errors=DISCARD)
        start = start_digest(run, round_, previous, keccak(text="model 0"))
        previous = void_digest(start, 1)
        assert event["args"]["record"] == previous == run.ledger.functions.recordOf(round_).call()
        run.chain.send(run.ledger.functions.openRound(run.chain.now + 1000), AGGREGATOR)


def test_guard_alone_settles_with_nothing_to_judge(run: Run) -> None:
    run.commit_all(1, absent=range(5))
    run.seal_if_open(1)
    run.chain.mine(1)
    posting = Posting(Assay(5, 5, 5), 0, ())
    run.settle(1, posting)
    assert run.state()["yardstick"] == 0
    assert run.lane_words() == [0, 0]
    assert run.state()["anyApproved"] is False
    run.finalize(1, model=keccak(text="model 0"), reopen=False)
    assert run.state()["stage"] == 0


def test_statuses_refuse_and_stay_out_of_the_median(run: Run, rng: random.Random) -> None:
    run.reach_sealed(1)
    base = run.posting(rng, flip=0.2)
    assays = list(base.assays)
    assays[1] = assays[3] = Assay()
    posting = with_median(
        run.constants, run.lanes, 63, Posting(base.anchor, 0, tuple(assays), 1 << 1, 1 << 3)
    )
    receipt = run.settle(1, posting)
    assert run.lane_words() == run.model_lane_words()
    [event] = run.ledger.events.RoundSettled().process_receipt(receipt, errors=DISCARD)
    assert event["args"]["approved"] & 0b1010 == 0
    assert run.lanes[1] == Lane(0, 2560, 0, 1, 1)


def test_unavailable_needs_an_unanswered_request(run: Run, rng: random.Random) -> None:
    requests = run.chain.deploy("TestDataRequests")
    other = Run.deploy(
        run.chain, 5, data_requests=requests.address, registry=run.registry, members=run.members
    )
    other.reach_sealed(1)
    base = other.posting(rng)
    assays = (Assay(), *base.assays[1:])
    posting = with_median(other.constants, other.lanes, 63, Posting(base.anchor, 0, assays, unavailable=1))
    function = other.ledger.functions.settle(1, posting.encode())
    refused = run.chain.error(function, other.guard.signer_key)
    assert (refused.name, refused.arguments) == ("ContributionLedgerNotGranted", (1,))
    run.chain.send(requests.functions.setUnanswered(other.ledger.address, 1, 1), DEPLOYER)
    other.settle(1, posting)
    assert other.lane_words() == other.model_lane_words()


def test_a_member_is_banned_and_frozen(run: Run, rng: random.Random) -> None:
    for round_ in range(1, 6):
        run.reach_sealed(round_)
        base = run.posting(rng, flip=0.2)
        assays = (Assay(), *base.assays[1:])
        posting = Posting(base.anchor, 0, assays, malformed=1)
        if round_ > 3:
            posting = run.posting(rng, flip=0.1)
        run.settle(round_, with_median(run.constants, run.lanes, 63, posting))
        assert run.lane_words() == run.model_lane_words()
        run.finalize(round_)
    view = run.reputation.functions.reputationOf(run.members[0].identity).call()
    assert view == (0, 7680, 0, 3, 3, True)


def test_reputation_reads(run: Run, rng: random.Random) -> None:
    reputation = run.reputation.functions
    assert reputation.members().call() == [member.identity for member in run.members]
    assert reputation.ledger().call() == run.ledger.address
    assert reputation.reputationAt(0).call() == (0, 0, 0, 0, 0, False)
    run.reach_settled(1, rng, absent=[4])
    for i, lane in enumerate(run.lanes):
        view = (lane.ema, lane.llr, lane.accepted, lane.refused, lane.last_round, False)
        assert reputation.reputationAt(i).call() == view
        assert reputation.reputationOf(run.members[i].identity).call() == view
    assert run.lanes[4] == Lane()
    unknown = run.chain.error(reputation.reputationOf(address(OUTSIDER)))
    assert unknown.name == "ReputationUnknownMember"
    assert run.chain.error(reputation.reputationAt(6)).name == "CohortNoSuchIndex"
    for interface in ("IReputation", "IERC165"):
        identifier = interface_id(interface)
        assert reputation.supportsInterface(identifier).call()
    assert not reputation.supportsInterface(b"\xff" * 4).call()
    assert run.ledger.functions.supportsInterface(interface_id("IContributionLedger")).call()


def interface_id(name: str) -> bytes:
    if name == "IERC165":
        return bytes.fromhex("01ffc9a7")
    value = 0
    for entry in artifact(name)["abi"]:
        if entry["type"] == "function" and entry["name"] != "supportsInterface":
            types = ",".join(type_name(item) for item in entry["inputs"])
            value ^= int.from_bytes(keccak(text=f"{entry['name']}({types})")[:4], "big")
    return value.to_bytes(4, "big")


def type_name(item: dict[str, object]) -> str:
    if str(item["type"]).startswith("tuple"):
        components: list[dict[str, object]] = item["components"]  # type: ignore[assignment]
        return f"({','.join(type_name(part) for part in components)})" + str(item["type"])[5:]
    return str(item["type"])


def test_fields_of_the_run(run: Run) -> None:
    functions = run.ledger.functions
    assert functions.full().call() == 63
    assert functions.specDigest().call() == spec_digest(run.constants)
    assert run.spec.functions.specDigest().call() == spec_digest(run.constants)
    assert run.spec.functions.parameters().call() == run.constants.as_tuple()
    assert functions.guardSigner().call() == run.guard.signer
    assert functions.aggregator().call() == address(AGGREGATOR)
    assert functions.cohort().call() == run.cohort
    assert functions.registry().call() == run.registry.contract.address
    assert functions.shapeDigest().call() == keccak(text="shape")
    assert functions.length().call() == 1_000_000
    assert functions.currentRound().call() == 1
