"""Options that several commands share."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Write the result as JSON to stdout.")


def key_options(who: str) -> Callable[[F], F]:
    """Add the options that say with which key is sent; the command gets `keystore`, `password_file`."""

    def add(command: F) -> F:
        with_file = click.option(
            "--password-file",
            envvar="ETH_PASSWORD",
            show_envvar=True,
            type=click.Path(path_type=Path, dir_okay=False),
            help="File with its password; asked for otherwise.",
        )(command)
        return click.option(
            "--keystore",
            envvar="ETH_KEYSTORE",
            show_envvar=True,
            type=click.Path(path_type=Path, dir_okay=False),
            help=f"Keystore v3 file of the {who}; not needed on a local chain.",
        )(with_file)

    return add


def sending_options(command: F) -> F:
    """Add the options that say how transactions are sent; the command gets `sending`, what is given of it."""

    @click.option(
        "--max-fee-gwei",
        type=click.IntRange(min=1),
        help="Most that is offered for a transaction's gas, also when its fee has to be raised.  "
        "[default: 500, or what the run's folder says]",
    )
    @click.option(
        "--confirmations",
        type=click.IntRange(0, 64),
        help="Blocks on top of a transaction before it counts.  "
        "[default: 0 on a local chain, else 2, or what the run's folder says]",
    )
    @wraps(command)
    def with_sending(
        *arguments: Any, max_fee_gwei: int | None, confirmations: int | None, **options: Any
    ) -> Any:
        from ledger.fees import GWEI

        sending = {}
        if max_fee_gwei is not None:
            sending["max_fee_wei"] = max_fee_gwei * GWEI
        if confirmations is not None:
            sending["confirmations"] = confirmations
        return command(*arguments, sending=sending, **options)

    return with_sending  # type: ignore[return-value]


def read_password(path: Path | None) -> str:
    """Give a keystore's password: from a file, or asked for.

    Raises:
        click.UsageError: The file cannot be read; the message does not repeat its name, which somebody may
            have taken for the place of the password itself.
    """
    if path is None:
        return str(click.prompt("Password", hide_input=True, err=True))
    try:
        return path.read_text().rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise click.UsageError(
            f"cannot read the password file ({why}): --password-file and ETH_PASSWORD name a file"
        ) from error


def place_options(command: F) -> F:
    """Add the options that say where a run's chain and files are; the command gets all three."""
    for add in (
        click.option(
            "--blobs", default="", help="Where update and trace files are: a folder or an fsspec URL."
        ),
        click.option(
            "--ledger", default="", help="Address of the run's ContributionLedger, without a folder."
        ),
        click.option(
            "--rpc-url",
            envvar="ETH_RPC_URL",
            default="",
            help="Node to ask instead of the run's own chain; "
            "the variable ETH_RPC_URL counts only with --ledger.",
        ),
    ):
        command = add(command)
    return command


from_block_option = click.option(
    "--from-block",
    type=click.IntRange(0),
    default=None,
    help="A block not after that of the ledger's creation.",
)


def target_options(*, reads_files: bool = False) -> Callable[[F], F]:
    """Add the options that say which recorded run is meant; the command gets `target`.

    Args:
        reads_files: Whether the command reads the run's update files.
    """

    def add(command: F) -> F:
        @click.option(
            "--run",
            "run_folder",
            type=click.Path(path_type=Path, file_okay=False),
            help="Folder of the run.  [default: the latest in runs/, unless --ledger is given]",
        )
        @place_options
        @wraps(command)
        def with_target(
            *arguments: Any, run_folder: Path | None, rpc_url: str, ledger: str, blobs: str, **options: Any
        ) -> Any:
            target = make_target(run_folder, rpc_url, ledger, blobs, reads_files=reads_files)
            return command(*arguments, target=target, **options)

        return with_target  # type: ignore[return-value]

    return add


def make_target(
    folder: Path | None, rpc_url: str, ledger: str, blobs: str, *, reads_files: bool = False
) -> Any:
    """Give the RunTarget that these options mean; without any, the latest run in runs/.

    Raises:
        click.UsageError: They do not say which run, and there is none in runs/; or not where its files are,
            and the command reads them.
    """
    from trainer.chain_session import RunTarget

    if reads_files and folder is None and ledger and not blobs:
        raise click.UsageError("--ledger without a folder needs --blobs: where the update files are")
    source = click.get_current_context().get_parameter_source("rpc_url")
    is_given = source == ParameterSource.COMMANDLINE
    if folder is None and not ledger:
        if is_given:
            raise click.UsageError("--rpc-url says where, not which: add --ledger or a run's folder")
        folder = latest_run(Path("runs"))
    # ETH_RPC_URL, set for other tools, must not lead a folder's run to another chain.
    return RunTarget(folder, rpc_url if ledger or is_given else "", ledger, blobs)


def latest_run(runs: Path) -> Path:
    """Give the run that was started or continued last, and came as far as a deployment.

    Raises:
        click.UsageError: There is none.
    """
    configs = sorted(
        (path for path in runs.glob("*/run.toml") if path.with_name("deployment.json").exists()),
        key=lambda path: path.stat().st_mtime,
    )
    if not configs:
        raise click.UsageError(f"no run in {runs}/: give a run's folder, or make one with `hallmark run`")
    return configs[-1].parent
