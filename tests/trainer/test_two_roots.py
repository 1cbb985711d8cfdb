"""Members that sign two roots: seen in batches, in reverted calls, and over a reorganisation."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.main import hallmark
from ledger.blobs import BlobStore
from ledger.calldata import SignedCommitment, encode_batch
from ledger.challenges import SignedRoot, expand_signature
from ledger.challenges.calls import encode_call
from ledger.client import LedgerClient, Stage
from ledger.contribution import sign
from ledger.deployment import ledger_address
from ledger.history import read_rounds
from ledger.node import Node
from ledger.parties import Party, local_parties
from ledger.stakes import VaultClient
from tests.ledger.forks import ForkingChain
from tests.trainer.lying import CHALLENGER
from tests.trainer.recorded import Recorded, record
from tests.trainer.test_reorganisations import config_of
from tests.trainer.test_reorganisations import fork as fork
from tests.trainer.toys import tiny_run
from trainer.challenger import ChallengeJournal, Challenger, Outcome, PassReport, State
from trainer.challenger.signatures import Seen, SignedRoots
from trainer.folder import RunFolder
from trainer.reporting import SilentObserver
from trainer.run import run

WORKERS = 3
OTHER_ROOT = b"\x42" * 32
PARTIES = local_parties(WORKERS)


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Recorded]:
    with record(tiny_run(out=str(tmp_path / "run"), workers=WORKERS, rounds=1)) as opened:
        yield opened


def signed(
    client: LedgerClient, index: int, party: Party, parent: bytes, root: bytes = OTHER_ROOT
) -> SignedCommitment:
    """Sign another root than the one that was committed."""
    contribution = client.contribution(index, 1, parent, root, 7, 2**39)
    digest = contribution.digest(client.facts.domain)
    return SignedCommitment(root, 7, sign(digest, bytes(party.signer.key)))


def send_in_vain(client: LedgerClient, calldata: bytes) -> None:
    """Send what the ledger refuses, without asking it before."""
    node, sender = client.node, PARTIES.operator
    fields: dict[str, Any] = {
        "to": client.address, "data": calldata, "value": 0, "gas": 2_000_000, "chainId": node.chain_id,
        "nonce": node.nonce(sender.address), "maxFeePerGas": 10**10, "maxPriorityFeePerGas": 10**9,
    }  # fmt: skip
    raw = sender.sign_transaction(fields)
    node.web3.eth.send_raw_transaction(raw.raw_transaction)
    assert node.web3.eth.get_transaction_receipt(raw.hash)["status"] == 0


def batch(items: dict[int, SignedCommitment]) -> bytes:
    members, packed = encode_batch(items)
    return encode_call("ContributionLedger", "commitBatch", (1, 2**39, members, packed))


def look(client: LedgerClient, store: BlobStore, path: Path | None = None) -> PassReport:
    kept = None if path is None else ChallengeJournal(path, 31337, client.address)
    return Challenger(client, store, CHALLENGER, kept).run_pass()


def stake_wei(client: LedgerClient) -> int:
    vault = VaultClient(client.node, client.facts.vault)
    return vault.stake_of(client.address, client.facts.members[-1].identity).amount_wei


def only(report: PassReport) -> Outcome:
    [outcome] = report.outcomes
    return outcome


@pytest.mark.parametrize("is_batch", [True, False])
def test_a_second_signature_in_a_reverted_call_costs_the_stake(
    recorded: Recorded, tmp_path: Path, is_batch: bool
) -> None:
    client, store, path = recorded.client(), recorded.store(), tmp_path / "journal.json"
    parent, guard = recorded.histories[0].parent_model, client.facts.guard_indices[0]
    assert look(client, store, path).outcomes == []
    item = signed(client, guard, PARTIES.guard, parent)
    if is_batch:
        send_in_vain(client, batch({guard: item}))
    else:
        arguments = (1, guard, OTHER_ROOT, 7, 2**39, expand_signature(item.signature))
        send_in_vain(client, encode_call("ContributionLedger", "commitFor", arguments))
    before = stake_wei(client)
    outcome = only(look(client, store, path))
    assert (outcome.state, outcome.kind, outcome.slashed_wei) == (State.SLASHED, "two_roots", before)
    assert {outcome.falsehood.expected, outcome.falsehood.posted} == {
        "0x" + recorded.root(1, guard).hex(),
        "0x" + OTHER_ROOT.hex(),
    }
    assert not outcome.is_standing
    assert (stake_wei(client), client.overturned_of(1)) == (0, 0)
    head = client.node.block_number()
    assert look(client, store, path).outcomes == []
    # Without its journal it sees them again, and sends nothing.
    again = only(look(client, store))
    assert (again.state, again.transaction) == (State.SLASHED, None)
    assert client.node.block_number() == head


def test_a_worker_without_a_stake_is_told_once(recorded: Recorded, tmp_path: Path) -> None:
    client, store, path = recorded.client(), recorded.store(), tmp_path / "journal.json"
    parent = recorded.histories[0].parent_model
    send_in_vain(client, batch({1: signed(client, 1, PARTIES.workers[1], parent)}))
    report = look(client, store, path)
    assert (only(report).state, only(report).falsehood.index, report.is_clean) == (State.UNSTAKED, 1, True)
    assert look(client, store, path).outcomes == []


def test_what_is_not_two_roots_is_not_challenged(recorded: Recorded) -> None:
    client, guard = recorded.client(), recorded.facts.guard_indices[0]
    parent = recorded.histories[0].parent_model
    worker = PARTIES.workers[0]
    send_in_vain(client, batch({guard: signed(client, guard, worker, parent)}))  # another key
    send_in_vain(client, batch({guard: signed(client, guard, PARTIES.guard, b"\x01" * 32)}))  # another parent
    root = recorded.root(1, guard)
    send_in_vain(client, batch({guard: signed(client, guard, PARTIES.guard, parent, root)}))  # the same root
    item = signed(client, guard, PARTIES.guard, parent)
    broken = SignedCommitment(item.update_root, item.tokens, bytes(64))
    send_in_vain(client, batch({guard: broken}))
    send_in_vain(client, batch({guard: item})[:200])
    head = client.node.block_number()
    assert look(client, recorded.store()).outcomes == []
    assert client.node.block_number() == head


def test_a_signature_that_a_reorganisation_has_taken_away_is_remembered(
    fork: ForkingChain, tmp_path: Path
) -> None:
    config, path = config_of(tmp_path, rounds=1), tmp_path / "journal.json"
    run(config, SilentObserver())
    node, folder = Node(fork), RunFolder(Path(config.out))
    client = LedgerClient(node, ledger_address(folder.deployment, node.chain_id))
    store, guard = BlobStore(folder.blobs), client.facts.guard_indices[0]
    assert look(client, store, path).outcomes == []
    [history] = read_rounds(node, client.address)
    fork.reorganise(node.block_number() - history.commitments[0].block + 1)
    assert (client.state().stage, client.state().presence) == (Stage.OPEN, 0)
    parent = client.facts.initial_model
    state = client.state()
    contribution = client.contribution(guard, 1, parent, OTHER_ROOT, 7, state.commit_deadline)
    signature = sign(contribution.digest(client.facts.domain), bytes(PARTIES.guard.signer.key))
    client.commit_batch(
        PARTIES.operator, 1, state.commit_deadline, {guard: SignedCommitment(OTHER_ROOT, 7, signature)}
    )
    assert look(client, store).outcomes == [], "who has not seen the first one sees one"
    outcome = only(look(client, store, path))
    assert (outcome.state, outcome.falsehood.index) == (State.SLASHED, guard)
    assert stake_wei(client) == 0


def test_two_parents_are_kept_apart_and_little_is_kept() -> None:
    roots = SignedRoots()
    parents = [bytes([number]) * 32 for number in range(3)]
    for number, parent in enumerate(parents):
        # An honest member, over reorganisations that change what its round starts from.
        roots.add(Seen(1, 0, parent, SignedRoot(bytes([9 + number]) * 32, 7, 8, bytes(65))))
    assert list(roots.pairs()) == []
    for number in range(20):
        roots.add(Seen(1, 0, parents[0], SignedRoot(bytes([30 + number]) * 32, 7, 8, bytes(65))))
    [(round_, index, parent, first, second)] = roots.pairs()
    assert (round_, index, parent) == (1, 0, parents[0])
    assert (first.update_root[0], second.update_root[0]) == (9, 30)
    again = SignedRoots.from_json(json.loads(json.dumps(roots.as_json())))
    assert list(again.pairs()) == list(roots.pairs())
    again.forget_before(100)
    assert len(list(again.pairs())) == 1, "nobody was told of it yet"
    again.set_told(1, 0)
    again.forget_before(100)
    assert again.as_json() == {"scanned_block": -1, "parents": {}, "told": [], "found": []}


def test_a_dry_run_and_the_command_say_what_they_see(recorded: Recorded) -> None:
    client, guard = recorded.client(), recorded.facts.guard_indices[0]
    send_in_vain(
        client, batch({guard: signed(client, guard, PARTIES.guard, recorded.histories[0].parent_model)})
    )
    outcome = only(Challenger(client, recorded.store(), None).run_pass())
    assert outcome.state == State.PLANNED
    assert outcome.price is not None
    assert 50_000 < outcome.price.gas < 300_000
    assert Challenger(client, recorded.store(), None, scan_blocks=0).run_pass().outcomes == []
    shown = CliRunner().invoke(hallmark, ["challenger", "--help"])
    assert "--scan-blocks" in shown.output
