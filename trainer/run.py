"""The main job: train by DiLoCo, commit, assay, judge on the chain, merge what it approved.

A run is a pure function of its configuration. After a crash the chain says in
which stage its round is, the last checkpoint from what to train, and training
again gives the same bytes; so `run` is also how a run is resumed.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from eth_utils import keccak

from guard.gate import Status
from guard.lanes import unpack_lanes
from guard.settlement import Settlement, decode_settlement
from guard.state import Decision, GateState
from ledger.blobs import BlobKind, BlobStore
from ledger.client import LedgerClient, Stage
from ledger.deployment import NO_ADDRESS, Deployer, Journal, RunFacts, ledger_created_after
from ledger.errors import LedgerError
from ledger.history import RoundHistory, read_rounds
from ledger.node import Node
from ledger.parties import local_operator, local_parties
from ledger.request_book import request_book
from ledger.reverts import RevertedError
from ledger.update import Model, UpdateView, encode_model, model_root, shape_digest
from trainer.chain_round import Assayed, ChainRound, DisagreementError, NoAnchorError, StuckRoundError
from trainer.chain_session import open_node
from trainer.checkpoint import VOID, Checkpoint, load_latest, load_round, save_checkpoint
from trainer.config import RunConfig, load_config
from trainer.errors import CheckpointError, ConfigError, PausedError, TaintedError, TrainerError
from trainer.fleet import Fleet
from trainer.folder import RunFolder
from trainer.merge import Weighted, merge
from trainer.reporting import PHASES, GuardsReport, Observer, RoundReport
from trainer.request_desk import RequestDesk
from trainer.tasks import Metric
from trainer.worker import FloatArray

COMMIT_WINDOW_S = 3600

# Reverts of a finalize that something else came before.
_OVERTAKEN = frozenset(
    f"ContributionLedger{name}" for name in ("WindowRunning", "NotSettled", "Tainted", "Paused")
)


def run(config: RunConfig, observer: Observer) -> list[RoundReport]:
    """Run, or go on with, a training recorded on a ledger.

    Args:
        config: The run. Its folder may hold the same run, unfinished.
        observer: Gets progress.

    Returns:
        The rounds that this call finished; none if all were done before.

    Raises:
        ConfigError: The folder belongs to another run.
        FolderBusyError: Another process runs it.
        DisagreementError: The chain says something that the guard's own integers do not.
        TaintedError: A final round was overturned; the ledger must be rolled back.
        PausedError: The guardian lets no round open.
        LedgerError: The chain or the blob store failed; run again to go on.
    """
    folder = RunFolder(Path(config.out))
    with folder.locked():
        if folder.config.exists() and load_config(folder.config).train_digest != config.train_digest:
            raise ConfigError(
                f"{folder.path} holds a run with another configuration",
                hint="choose another --out, or remove the folder to start over",
            )
        if not folder.config.exists():
            folder.write_config(config.to_toml())
        observer.phase(0, "deploying")
        with open_node(config.chain.rpc_url, folder.chain, config.chain.policy) as node:
            opened = LedgerRun(config, folder, node, observer)
            # Only now: a wrong --rpc-url must not make an old run point to a chain that it is not on.
            folder.write_config(config.to_toml())
            return opened.play()


def _is_standing(checkpoint: Checkpoint, rounds: list[RoundHistory]) -> bool:
    """Tell whether a checkpoint holds what the ledger says of its round now."""
    if not 0 < checkpoint.round_number <= len(rounds):
        return False
    history = rounds[checkpoint.round_number - 1]
    if history.voided is not None:
        return checkpoint.standing in ("", VOID)
    if history.verdicts is None or (history.final is None and checkpoint.known_seed != history.verdicts.seed):
        return False  # a reorganisation has taken the settlement away, or the seed
    return checkpoint.standing in ("", hex(history.overturned_in_time))


class LedgerRun:
    """One run in one process: operator, guards, aggregator and all workers."""

    def __init__(self, config: RunConfig, folder: RunFolder, node: Node, observer: Observer) -> None:
        """Open a run: deploy what is not deployed, take up the last checkpoint.

        Raises:
            DisagreementError: Chain and checkpoint are not of the same run.
            LedgerError: The chain or the blob store failed.
        """
        local_operator(node.chain_id)  # refuses any chain where the well-known keys are worth something
        self._config = config
        self._folder = folder
        self._observer = observer
        self._parties = local_parties(config.workers, config.guards)
        self._fleet = Fleet(config)
        self._shape = shape_digest(self._fleet.shapes)
        self._store = BlobStore(config.chain.blobs or str(folder.blobs))
        self._theta: FloatArray = self._fleet.theta
        self._momentum: FloatArray = np.zeros_like(self._theta)
        self._root = self._current_root()
        self._known_seed = b""
        self._done = 0
        self._opened_block = 0
        self._voided: frozenset[int] = frozenset()
        self._untold: list[RoundReport] = []
        if not config.chain.blobs:
            self._store.remove_leftovers()  # a store of our own: nobody else is writing
        initial = encode_model(Model(self._theta, self._momentum, self._shape))
        self._store.put(self._root, initial, BlobKind.MODEL)
        self._client = LedgerClient(node, self._deploy(node))
        self._check_ledger()
        self._desk = self._request_desk()
        self._gate = GateState.start(config.workers, config.guards)
        self._resume()

    def play(self) -> list[RoundReport]:
        """Finish the rounds that are left, and give their reports."""
        reports: list[RoundReport] = []
        is_lost = False
        while True:
            try:
                if is_lost:
                    self._begin_again()
                    reports, is_lost = [r for r in reports if r.round_number <= self._done], False
                if self._untold:
                    report = self._untold.pop()
                elif self._done < self._config.rounds:
                    report = self._round(self._done + 1)
                elif self._is_lost():
                    is_lost = True
                    continue
                else:
                    return reports
            except (LedgerError, TrainerError):
                # Whatever does not fit, fits once the chain is read again, if it is another one now.
                if is_lost := self._is_lost():
                    continue
                raise
            self._folder.add_metric(report.as_json())
            self._observer.round_done(report)
            reports.append(report)

    def _is_lost(self) -> bool:
        """Tell whether the chain was reorganised under what was done."""
        lost = self._client.node.lost_block()
        if lost is not None:
            self._observer.note(f"the chain was reorganised: block {lost} is another one, or gone")
        return lost is not None

    def _begin_again(self) -> None:
        """Take the run up from chain and checkpoints, as after a crash."""
        self._fleet = Fleet(self._config)
        self._theta, self._momentum = self._fleet.theta, np.zeros_like(self._fleet.theta)
        self._root, self._known_seed = self._current_root(), b""
        self._done = self._opened_block = 0
        self._untold = []
        self._gate = GateState.start(self._config.workers, self._config.guards)
        self._deploy(self._client.node)  # the guard's stake may be gone, too
        self._desk = self._request_desk()
        self._resume()

    def _deploy(self, node: Node) -> str:
        journal = Journal(self._folder.deployment, node.chain_id)
        if self._config.chain.deployment:
            journal.adopt_shared(Journal(Path(self._config.chain.deployment), node.chain_id))
        deployer = Deployer(node, self._parties.operator, journal)
        self._take_up(node, deployer.has_ledger)
        challenge = data_requests = NO_ADDRESS
        if not deployer.has_ledger:
            if self._config.chain.challenges:
                challenge = deployer.challenge()
            if self._config.chain.data_requests:
                data_requests = deployer.data_requests()
            elif self._config.guards > 1:
                data_requests = deployer.guard_votes()
        facts = RunFacts(
            run=self._run_id,
            initial_model=self._root,
            shape_digest=self._shape,
            length=len(self._theta),
            commit_window_s=COMMIT_WINDOW_S,
            challenge=challenge,
            data_requests=data_requests,
        )
        return deployer.run(self._config.gate.as_tuple(), self._parties, facts)

    def _take_up(self, node: Node, has_ledger: bool) -> None:
        """Get out of the way what a killed process has sent and nobody has mined."""
        guards = self._parties.guards
        accounts = [self._parties.operator, *(guard.identity for guard in guards)]
        if not has_ledger:
            accounts += [worker.identity for worker in self._parties.workers]
        # A settlement that hangs may be of a seed that is none any more.
        hanging = sum(node.take_up(guard.signer, repeats=False) for guard in guards)
        hanging += sum(node.take_up(account) for account in accounts)
        if hanging:
            self._observer.note(f"{hanging} transactions of before were still on their way")

    def _request_desk(self) -> RequestDesk | None:
        """Bind to the run's data-request contract, if its ledger names one."""
        if request_book(self._client) is None:
            return None
        return RequestDesk(
            self._client,
            self._store,
            self._parties.guard.identity,
            self._observer,
            most_segments=self._config.chain.request_segments,
            first_block=ledger_created_after(self._folder.deployment, self._client.node.chain_id),
        )

    def _check_ledger(self) -> None:
        """Refuse another run's ledger: contracts have the same addresses on every fresh local chain."""
        facts = self._client.facts
        if (facts.run, facts.shape_digest) != (self._run_id, self._shape):
            raise ConfigError(
                f"the ledger at {self._client.address} belongs to another run",
                hint="is this the chain that the run was begun on? check --rpc-url and ETH_RPC_URL",
            )

    @property
    def _run_id(self) -> int:
        return int(self._config.train_digest[:16], 16)

    def _resume(self) -> None:
        rounds = read_rounds(self._client.node, self._client.address)
        self._load(rounds)
        is_rolled_back = self._follow_rollback(rounds)
        self._folder.keep_metrics_until(self._done)
        decision = self._catch_up(rounds)
        if is_rolled_back:
            self._save(VOID if self._done in self._voided else hex(rounds[self._done - 1].overturned_in_time))
        if self._client.state().parent_model != self._root:
            raise DisagreementError(
                f"the model of round {self._done} is not the one that the chain finalized",
                hint="was the checkpoint exchanged? `hallmark audit` replays the run from chain and blobs",
            )
        told = {int(line["round"]) for line in self._folder.metric_lines()}
        if self._done and self._done not in told:
            self._untold.append(self._report_again(rounds[self._done - 1], decision))

    def _load(self, rounds: list[RoundHistory]) -> None:
        """Take up the newest checkpoint that holds what the ledger says now.

        One that was written before something of its round was overturned, or before the chain was
        reorganised, and whose merge is not recorded, is passed over: the round is taken up again from the
        checkpoint before it.
        """
        folder, digest = self._folder.checkpoints, self._config.train_digest
        newest, before = None, None
        while True:
            found = load_latest(folder, digest, before=before)
            for warning in found.warnings:
                self._observer.note(warning)
            checkpoint = found.checkpoint
            if checkpoint is None or _is_standing(checkpoint, rounds):
                break
            newest, before = newest or checkpoint, checkpoint.round_number
            self._observer.note(f"round {before} is not as it was any more, and is taken up again")
        if checkpoint is None and any(history.final or history.voided for history in rounds):
            checkpoint = newest  # nothing fits: the caller says so better than this could
        if checkpoint is not None:
            self._take_over(checkpoint)

    def _follow_rollback(self, rounds: list[RoundHistory]) -> bool:
        """If the ledger was rolled back after the checkpoint, take that model up; tell whether it was so.

        Raises:
            CheckpointError: The checkpoint of the round that it went back to is not there.
        """
        rollbacks = [rollback for history in rounds for rollback in history.rollbacks]
        if not rollbacks or self._done > rollbacks[-1].from_round:
            return False
        last = rollbacks[-1]
        if self._done == last.from_round and self._root == last.model_root:
            return False
        if last.to_round:
            checkpoint = load_round(self._folder.checkpoints, last.to_round, self._config.train_digest)
            if checkpoint is None:
                raise CheckpointError(
                    f"the ledger was rolled back to round {last.to_round}, whose checkpoint is not here",
                    hint="restore it, or start over in another folder",
                )
            self._take_over(checkpoint)
        else:
            self._fleet = Fleet(self._config)
            self._theta, self._momentum = self._fleet.theta, np.zeros_like(self._fleet.theta)
            self._root, self._known_seed = self._current_root(), b""
        self._done = last.from_round
        self._observer.note(f"the model is that of round {last.to_round} again: the ledger was rolled back")
        return True

    def _take_over(self, checkpoint: Checkpoint) -> None:
        self._theta, self._momentum = checkpoint.theta, checkpoint.momentum
        self._root = self._current_root()
        self._known_seed = checkpoint.known_seed
        self._fleet.load_state(checkpoint.fleet)
        self._done = checkpoint.round_number

    def _catch_up(self, rounds: list[RoundHistory]) -> Decision | None:
        """Bring the gate to where the checkpoint is, and the chain too; give the decision of that round.

        A crash after the checkpoint and before `finalize` leaves the chain one
        transaction behind; one between a void round and its checkpoint leaves it
        one round ahead. Anything else is no crash.
        """
        finished = sum(history.final is not None or history.voided is not None for history in rounds)
        self._voided = frozenset(history.round for history in rounds if history.voided is not None)
        decision = None
        for history in rounds[: self._done]:
            decision = None if history.round in self._voided else self._decision(history)
            self._gate = self._gate if decision is None else decision.after
        is_ahead = finished == self._done + 1 and finished in self._voided
        if finished == self._done - 1 and decision is not None:
            overturned = rounds[self._done - 1].overturned_in_time
            current = self._chain_round(self._done)
            current.wait_for_window()
            if not self._finalize(current, decision, overturned):
                raise DisagreementError(
                    f"round {self._done} was challenged at this moment", hint="run the same command again"
                )
        elif finished != self._done and not is_ahead:
            raise DisagreementError(
                f"the newest checkpoint is of round {self._done}, the chain has finished {finished} rounds",
                hint="a checkpoint or chain data is missing; restore it, or start over in another folder",
            )
        return decision

    def _report_again(self, history: RoundHistory, decision: Decision | None) -> RoundReport:
        """Report a round whose checkpoint is there, but whose report a crash has cut off."""
        seconds = dict.fromkeys(PHASES, 0.0)
        current = self._chain_round(history.round)
        if decision is None or history.verdicts is None:
            return self._void_report(current, seconds)
        metric = self._fleet.evaluate(self._theta)
        settlement = self._posted(history)
        return self._report(current, metric, settlement, decision, history.verdicts.seed, seconds)

    def _decision(self, history: RoundHistory) -> Decision:
        """Judge a settled round again from what was posted."""
        decision = self._gate.decide(self._config.gate, history.round, self._posted(history))
        return decision.without(self._config.gate, history.overturned_in_time)

    def _posted(self, history: RoundHistory) -> Settlement:
        if history.seal is None or history.verdicts is None:
            raise DisagreementError(f"round {history.round} should be settled, and is not")
        payload, presence = history.verdicts.payload, history.seal.presence
        return decode_settlement(payload, presence, self._config.workers, self._config.guards)

    def _chain_round(self, number: int) -> ChainRound:
        return ChainRound(
            number,
            self._client,
            self._parties,
            self._store,
            self._config,
            self._observer,
            opened_block=self._opened_block,
            desk=self._desk,
        )

    def _round(self, number: int) -> RoundReport:
        seconds = dict.fromkeys(PHASES, 0.0)
        with self._phase(seconds, number, "ledger"):
            opening_gas = 0 if number in self._voided else self._open()
            current = self._chain_round(number)
            current.gas["finalize"] = opening_gas
        with self._phase(seconds, number, "training"):
            work = self._fleet.train_round(number, self._theta, self._known_seed or None)
        with self._phase(seconds, number, "ledger"):
            if number in self._voided or current.commit(work) == Stage.IDLE:
                return self._void(current, seconds)
            seed = current.seed()
        with self._phase(seconds, number, "guard"):
            assayed = self._assay(current, seed)
            if assayed is None:
                return self._void(current, seconds)
            decision = self._gate.decide(self._config.gate, number, assayed.settlement)
        with self._phase(seconds, number, "ledger"):
            current.settle(assayed.settlement, decision)
        standing = self._conclude(current, assayed, decision, seed, seconds)
        if standing is None:
            return self._void(current, seconds)
        decision = standing
        with self._phase(seconds, number, "evaluation"):
            metric = self._fleet.evaluate(self._theta)
        return self._report(current, metric, assayed.settlement, decision, seed, seconds)

    def _assay(self, current: ChainRound, seed: bytes) -> Assayed | None:
        """Read the round's files; None if it cannot be settled truthfully, and became void."""
        try:
            return current.assay(seed, self._gate)
        except StuckRoundError as error:
            current.give_up(error)
            return None
        except NoAnchorError as error:
            if self._config.guards == 1:
                raise  # it is this process's own, and only its store has to be restored
            current.give_up(error)
            return None

    def _conclude(
        self,
        current: ChainRound,
        assayed: Assayed,
        decision: Decision,
        seed: bytes,
        seconds: dict[str, float],
    ) -> Decision | None:
        """Merge what stands when the challenge window is over, and record it; None if the round became void.

        What is overturned after the merge and before it is recorded starts this over, so that nothing
        overturned is ever recorded as merged.
        """
        before = self._theta, self._momentum, self._root, self._gate, self._known_seed
        while True:
            self._theta, self._momentum, self._root, self._gate, self._known_seed = before
            with self._phase(seconds, current.number, "ledger"):
                found = current.standing(decision)
                if found is None:
                    return None
                overturned, standing = found
                current.check_approvals(standing)
            with self._phase(seconds, current.number, "merge"):
                self._merge(assayed, standing)
                self._gate = standing.after
                self._known_seed = seed
                self._done = current.number
                self._save(hex(overturned))
            with self._phase(seconds, current.number, "ledger"):
                if self._finalize(current, standing, overturned):
                    return standing

    def _open(self) -> int:
        """Open the next round unless `finalize` has done so; give the gas.

        Raises:
            TaintedError: The model rests on an overturned round.
            PausedError: The guardian lets no round open.
        """
        state = self._client.state()
        if state.tainted_from and state.stage != Stage.SETTLED:
            raise TaintedError(
                f"round {state.tainted_from} was overturned after it was final: the model cannot be trusted",
                hint=f"set it back with `hallmark rollback {self._folder.path}`, then run this again",
            )
        if state.stage != Stage.IDLE:
            return 0
        if state.is_paused:
            raise PausedError(
                f"the guardian {self._client.facts.guardian} has paused the ledger: no round opens",
                hint="when the guardian has resumed it, run the same command again to go on",
            )
        deadline = self._client.node.next_timestamp() + COMMIT_WINDOW_S
        opened = self._client.open_round(self._parties.operator, deadline)
        self._opened_block = opened.block
        return opened.gas

    def _merge(self, assayed: Assayed, decision: Decision) -> None:
        """Take the outer step; if nothing was approved, model and momentum stay."""
        weights, settlement = decision.weights, assayed.settlement
        terms = [
            Weighted(UpdateView(assayed.files[index]).values, reading.exponent, weight)
            for index, weight in zip(weights.indices, weights.weights, strict=True)
            if (reading := settlement.workers[index].reading) is not None
        ]
        if weights.anchor:
            merged = self._client.facts.guard_indices[decision.evidence.merged_guard]
            exponent = decision.evidence.merged_reading.exponent
            terms.append(Weighted(UpdateView(assayed.files[merged]).values, exponent, weights.anchor))
        self._theta, self._momentum = merge(
            self._theta,
            self._momentum,
            terms,
            outer_lr_micro=self._config.gate.outer_lr_micro,
            outer_momentum_micro=self._config.gate.outer_momentum_micro,
        )
        self._root = self._current_root()

    def _save(self, standing: str) -> None:
        checkpoint = Checkpoint(
            round_number=self._done,
            theta=self._theta,
            momentum=self._momentum,
            fleet=self._fleet.state_tensors(),
            coalition=self._gate.coalition.to_ints(),
            known_seed=self._known_seed,
            standing=standing,
        )
        # Challenges, and chains that are reorganised, may both take more than one round away.
        may_go_back = self._client.facts.challenge != NO_ADDRESS or bool(self._config.chain.rpc_url)
        digest = self._config.train_digest
        save_checkpoint(self._folder.checkpoints, checkpoint, digest, for_rollback=may_go_back)

    def _finalize(self, current: ChainRound, decision: Decision, overturned: int) -> bool:
        """Record the merge; False if the ledger has changed in between, and it must be made anew."""
        node = self._client.node
        state = self._client.state()
        if state.stage != Stage.SETTLED or self._client.overturned_of(current.number) != overturned:
            return False
        digest = keccak(decision.weights.preimage(self._client.facts.run, current.number))
        # The last round that is asked for opens no next one; a longer run opens it later.
        has_next = current.number < self._config.rounds and not (state.tainted_from or state.is_paused)
        deadline = node.next_timestamp() + COMMIT_WINDOW_S if has_next else 0
        try:
            sent = self._client.finalize(self._parties.operator, current.number, self._root, digest, deadline)
        except RevertedError as error:
            if error.name in _OVERTAKEN:
                return False
            raise
        self._opened_block = sent.block
        current.spend("finalize", sent)
        return True

    def _void(self, current: ChainRound, seconds: dict[str, float]) -> RoundReport:
        """Record a round that the contract has voided: nothing changes."""
        self._observer.note(f"round {current.number} is void: {current.void_reason()}")
        self._done = current.number
        self._save(VOID)
        return self._void_report(current, seconds)

    def _void_report(self, current: ChainRound, seconds: dict[str, float]) -> RoundReport:
        count = self._config.workers
        llrs = tuple(lane.llr for lane in unpack_lanes(self._gate.lane_words, count))
        return RoundReport(
            round_number=current.number,
            metric=None,
            statuses=(Status.ABSENT,) * count,
            approved=(False,) * count,
            banned=tuple(llr >= self._config.gate.ban_from for llr in llrs),
            scores=(None,) * count,
            llrs=llrs,
            weights_q32=(0,) * count,
            anchor_weight_q32=0,
            yardstick=self._gate.yardstick,
            model_root=self._root,
            seed=b"",
            gas=current.gas,
            seconds=seconds,
            guards=self._absent_guards(),
        )

    def _absent_guards(self) -> GuardsReport | None:
        count = self._config.guards
        return GuardsReport((Status.ABSENT,) * count, (None,) * count, None, None) if count > 1 else None

    def _report(
        self,
        current: ChainRound,
        metric: Metric,
        settlement: Settlement,
        decision: Decision,
        seed: bytes,
        seconds: dict[str, float],
    ) -> RoundReport:
        count = self._config.workers
        llrs = tuple(lane.llr for lane in unpack_lanes(decision.after.lane_words, count))
        weights = dict(zip(decision.weights.indices, decision.weights.weights, strict=True))
        return RoundReport(
            round_number=current.number,
            metric=metric,
            statuses=tuple(worker.status for worker in settlement.workers),
            approved=tuple(index in decision.weights.indices for index in range(count)),
            banned=tuple(llr >= self._config.gate.ban_from for llr in llrs),
            scores=decision.verdict.scores,
            llrs=llrs,
            weights_q32=tuple(weights.get(index, 0) for index in range(count)),
            anchor_weight_q32=decision.weights.anchor,
            yardstick=decision.after.yardstick,
            model_root=self._root,
            seed=seed,
            gas=current.gas,
            seconds=seconds,
            guards=_guards_report(settlement, decision),
        )

    def _current_root(self) -> bytes:
        return model_root(self._theta, self._momentum, self._shape)

    @contextmanager
    def _phase(self, seconds: dict[str, float], number: int, name: str) -> Iterator[None]:
        self._observer.phase(number, name)
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds[name] += time.perf_counter() - start


def _guards_report(settlement: Settlement, decision: Decision) -> GuardsReport | None:
    if not settlement.guards:
        return None
    return GuardsReport(
        statuses=tuple(guard.status for guard in settlement.guards),
        scores=decision.verdict.guard_scores,
        merged=decision.evidence.merged_guard if decision.weights.anchor else None,
        poster=settlement.poster,
    )
