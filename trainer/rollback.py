"""Setting a tainted run back to a model that nothing overturned is in."""

from dataclasses import dataclass
from pathlib import Path

from eth_account.signers.local import LocalAccount

from ledger.client import LedgerClient, Stage
from ledger.digests import NO_DIGEST
from ledger.history import RoundHistory, read_rounds
from ledger.node import Node
from ledger.parties import local_operator
from ledger.update import model_root
from trainer.chain_session import RunTarget, open_recorded_run
from trainer.checkpoint import kept_rounds, load_round
from trainer.config import load_config
from trainer.errors import ConfigError, RollbackError
from trainer.folder import RunFolder


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What a rollback did.

    Attributes:
        tainted_from: First round that was overturned too late.
        from_round: Last round; it and those after `to_round` are undone.
        to_round: Round whose model is the current one again; 0 for the initial model.
        model_root: Its root, 32 bytes.
        gas: Gas of the transaction.
    """

    tainted_from: int
    from_round: int
    to_round: int
    model_root: bytes
    gas: int


def roll_back(path: Path, to_round: int | None = None) -> RolledBack:
    """Record a rollback; `hallmark run` then goes on from that model.

    A round under way is given up first: it is sealed, and void once its time is over. One that is settled
    must be finalized by the run itself. Nothing is written into the folder: the run follows the ledger, so a
    crash leaves nothing half done.

    Args:
        path: Folder of the run, which must not be running.
        to_round: Round to go back to, 0 for the initial model; None: the newest one that is possible.

    Returns:
        What was done.

    Raises:
        ConfigError: There is no run in the folder.
        RollbackError: The model is not tainted, or there is no such round to go back to.
        FolderBusyError: Another process runs it.
        LedgerError: The chain failed, or refused.
    """
    folder = RunFolder(path)
    if not folder.config.exists():
        raise ConfigError(f"{path} is not the folder of a run", hint="`hallmark run --out DIR` makes one")
    with folder.locked(), open_recorded_run(RunTarget(path)) as opened:
        return _roll_back(folder, opened.client, to_round)


def _roll_back(folder: RunFolder, client: LedgerClient, to_round: int | None) -> RolledBack:
    operator = local_operator(client.node.chain_id)
    client.node.take_up(operator)
    tainted_from = client.tainted_from()
    if not tainted_from:
        raise RollbackError(
            "nothing was overturned after it was final: the model needs no rollback",
            hint="`hallmark audit` says what the ledger holds",
        )
    rounds = read_rounds(client.node, client.address)
    possible = _possible(folder, client, rounds, tainted_from)
    target = possible[0] if to_round is None else to_round
    if target not in possible:
        raise RollbackError(
            f"cannot go back to round {target}",
            hint=f"possible: {', '.join(map(str, possible))} (final before round {tainted_from}, not undone, "
            "with a checkpoint here)",
        )
    _bring_to_idle(client, operator)
    root, settled, weights = client.facts.initial_model, NO_DIGEST, NO_DIGEST
    history = rounds[target - 1] if target else None
    if history is not None and history.verdicts is not None and history.final is not None:
        root, settled = history.final.model_root, history.verdicts.record
        weights = history.final.weights_digest
    from_round = client.state().round
    sent = client.rollback(operator, target, settled, root, weights)
    return RolledBack(tainted_from, from_round, target, root, sent.gas)


def _possible(
    folder: RunFolder, client: LedgerClient, rounds: list[RoundHistory], tainted_from: int
) -> list[int]:
    """Give the rounds that the model can go back to, newest first; 0 is always one of them."""
    spans = [(r.to_round, r.from_round) for history in rounds for r in history.rollbacks]
    config_digest = load_config(folder.config).train_digest
    found = []
    for number in kept_rounds(folder.checkpoints):
        if not 0 < number < tainted_from or any(low < number <= high for low, high in spans):
            continue
        final = rounds[number - 1].final
        checkpoint = load_round(folder.checkpoints, number, config_digest)
        if final is None or checkpoint is None:
            continue
        root = model_root(checkpoint.theta, checkpoint.momentum, client.facts.shape_digest)
        if root == final.model_root:
            found.append(number)
    return [*found, 0]


def _bring_to_idle(client: LedgerClient, operator: LocalAccount) -> None:
    """Give up the round under way; whatever it would train rests on the tainted model."""
    node: Node = client.node
    state = client.state()
    if state.stage == Stage.OPEN:
        node.wait_until(state.commit_deadline + 1)
        client.seal(operator, state.round)
        state = client.state()
    if state.stage == Stage.SEALED:
        settle_window_s = client.settle_window_s
        if not client.is_seed_missed(state):
            node.wait_until(state.sealed_at + settle_window_s + 1)
        client.void_round(operator, state.round)
    if client.state().stage == Stage.SETTLED:
        raise RollbackError(
            f"round {state.round} is settled and not final yet",
            hint="run the same `hallmark run` once more: it records that round and stops; then roll back",
        )
