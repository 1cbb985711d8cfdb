"""Deployments that are interrupted, repeated, shared, and read."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from eth_utils import keccak

from guard.gate import GateParameters
from ledger.chain import EmbeddedChain, EmbeddedProvider, LogicalClock, RpcDispatcher
from ledger.client import LedgerClient
from ledger.cohort import read_cohorts
from ledger.deployment import (
    MINIMUM_STAKE_WEI,
    Deployer,
    DeploymentError,
    Journal,
    RunFacts,
    cohort_code,
    find_ledger,
    ledger_address,
)
from ledger.errors import InputError
from ledger.node import Node
from ledger.parties import local_parties
from ledger.stakes import VaultClient
from tests.ledger.played import FACTS, played

PARAMETERS = GateParameters().as_tuple()


def test_deployment_is_found_again_and_nothing_is_sent(tmp_path: Path) -> None:
    with played(tmp_path) as run:
        head = run.node.block_number()
        again = Deployer(run.node, run.parties.operator, Journal(run.journal, 31337))
        assert again.run(PARAMETERS, run.parties, FACTS) == run.client.address
        assert run.node.block_number() == head
        assert ledger_address(run.journal, 31337) == run.client.address


def test_contract_that_was_mined_but_not_written_down_is_found(tmp_path: Path) -> None:
    with played(tmp_path) as run:
        content = json.loads(run.journal.read_text())
        for step in ("registry", "spec", "ledger"):
            del content[step]["address"]
        run.journal.write_text(json.dumps(content))
        head = run.node.block_number()
        again = Deployer(run.node, run.parties.operator, Journal(run.journal, 31337))
        assert again.run(PARAMETERS, run.parties, FACTS) == run.client.address
        assert run.node.block_number() == head


def test_second_run_shares_registry_and_rules(tmp_path: Path) -> None:
    with played(tmp_path) as run:
        other = Journal(tmp_path / "other.json", 31337)
        other.adopt_shared(Journal(run.journal, 31337))
        facts = RunFacts(8, FACTS.initial_model, FACTS.shape_digest, 10, 3600)
        address = Deployer(run.node, run.parties.operator, other).run(PARAMETERS, run.parties, facts)
        assert address != run.client.address
        changed = (*PARAMETERS[:-1], PARAMETERS[-1] - 1)
        with pytest.raises(DeploymentError, match="other constants"):
            Deployer(run.node, run.parties.operator, other).shared(changed)
        third = Journal(tmp_path / "third.json", 31337)
        with pytest.raises(DeploymentError, match=r"there is no .*none.json"):
            third.adopt_shared(Journal(tmp_path / "none.json", 31337))
        begun = Journal(tmp_path / "begun.json", 31337)
        begun.put("operator", "0x")
        with pytest.raises(DeploymentError, match="names no deployed registry"):
            third.adopt_shared(begun)


def test_journal_of_contracts_that_are_gone_is_refused(tmp_path: Path) -> None:
    with played(tmp_path) as run:
        journal = run.journal
    with EmbeddedChain.open(None, clock=LogicalClock()) as chain:
        node = Node(EmbeddedProvider(RpcDispatcher(chain)))
        deployer = Deployer(node, local_parties(2).operator, Journal(journal, 31337))
        with pytest.raises(DeploymentError, match="does not hold our WorkerRegistry") as caught:
            deployer.run(PARAMETERS, local_parties(2), FACTS)
        assert "same version" in caught.value.hint


def test_another_chain_with_the_same_addresses_is_refused(tmp_path: Path) -> None:
    """The same deployment on two chains whose clocks differ: every address and every code is the same."""
    (tmp_path / "one").mkdir()
    with played(tmp_path / "one") as one:
        journal, address = one.journal, one.client.address
        assert find_ledger(journal, one.node) == address
    with EmbeddedChain.open(None, clock=LogicalClock()) as chain:
        node, parties = Node(EmbeddedProvider(RpcDispatcher(chain))), local_parties(2)
        node.wait_until(node.timestamp() + 1000)
        other = Deployer(node, parties.operator, Journal(tmp_path / "two.json", 31337))
        assert other.run(PARAMETERS, parties, FACTS) == address
        with pytest.raises(DeploymentError, match="not the chain of the deployment") as caught:
            find_ledger(journal, node)
        assert "--rpc-url" in caught.value.hint
        with pytest.raises(DeploymentError, match="not the chain of the deployment"):
            Deployer(node, parties.operator, Journal(journal, 31337)).run(PARAMETERS, parties, FACTS)


def test_deployment_with_a_challenge_stakes_once_and_again_after_a_slash(tmp_path: Path) -> None:
    with played(tmp_path) as run:
        challenge, guard = run.parties.workers[1].identity, run.parties.guard.identity
        facts = RunFacts(
            9, b"\x05" * 32, b"\x06" * 32, 10, 3600, challenge=challenge.address, guardian=guard.address
        )
        path = tmp_path / "staked.json"

        def deploy() -> LedgerClient:
            deployer = Deployer(run.node, run.parties.operator, Journal(path, 31337))
            return LedgerClient(run.node, deployer.run(PARAMETERS, run.parties, facts))

        client = deploy()
        assert (client.facts.challenge, client.facts.guardian) == (challenge.address, guard.address)
        assert client.facts.initial_model == b"\x05" * 32
        assert not client.state().is_unbonded
        vault = VaultClient(run.node, client.facts.vault)
        assert vault.stake_of(client.address, guard.address).bonded_wei == MINIMUM_STAKE_WEI
        head = run.node.block_number()
        # As if the crash had come just after the ledger was mined.
        content = json.loads(path.read_text())
        for step in ("vault", "ledger"):
            del content[step]["address"], content[step]["seen"]
        path.write_text(json.dumps(content))
        assert deploy().address == client.address
        assert run.node.block_number() == head
        slash = vault._functions.slash(client.address, guard.address, challenge.address)
        run.node.send(challenge, slash, local_gas=500_000)
        assert client.state().is_unbonded
        assert vault.credit_of(challenge.address) == MINIMUM_STAKE_WEI // 2
        deploy()
        assert not client.state().is_unbonded
        vault.start_unbonding(guard, client.address)
        deploy()  # a withdrawal is the guard's will
        assert client.state().is_unbonded
        run.node.wait_until(vault.stake_of(client.address, guard.address).withdrawable_at)
        vault.withdraw(guard, client.address)
        assert vault.credit_of(guard.address) == MINIMUM_STAKE_WEI
        vault.claim(guard, "0x" + "77" * 20)
        assert run.node.balance_wei("0x" + "77" * 20) == MINIMUM_STAKE_WEI


def test_deployment_keeps_the_number_of_guards(tmp_path: Path) -> None:
    with played(tmp_path, workers=2, guards=3) as run:
        assert json.loads(run.journal.read_text())["cohort"]["guards"] == 3
        head = run.node.block_number()
        journal = Journal(run.journal, 31337)
        assert Deployer(run.node, run.parties.operator, journal).run(PARAMETERS, run.parties, FACTS) == (
            run.client.address
        )
        assert run.node.block_number() == head
        again = Deployer(run.node, run.parties.operator, journal)
        # The same five members, another number of them guards: the cohort's code is not the same either.
        for parties in (local_parties(2), local_parties(4)):
            with pytest.raises(DeploymentError, match="of a run with 3 guards, not 1") as caught:
                again.run(PARAMETERS, parties, FACTS)
            assert "--out" in caught.value.hint
        with pytest.raises(InputError, match="odd number"):
            again.run(PARAMETERS, replace(run.parties, guards=run.parties.guards[:2]), FACTS)
        (cohort,) = read_cohorts(run.node, run.client.facts.registry)
        assert (cohort.workers, cohort.guards) == (2, 3)
        assert run.node.code(cohort.address) == cohort_code(run.parties.members)
        assert cohort.members_digest == keccak(cohort_code(run.parties.members)[1:])


def test_deployment_of_before_there_were_several_guards_has_one(tmp_path: Path) -> None:
    with played(tmp_path) as run:
        content = json.loads(run.journal.read_text())
        del content["cohort"]["guards"]
        run.journal.write_text(json.dumps(content))
        again = Deployer(run.node, run.parties.operator, Journal(run.journal, 31337))
        assert again.run(PARAMETERS, run.parties, FACTS) == run.client.address
        with pytest.raises(DeploymentError, match="of a run with 1 guards, not 3"):
            again.run(PARAMETERS, local_parties(2, 3), FACTS)


def test_every_guard_stakes_and_the_state_tells_when_one_has_not(tmp_path: Path) -> None:
    with played(tmp_path, workers=1, guards=3) as run:
        challenge = run.parties.workers[0].identity
        facts = replace(FACTS, run=9, challenge=challenge.address)
        path = tmp_path / "staked.json"

        def deploy() -> LedgerClient:
            deployer = Deployer(run.node, run.parties.operator, Journal(path, 31337))
            return LedgerClient(run.node, deployer.run(PARAMETERS, run.parties, facts))

        client = deploy()
        vault = VaultClient(run.node, client.facts.vault)
        holders = [guard.identity.address for guard in run.parties.guards]
        stakes = [vault.stake_of(client.address, holder).bonded_wei for holder in holders]
        assert stakes == [MINIMUM_STAKE_WEI] * 3
        assert not client.state().is_unbonded
        slash = vault._functions.slash(client.address, holders[1], challenge.address)
        run.node.send(challenge, slash, local_gas=500_000)
        assert client.state().is_unbonded
        deploy()
        assert vault.stake_of(client.address, holders[1]).bonded_wei == MINIMUM_STAKE_WEI
        assert not client.state().is_unbonded


def test_shared_contract_of_votes_is_adopted(tmp_path: Path) -> None:
    with played(tmp_path, guards=3, has_votes=True) as run:
        other = Journal(tmp_path / "other.json", 31337)
        other.adopt_shared(Journal(run.journal, 31337))
        head = run.node.block_number()
        votes = Deployer(run.node, run.parties.operator, other).guard_votes()
        assert votes == run.client.facts.data_requests
        assert run.node.block_number() == head


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": 2}',
        '{"format": 1, "chain_id": 1}',
        "\x00",
        pytest.param("[" * 200_000, id="nested"),
        '{"format": 1, "chain_id": 31337, "registry": 5}',
        '{"format": 1, "chain_id": 31337, "registry": {}}',
        '{"format": 1, "chain_id": 31337, "registry": {"nonce": -1}}',
        '{"format": 1, "chain_id": 31337, "registry": {"nonce": true}}',
        '{"format": 1, "chain_id": 31337, "ledger": {"address": 7, "nonce": 1}}',
        '{"format": 1, "chain_id": 31337, "cohort": {"address": "0x12", "guards": 1}}',
    ],
)
def test_what_is_no_deployment_of_this_chain_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deployment.json"
    path.write_text(text)
    with pytest.raises(DeploymentError):
        Journal(path, 31337)
    with pytest.raises(DeploymentError):
        ledger_address(path, 31337)


def test_unfinished_deployment_has_no_ledger(tmp_path: Path) -> None:
    path = tmp_path / "deployment.json"
    with pytest.raises(DeploymentError, match="no deployment at"):
        ledger_address(path, 31337)
    Journal(path, 31337).put("registry", {"nonce": 0, "block": 0})
    with pytest.raises(DeploymentError, match="never deployed") as caught:
        ledger_address(path, 31337)
    assert caught.value.hint


def test_cohort_code_is_laid_out_as_the_page_says() -> None:
    parties = local_parties(1)
    code = cohort_code([*parties.workers, parties.guard])
    worker = parties.workers[0]
    assert len(code) == 1 + 2 * 40
    assert code[:1] == b"\x00"
    assert code[1:41].hex() == (worker.identity.address[2:] + worker.signer.address[2:]).lower()
