"""A ledger as the client sees it, and through a node that answers nonsense."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_utils import to_checksum_address

from guard.gate import GateParameters
from ledger import digests
from ledger.asking import NodeAnswerError
from ledger.client import LedgerClient, NotOurContractError, Stage, check_code
from ledger.node import Node
from ledger.reverts import RevertedError
from tests.ledger.played import FACTS, Played, played
from tests.trainer.recorded import ForgingProvider, call, code


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    with played(tmp_path_factory.mktemp("client")) as run:
        yield run


def test_facts_are_those_of_the_deployment(fresh: Played) -> None:
    facts = fresh.client.facts
    assert (facts.run, facts.length, facts.shape_digest) == (7, 10, FACTS.shape_digest)
    assert facts.parameters == GateParameters().as_tuple()
    assert facts.spec_digest == digests.spec_digest(facts.parameters)
    assert facts.aggregator == fresh.parties.operator.address
    parties = [*fresh.parties.workers, fresh.parties.guard]
    assert [m.identity for m in facts.members] == [p.identity.address for p in parties]
    assert [m.signer for m in facts.members] == [p.signer.address for p in parties]
    assert (facts.guards, facts.workers, facts.full) == (1, 2, 0b111)
    assert [facts.is_guard(index) for index in range(4)] == [False, False, True, False]
    assert [facts.index_of(m.identity.lower()) for m in facts.members] == [0, 1, 2]


def test_state_before_the_first_commitment(fresh: Played) -> None:
    state = fresh.client.state()
    assert (state.round, state.stage, state.presence, state.yardstick) == (1, Stage.OPEN, 0, 0)
    assert state.parent_model == FACTS.initial_model
    assert fresh.client.record_of(1) == bytes(32)
    assert fresh.client.lanes() == [0]
    assert [view.accepted for view in fresh.client.reputations()] == [0, 0, 0]
    with pytest.raises(RevertedError):
        fresh.client.reputation_at(3)


def test_digest_is_the_one_that_the_contract_computes(fresh: Played) -> None:
    client = fresh.client
    message = client.contribution(1, 1, FACTS.initial_model, b"\x09" * 32, 12, 99)
    found = client.node.call(
        client._functions.contributionDigest(1, 1, FACTS.initial_model, b"\x09" * 32, 12, 99)
    )
    assert message.digest(client.facts.domain) == bytes(found)


def test_nobody_but_the_aggregator_finalizes(fresh: Played) -> None:
    stranger = fresh.parties.guard.signer
    with pytest.raises(RevertedError, match="NotAggregator"):
        fresh.client.finalize(stranger, 1, bytes(32), bytes(32), 0)


def _through(fresh: Played, *forges: Any) -> LedgerClient:
    return LedgerClient(Node(ForgingProvider(fresh.provider, *forges)), fresh.client.address)


def test_stage_that_does_not_exist_is_the_nodes_fault(fresh: Played) -> None:
    def stage(method: str, params: Any, result: Any) -> Any:
        if method != "eth_call" or len(result) < 700:
            return result
        return result[: 2 + 64] + f"{9:064x}" + result[2 + 128 :]

    client = _through(fresh, stage)
    with pytest.raises(NodeAnswerError, match="stage 9"):
        client.state()


def test_cohort_of_no_whole_members_is_the_nodes_fault(fresh: Played) -> None:
    cohort = to_checksum_address(fresh.node.call(fresh.client._functions.cohort()))
    with pytest.raises(NodeAnswerError, match="bytes of code"):
        _through(fresh, code(cohort, lambda data: data[:-1]))
    with pytest.raises(NodeAnswerError, match="bytes of code"):
        _through(fresh, code(cohort, lambda data: data[:41]))


def test_several_guards_are_the_last_members(tmp_path: Path) -> None:
    with played(tmp_path, workers=2, guards=3) as run:
        facts = run.client.facts
        assert (facts.guards, facts.workers, facts.full) == (3, 2, 0b11111)
        assert list(facts.guard_indices) == [2, 3, 4]
        assert [facts.is_guard(index) for index in range(-1, 6)] == [
            False,
            False,
            False,
            True,
            True,
            True,
            False,
        ]
        signers = [facts.members[index].signer for index in facts.guard_indices]
        assert signers == [guard.signer.address for guard in run.parties.guards]


@pytest.mark.parametrize("guards", [0, 2, 3, 15, 16, 17, 2**200])
def test_number_of_guards_that_cannot_be_is_the_nodes_fault(fresh: Played, guards: int) -> None:
    with pytest.raises(NodeAnswerError, match=f"{guards} of 3 members are guards"):
        _through(fresh, call("ContributionLedger", "guards", lambda _: guards))


def test_cohort_of_too_many_members_is_the_nodes_fault(fresh: Played) -> None:
    cohort = to_checksum_address(fresh.node.call(fresh.client._functions.cohort()))
    with pytest.raises(NodeAnswerError, match="bytes of code"):
        _through(fresh, code(cohort, lambda data: data[:41] * 1 + data[1:41] * 256))


def test_judge_of_another_make_is_refused(fresh: Played) -> None:
    spec = fresh.node.call(fresh.client._functions.spec())
    with pytest.raises(NotOurContractError, match="not this version's Judge"):
        _through(fresh, call("ContributionLedger", "judge", lambda _: spec))


def test_spec_of_another_make_is_refused(fresh: Played) -> None:
    stranger = fresh.parties.operator.address
    with pytest.raises(NotOurContractError):
        _through(fresh, call("ContributionLedger", "spec", lambda _: stranger))


def test_code_is_checked_by_name(fresh: Played) -> None:
    check_code(fresh.node, fresh.client.address, "ContributionLedger")
    with pytest.raises(NotOurContractError, match="not this version's GateSpec"):
        check_code(fresh.node, fresh.client.address, "GateSpec")


def test_results_that_do_not_decode_are_the_nodes_fault(fresh: Played) -> None:
    def cut(method: str, _: Any, result: Any) -> Any:
        return "0x12" if method == "eth_call" else result

    with pytest.raises(NodeAnswerError):
        _through(fresh, cut)
