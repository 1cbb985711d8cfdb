"""What a round costs beside training, and how many contributions the embedded chain takes."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.gas import SyntheticRounds
from ledger.chain import EmbeddedChain, EmbeddedProvider, LogicalClock, RpcDispatcher
from ledger.node import Node
from trainer.config import resolve_config
from trainer.reporting import SilentObserver
from trainer.run import run


@dataclass(frozen=True, slots=True)
class RoundsBench:
    """Measured on the machine at hand; compare ratios, not seconds.

    Attributes:
        workers: Cohort size of the throughput measurement.
        rounds: Rounds of it.
        seconds: Per round: sign (all workers' signatures), commit, settle, finalize; durable storage.
        contributions_per_s: Contributions through commit, settle and finalize, without signing.
        run_seconds: Per round of a real digits run with ten workers, by phase.
        ledger_share: Everything but training and evaluation, as a share of that round.
    """

    workers: int
    rounds: int
    seconds: dict[str, float]
    contributions_per_s: float
    run_seconds: dict[str, float]
    ledger_share: float


def bench_rounds(workers: int = 64, rounds: int = 5) -> RoundsBench:
    """Measure throughput of the embedded chain, and the ledger's share of a real round.

    Args:
        workers: Cohort size for the throughput, 1..255.
        rounds: Rounds for the throughput, after one that is not counted.

    Returns:
        The measurement.
    """
    with tempfile.TemporaryDirectory() as folder:
        with EmbeddedChain.open(Path(folder) / "chain", clock=LogicalClock()) as chain:
            synthetic = SyntheticRounds(Node(EmbeddedProvider(RpcDispatcher(chain))), workers)
            synthetic.play()
            synthetic.seconds = dict.fromkeys(synthetic.seconds, 0.0)
            for _ in range(rounds):
                synthetic.play()
        seconds = {step: spent / rounds for step, spent in synthetic.seconds.items()}
        on_chain = seconds["commit"] + seconds["settle"] + seconds["finalize"]
        config = resolve_config({"rounds": 4, "out": str(Path(folder) / "run"), "attack": {"name": "none"}})
        reports = run(config, SilentObserver())[1:]
    spent = {name: sum(r.seconds[name] for r in reports) / len(reports) for name in reports[0].seconds}
    beside = spent["guard"] + spent["ledger"] + spent["merge"]
    return RoundsBench(
        workers=workers,
        rounds=rounds,
        seconds=seconds,
        contributions_per_s=workers / on_chain,
        run_seconds=spent,
        ledger_share=beside / sum(spent.values()),
    )
