"""DiLoCo: workers, tasks, attacks, quantiser, merge and checkpoints; where guard and ledger meet."""
