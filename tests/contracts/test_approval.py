"""What other contracts read: isApproved, ERC-1271 signers, and the example that pays for approved updates."""

import random
from typing import Any

import pytest
from eth_utils import keccak

from tests.contracts.model import gate
from tests.contracts.support import (
    DEPLOYER,
    OUTSIDER,
    Actor,
    Commitment,
    Registry,
    Run,
    address,
    sign_full,
    update_root,
)
from tests.contracts.test_round import lanes_hash, start_digest

PARENT = keccak(text="model 0")


def settled_with_proofs(run: Run, rng: random.Random) -> dict[int, dict[str, Any]]:
    """Play round 1 to settled; give each member's proof by cohort index."""
    deadline = run.chain.now + 10_000
    commitments = [Commitment(i, update_root(1, i)) for i in range(6)]
    digests = [run.digest(1, c, deadline) for c in commitments]
    run.chain.send(run.batch(1, commitments, deadline), OUTSIDER)
    run.chain.mine(1)
    seed = run.ledger.functions.currentSeed().call()
    posting = run.posting(rng, flip=0.45)
    lanes_before, words_before = list(run.lanes), run.model_lane_words()
    run.settle(1, posting)
    approved, yardstick, _ = gate(run.constants, 1, lanes_before, 63, posting, 0)
    proofs = {}
    accumulator = start_digest(run, 1, bytes(32), PARENT)
    for i, digest in enumerate(digests):
        proofs[i] = {
            "parentModel": PARENT,
            "tokens": 4096,
            "deadline": deadline,
            "accumulatorBefore": accumulator,
            "laterDigests": digests[i + 1 :],
            "presence": 63,
            "seed": seed,
            "payloadHash": keccak(posting.encode()),
            "approved": approved,
            "yardstickBefore": 0,
            "yardstickAfter": yardstick,
            "lanesBeforeHash": lanes_hash(words_before),
            "lanesAfterHash": lanes_hash(run.model_lane_words()),
            "isFinalized": False,
            "modelRoot": bytes(32),
            "weightsDigest": bytes(32),
        }
        accumulator = keccak(accumulator + digest)
    return proofs


def finalized(proof: dict[str, Any]) -> dict[str, Any]:
    return proof | {
        "isFinalized": True,
        "modelRoot": keccak(text="model 1"),
        "weightsDigest": keccak(text="weights 1"),
    }


def is_approved(
    run: Run, index: int, proof: dict[str, Any], round_: int = 1, root: bytes | None = None
) -> bool:
    root = update_root(1, index) if root is None else root
    return bool(run.ledger.functions.isApproved(round_, index, root, tuple(proof.values())).call())


def test_is_approved_settled_and_finalized(run: Run, rng: random.Random) -> None:
    proofs = settled_with_proofs(run, rng)
    approved = proofs[0]["approved"]
    assert approved & 31
    for i in range(6):
        assert is_approved(run, i, proofs[i]) == bool(approved >> i & 1)
        assert not is_approved(run, i, finalized(proofs[i]))
    run.finalize(1)
    for i in range(6):
        assert not is_approved(run, i, proofs[i])
        assert is_approved(run, i, finalized(proofs[i])) == bool(approved >> i & 1)


def test_is_approved_no_other_statement_passes(run: Run, rng: random.Random) -> None:
    proofs = settled_with_proofs(run, rng)
    index = (proofs[0]["approved"] & -proofs[0]["approved"]).bit_length() - 1
    proof = proofs[index]
    assert is_approved(run, index, proof)
    assert not is_approved(run, index, proof, round_=2)
    assert not is_approved(run, index, proof, root=update_root(1, (index + 1) % 5))
    assert not is_approved(run, (index + 1) % 5, proof)
    assert not is_approved(run, 6, proof)
    assert not is_approved(run, 256, proof)
    for name, value in proof.items():
        if isinstance(value, bool) or name in ("modelRoot", "weightsDigest"):
            continue
        if isinstance(value, int):
            changed: Any = value ^ (1 << 5) if name == "approved" else value ^ 1
        elif isinstance(value, list):
            changed = [*value, bytes(32)]
        else:
            changed = keccak(value)
        assert not is_approved(run, index, proof | {name: changed}), name
    refused = next(i for i in range(6) if not proof["approved"] >> i & 1)
    forged = proofs[refused] | {"approved": proof["approved"] | 1 << refused}
    assert not is_approved(run, refused, forged)


def test_payout_pays_once_for_approved_final_updates(run: Run, rng: random.Random) -> None:
    payout = run.chain.deploy("ApprovedPayout", run.ledger.address, 10**15, 1, value=10**16)
    proofs = settled_with_proofs(run, rng)
    approved = [i for i in range(6) if proofs[0]["approved"] >> i & 1]
    index = approved[0]

    def claim(i: int, proof: dict[str, Any]) -> Any:
        return payout.functions.claim(1, i, update_root(1, i), tuple(proof.values()))

    assert run.chain.error(claim(index, proofs[index])).name == "ApprovedPayoutNotApproved"
    run.finalize(1)
    worker = run.members[index].identity
    before = run.chain.web3.eth.get_balance(worker)
    run.chain.send(claim(index, finalized(proofs[index])), OUTSIDER)
    assert run.chain.web3.eth.get_balance(worker) == before + 10**15
    again = run.chain.error(claim(index, finalized(proofs[index])))
    assert (again.name, again.arguments) == ("ApprovedPayoutAlreadyPaid", (1, index))
    guard = run.chain.error(claim(5, finalized(proofs[5])))
    assert guard.name == "ApprovedPayoutNotApproved"

    strict = run.chain.deploy("ApprovedPayout", run.ledger.address, 10**15, 2, value=10**16)
    proof = finalized(proofs[index])
    low = run.chain.error(strict.functions.claim(1, index, update_root(1, index), tuple(proof.values())))
    assert (low.name, low.arguments) == ("ApprovedPayoutLowReputation", (worker.lower(), 1, False))


@pytest.mark.parametrize("good", [True, False])
def test_commit_for_an_erc1271_signer(run: Run, good: bool) -> None:
    chain, registry = run.chain, run.registry
    member = Actor(OUTSIDER, OUTSIDER)
    wallet = chain.deploy("TestWallet", address(DEPLOYER))
    proof = registry.proof(member.identity, wallet.address, DEPLOYER)
    chain.send(registry.contract.functions.join(wallet.address, proof), OUTSIDER, 10**18)
    other = Run.deploy(chain, 1, registry=Registry(chain, registry.contract), members=[member, run.guard])
    c, deadline = Commitment(0, update_root(1, 0)), chain.now + 100
    signature = sign_full(other.digest(1, c, deadline), DEPLOYER if good else OUTSIDER)
    function = other.ledger.functions.commitFor(1, 0, c.update_root, c.tokens, deadline, signature)
    if good:
        chain.send(function, OUTSIDER)
        assert other.ledger.functions.presence().call() == 1
    else:
        error = chain.error(function)
        assert (error.name, error.arguments[:2]) == (
            "ContributionLedgerWrongSigner",
            (0, wallet.address.lower()),
        )
