"""Errors to exit codes: what a script can rely on."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command (design: command line)."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    VERIFICATION_FAILED = 3
    ENVIRONMENT = 4
    KEY_OR_CONFIG = 5
    REVERTED = 6


def exit_code_of(error: Exception) -> ExitCode:
    """Give the exit code for an error of one of our packages.

    Args:
        error: Anything that ended a command.

    Returns:
        The code; UNEXPECTED for what is neither ours nor the operating system's.
    """
    # Imported here: `hallmark --help` must not load the chain and torch.
    from guard.errors import GuardError
    from ledger.errors import ContractError, EnvironmentFault, InputError, LedgerError, ProofError
    from trainer.errors import CheckpointDiskError, TrainerError

    by_kind: list[tuple[type[Exception], ExitCode]] = [
        (ContractError, ExitCode.REVERTED),
        (EnvironmentFault, ExitCode.ENVIRONMENT),
        (ProofError, ExitCode.VERIFICATION_FAILED),
        (InputError, ExitCode.KEY_OR_CONFIG),
        (LedgerError, ExitCode.UNEXPECTED),
        (CheckpointDiskError, ExitCode.ENVIRONMENT),
        (TrainerError, ExitCode.KEY_OR_CONFIG),
        (GuardError, ExitCode.KEY_OR_CONFIG),
        (OSError, ExitCode.ENVIRONMENT),  # a full disk, a folder without permission
    ]
    return next((code for kind, code in by_kind if isinstance(error, kind)), ExitCode.UNEXPECTED)
