"""The command `hallmark`: parse, call, print, exit."""

import sys
from collections.abc import Mapping
from importlib import import_module

import click

from cli.errors import ExitCode, exit_code_of

COMMANDS: Mapping[str, tuple[str, str]] = {
    "demo": ("cli.run", "The whole story in two minutes: attack, gate, ledger, audit, pictures."),
    "run": ("cli.run", "Train by DiLoCo and record every contribution on a ledger."),
    "chain": ("cli.chain", "The embedded chain as a process of its own."),
    "deploy": ("cli.deploy", "Deploy the shared contracts to a chain."),
    "history": ("cli.inspect", "What a worker contributed, and what became of it."),
    "reputation": ("cli.inspect", "Reputation, as the contract gives it."),
    "explain": ("cli.inspect", "Why one contribution was accepted or refused."),
    "audit": ("cli.audit", "Re-derive a whole run from chain and update files."),
    "challenge": ("cli.challenge", "Show the chain that something posted about one contribution is false."),
    "challenger": ("cli.challenge", "Watch a run, and challenge whatever is false in it."),
    "rollback": ("cli.rollback", "Set a run's model back to before an overturned round."),
    "bundle": ("cli.bundle", "Write a whole run into one file, for audits without its chain."),
    "bench": ("cli.bench", "Measure gas, speed and memory."),
}


class LazyGroup(click.Group):
    """Loads a command's module when it is called, so that `--help` is quick."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse what is empty: it would mean the default, while somebody's variable was not set."""
        for place, argument in enumerate(args):
            option, has_value, value = argument.partition("=")
            if not argument.strip():
                after = args[place - 1] if place else self.name
            elif option.startswith("-") and has_value and not value.strip():
                after = option
            else:
                continue
            raise click.UsageError(
                f"there is nothing after '{after}': leave out what is empty, or say what is meant "
                "(is a variable not set?)",
                ctx,
            )
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Give the names in the order in which people need them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Load one command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name][0]), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 ok, 1 unexpected, 2 usage, 3 verification failed, 4 environment, 5 key or config, "
    "6 reverted on chain.",
)
@click.version_option(package_name="hallmark-ledger", prog_name="hallmark")
def hallmark() -> None:
    """Audit ledger for decentralised DiLoCo training.

    Workers commit to their updates and sign them before anyone can see them; a guard assays every update; the
    EVM recomputes every verdict; only approved updates are merged; anyone can replay the run.

    \b
    hallmark demo                           see it work
    hallmark run --workers 16 --attack alie another run
    hallmark explain 3:7                    why was worker 7 refused in round 3?
    hallmark audit runs/demo                trust nobody
    """


def main() -> None:
    """Run the command line and exit with a code that scripts can rely on."""
    try:
        result = hallmark.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("stopped; run the same command again to go on", err=True)
        sys.exit(ExitCode.ENVIRONMENT)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(ExitCode.ENVIRONMENT)
    except Exception as error:
        code = exit_code_of(error)
        if code == ExitCode.UNEXPECTED:
            raise
        click.echo(f"error: {_shown(str(error))}", err=True)
        if hint := getattr(error, "hint", ""):
            click.echo(f"hint:  {_shown(hint)}", err=True)
        sys.exit(code)
    sys.exit(result if isinstance(result, int) else ExitCode.OK)


def _shown(text: str) -> str:
    """Give a text that does nothing to a terminal: a contract or a file may have chosen its words."""
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)
