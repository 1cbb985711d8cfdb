"""Runs in which challenges hold: what is overturned is in no model, and the run goes on."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from eth_account import Account
from eth_account.signers.local import LocalAccount

import trainer.run as run_module
from cli.main import hallmark
from guard.state import Decision
from ledger.chain.accounts import local_keys
from ledger.client import LedgerClient, Stage
from ledger.deployment import RunFacts
from ledger.digests import VoidReason
from ledger.node import Node
from ledger.reverts import RevertedError
from ledger.stakes import VaultClient
from tests.trainer.recorded import reopen
from tests.trainer.toys import tiny_run
from trainer.chain_round import ChainRound
from trainer.checkpoint import kept_rounds
from trainer.config import RunConfig
from trainer.errors import PausedError, RollbackError, TaintedError
from trainer.folder import RunFolder
from trainer.reporting import RoundReport, SilentObserver
from trainer.rollback import roll_back
from trainer.run import LedgerRun, run

WINDOW_S = 100
CHALLENGED = 2
VICTIM = 0

Act = Callable[[LedgerClient, Decision], None]


class Killed(BaseException):
    """Stands for kill -9."""


def _account(number: int) -> LocalAccount:
    account: LocalAccount = Account.from_key(local_keys(0, number + 1)[number].to_bytes())
    return account


CHALLENGE, GUARDIAN = _account(18), _account(19)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """A run that names a challenge "contract" and a guardian, whose keys the test has."""
    facts = partial(RunFacts, challenge=CHALLENGE.address, guardian=GUARDIAN.address)
    monkeypatch.setattr(run_module, "RunFacts", facts)
    return tiny_run(out=str(tmp_path / "run"), gate={"challenge_window_s": WINDOW_S})


def play(config: RunConfig) -> list[RoundReport]:
    return run(config, SilentObserver())


def send(client: LedgerClient, name: str, *arguments: object) -> None:
    """Send what the challenge contract would."""
    function = getattr(client._functions, name)(*arguments)
    client.node.send(CHALLENGE, function, local_gas=1_000_000)


def overturn(client: LedgerClient, decision: Decision) -> None:
    """Overturn one contribution, as the challenge contract does."""
    round_, approved = decision.evidence.round, decision.verdict.approved
    assert approved >> VICTIM & 1
    word = decision.evidence.lane_words[VICTIM // 4]
    send(client, "overturn", round_, VICTIM, approved, word)


def overturn_round(client: LedgerClient, decision: Decision) -> None:
    """Overturn the anchor."""
    evidence = decision.evidence
    send(client, "overturnRound", evidence.round, list(evidence.lane_words), evidence.yardstick)


def after_settling(patch: pytest.MonkeyPatch, act: Act) -> None:
    """Act once, just after the challenged round has settled."""
    settle = ChainRound.settle

    def settle_and_act(self: ChainRound, settlement: object, decision: Decision) -> None:
        settle(self, settlement, decision)  # type: ignore[arg-type]
        if self.number == CHALLENGED and self._client.overturned_of(CHALLENGED) == 0:
            act(self._client, decision)

    patch.setattr(ChainRound, "settle", settle_and_act)


def before_finalizing(patch: pytest.MonkeyPatch, act: Act, *, dies: bool = False) -> None:
    """Act once, when the challenged round is merged and its checkpoint written; then die, if told to."""
    finalize = LedgerRun._finalize
    done: list[int] = []

    def act_and_finalize(self: LedgerRun, current: ChainRound, decision: Decision, overturned: int) -> bool:
        if current.number == CHALLENGED and not done:
            done.append(1)
            act(self._client, decision)
            if dies:
                raise Killed
        return finalize(self, current, decision, overturned)

    patch.setattr(LedgerRun, "_finalize", act_and_finalize)


def test_what_is_overturned_in_the_window_is_never_merged(config: RunConfig, tmp_path: Path) -> None:
    quiet = tiny_run(out=str(tmp_path / "quiet"), gate={"challenge_window_s": WINDOW_S})
    undisturbed = play(quiet)
    roots = []
    for number, place in enumerate(("settled", "merged", "killed")):
        config = tiny_run(out=str(tmp_path / place), gate={"challenge_window_s": WINDOW_S})
        with pytest.MonkeyPatch.context() as patch:
            if number == 0:
                after_settling(patch, overturn)
            else:
                before_finalizing(patch, overturn, dies=number == 2)
            if number == 2:
                with pytest.raises(Killed):
                    play(config)
            reports = {report.round_number: report for report in play(config)}
        challenged = reports[CHALLENGED]
        assert challenged.weights_q32[VICTIM] == 0
        assert not challenged.approved[VICTIM]
        assert all(challenged.weights_q32[1:])
        assert challenged.llrs[VICTIM] == undisturbed[0].llrs[VICTIM]
        assert challenged.llrs[1:] == undisturbed[1].llrs[1:]
        assert challenged.model_root != undisturbed[1].model_root
        with reopen(RunFolder(Path(config.out))) as recorded:
            history = recorded.histories[CHALLENGED - 1]
            assert (history.overturned, history.overturned_in_time) == (1 << VICTIM, 1 << VICTIM)
            assert history.final is not None
            assert history.final.model_root == challenged.model_root
        roots.append(challenged.model_root)
    # Before the merge, after it, or with a crash in between: the round's model is the same. The rounds after
    # it draw other seeds, as their blocks are others.
    assert len(set(roots)) == 1
    assert roots[0] != undisturbed[-1].model_root


@pytest.mark.parametrize("dies", [False, True])
def test_false_anchor_voids_the_round_and_the_run_goes_on(config: RunConfig, dies: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if dies:
            before_finalizing(patch, overturn_round, dies=True)
            with pytest.raises(Killed):
                play(config)
        else:
            after_settling(patch, overturn_round)
        reports = {report.round_number: report for report in play(config)}
    voided = reports[CHALLENGED]
    assert not any(voided.approved)
    assert reports[3].model_root != voided.model_root
    with reopen(RunFolder(Path(config.out))) as recorded:
        first, second, third = recorded.histories
        assert second.voided is not None
        assert (second.voided.reason, second.is_overturned) == (VoidReason.FALSE_ANCHOR, True)
        assert second.final is None
        assert first.final is not None
        assert third.parent_model == first.final.model_root == voided.model_root
        assert third.final is not None


def test_slashed_guard_stakes_anew_when_the_run_starts_again(config: RunConfig) -> None:
    def overturn_and_slash(client: LedgerClient, decision: Decision) -> None:
        overturn(client, decision)
        vault = VaultClient(client.node, client.facts.vault)
        guard = client.facts.members[-1].identity
        assert vault.stake_of(client.address, guard).bonded_wei == vault.min_stake_wei
        slash = vault._functions.slash(client.address, guard, CHALLENGE.address)
        client.node.send(CHALLENGE, slash, local_gas=500_000)
        assert vault.credit_of(CHALLENGE.address) == vault.min_stake_wei // 2
        assert client.state().is_unbonded

    with pytest.MonkeyPatch.context() as patch:
        after_settling(patch, overturn_and_slash)
        with pytest.raises(RevertedError, match="ContributionLedgerGuardUnbonded") as caught:
            play(config)
    assert "stakes anew" in caught.value.hint
    assert [report.round_number for report in play(config)] == [3]


def overturn_late(config: RunConfig, round_: int) -> None:
    """Overturn a contribution of a round that is final."""
    with reopen(RunFolder(Path(config.out))) as recorded:
        client = LedgerClient(Node(recorded.provider), recorded.ledger)
        send(client, "overturn", round_, VICTIM, 0, 0)
        assert client.tainted_from() == round_


def test_tainted_run_stops_is_rolled_back_and_goes_on(config: RunConfig) -> None:
    def die_in_round_4(self: ChainRound, *_: object) -> None:
        raise Killed

    longer = tiny_run(out=config.out, rounds=5, gate={"challenge_window_s": WINDOW_S})
    folder = RunFolder(Path(config.out))
    with pytest.MonkeyPatch.context() as patch:
        commit = ChainRound.commit
        patch.setattr(
            ChainRound,
            "commit",
            lambda self, work: die_in_round_4(self) if self.number == 4 else commit(self, work),
        )
        with pytest.raises(Killed):
            play(longer)
    with pytest.raises(RollbackError, match="needs no rollback"):
        roll_back(folder.path)
    overturn_late(longer, 3)
    overturn_late(longer, 2)
    with pytest.raises(TaintedError, match="round 2 was overturned") as caught:
        play(longer)
    assert f"hallmark rollback {folder.path}" in caught.value.hint
    with pytest.raises(RollbackError, match="cannot go back to round 2") as refused:
        roll_back(folder.path, 2)
    assert "possible: 1, 0" in refused.value.hint
    shown = CliRunner().invoke(hallmark, ["rollback", config.out, "--json"])
    assert shown.exit_code == 0, shown.output
    assert '"to_round": 1' in shown.output
    with reopen(folder) as recorded:
        first, state = recorded.histories[0], LedgerClient(Node(recorded.provider), recorded.ledger).state()
        assert (state.round, state.stage, state.tainted_from) == (4, Stage.IDLE, 0)
        assert first.final is not None
        assert state.parent_model == first.final.model_root
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LedgerRun, "_round", die_in_round_4)
        with pytest.raises(Killed):
            play(longer)
    [report] = play(longer)
    assert report.round_number == 5
    with reopen(folder) as recorded:
        last = recorded.histories[-1]
        assert last.parent_model == first.final.model_root
        assert last.final is not None
        assert last.final.model_root == report.model_root
    assert play(longer) == []


def test_rollback_to_the_start(config: RunConfig) -> None:
    reports = play(config)
    overturn_late(config, 1)
    done = roll_back(Path(config.out))
    assert (done.tainted_from, done.from_round, done.to_round) == (1, 3, 0)
    longer = tiny_run(out=config.out, rounds=4, gate={"challenge_window_s": WINDOW_S})
    [report] = play(longer)
    with reopen(RunFolder(Path(config.out))) as recorded:
        assert recorded.histories[3].parent_model == recorded.histories[0].parent_model
    assert report.model_root not in {one.model_root for one in reports}


def test_paused_run_says_so_and_goes_on_later(config: RunConfig) -> None:
    def pause(is_paused: bool) -> None:
        with reopen(RunFolder(Path(config.out))) as recorded:
            LedgerClient(Node(recorded.provider), recorded.ledger).pause(GUARDIAN, is_paused)

    play(config)
    pause(True)
    longer = tiny_run(out=config.out, rounds=4, gate={"challenge_window_s": WINDOW_S})
    with pytest.raises(PausedError, match=GUARDIAN.address):
        play(longer)
    pause(False)
    assert [report.round_number for report in play(longer)] == [4]


def test_checkpoints_to_roll_back_to_are_bounded(tmp_path: Path) -> None:
    from tests.trainer.test_checkpoint import DIGEST, checkpoint
    from trainer.checkpoint import save_checkpoint

    for number in range(1, 101):
        save_checkpoint(tmp_path, checkpoint(number), DIGEST, for_rollback=True)
    assert kept_rounds(tmp_path) == [100, 99, 98, 97, 96, 95, 94, 93, 64]
