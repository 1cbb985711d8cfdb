"""Keys and passwords as the options give them."""

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from eth_account import Account

from cli.main import hallmark
from cli.options import key_options, read_password
from ledger.asking import NodeUnavailableError
from ledger.fees import GWEI, SendPolicy
from ledger.parties import KeyfileError, load_keystore

KEY = b"\x11" * 32


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Give every command with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from commands(found, *path, name)
        else:
            yield (*path, name), found


VALUES = [
    (words, parameter)
    for words, command in commands(hallmark)
    for parameter in command.params
    if not (isinstance(parameter, click.Option) and parameter.is_flag)
]


@pytest.mark.parametrize(
    ("words", "parameter"), VALUES, ids=[f"{'-'.join(words)} {one.name}" for words, one in VALUES]
)
@pytest.mark.parametrize("value", ["", " ", "\t\n"])
def test_no_option_and_no_argument_may_be_empty(
    words: tuple[str, ...], parameter: click.Parameter, value: str
) -> None:
    options = parameter.opts if isinstance(parameter, click.Option) else []
    calls = [(option, [*words, option, value]) for option in options] or [(words[-1], [*words, value])]
    calls += [(one, [*words, f"{one}={value}"]) for one in options if one.startswith("--")]
    for after, arguments in calls:
        refused = CliRunner().invoke(hallmark, arguments)
        assert refused.exit_code == 2, refused.output
        assert f"nothing after '{after}'" in refused.output
        assert "variable" in refused.output


def test_the_table_of_options_has_all_that_say_where_something_is() -> None:
    places = {parameter.name for _, parameter in VALUES}
    assert {"ledger", "blobs", "rpc_url", "run", "run_folder", "keystore", "cursor", "deployment"} <= places
    assert len(VALUES) > 80


@pytest.mark.parametrize("seconds", ["nan", "inf", "-inf", "0", "1e9"])
def test_an_interval_is_a_number_of_seconds(tmp_path: Path, seconds: str) -> None:
    refused = CliRunner().invoke(hallmark, ["challenger", str(tmp_path), "--interval-s", seconds])
    assert refused.exit_code == 2
    assert "--interval-s" in refused.output


def test_what_only_ends_like_an_empty_option_is_not_one(tmp_path: Path) -> None:
    folder = tmp_path / "a="
    asked = CliRunner().invoke(hallmark, ["history", "0", f"--run={folder}"])
    assert "is not the folder of a run" in str(asked.exception)


@click.command()
@key_options("tester")
def opened(keystore: Path, password_file: Path | None) -> None:
    """Say whose key the options open."""
    click.echo(load_keystore(keystore, read_password(password_file)).address)


@pytest.fixture
def keystore(tmp_path: Path) -> Path:
    path = tmp_path / "key.json"
    path.write_text(json.dumps(Account.encrypt(KEY, "a pass word", iterations=2)))
    return path


def test_password_comes_from_the_file_that_option_or_variable_names(keystore: Path, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("a pass word\n")
    runner, address = CliRunner(), Account.from_key(KEY).address
    by_option = runner.invoke(opened, ["--keystore", str(keystore), "--password-file", str(password)])
    assert by_option.output.strip() == address
    named = {"ETH_KEYSTORE": str(keystore), "ETH_PASSWORD": str(password)}
    assert runner.invoke(opened, [], env=named).output.strip() == address


def test_password_is_asked_for_and_never_shown(keystore: Path) -> None:
    asked = CliRunner().invoke(opened, ["--keystore", str(keystore)], input="a pass word\n")
    assert Account.from_key(KEY).address in asked.output
    assert "a pass word" not in asked.output


def test_password_in_the_place_of_its_file_is_not_repeated(keystore: Path) -> None:
    named = {"ETH_KEYSTORE": str(keystore), "ETH_PASSWORD": "a pass word"}
    refused = CliRunner().invoke(opened, [], env=named)
    assert refused.exit_code == 2
    assert "ETH_PASSWORD name a file" in refused.output
    assert "a pass word" not in refused.output


@pytest.mark.parametrize(
    ("given", "policy"),
    [
        ((), SendPolicy(30 * GWEI, confirmations=12)),
        (("--max-fee-gwei", "9"), SendPolicy(9 * GWEI, confirmations=12)),
        (("--confirmations", "0"), SendPolicy(30 * GWEI, confirmations=0)),
    ],
)
def test_what_is_given_of_sending_ranks_above_the_folder_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], policy: SendPolicy
) -> None:
    found = []

    def open_node(*arguments: object) -> None:
        found.append(arguments[2])
        raise NodeUnavailableError("there is none")

    monkeypatch.setattr("trainer.chain_session.open_node", open_node)
    table = {"rpc_url": "http://127.0.0.1:1", "max_fee_gwei": 30, "confirmations": 12}
    lines = [f"{name} = {json.dumps(value)}" for name, value in table.items()]
    (tmp_path / "run.toml").write_text("\n".join(["[chain]", *lines]))
    for command in (["challenge", "1:0", "--run", str(tmp_path)], ["challenger", str(tmp_path), "--once"]):
        called = CliRunner().invoke(hallmark, [*command, "--dry-run", *given])
        assert isinstance(called.exception, NodeUnavailableError)
    assert found == [policy] * 2


def test_wrong_password_is_a_key_error(keystore: Path) -> None:
    with pytest.raises(KeyfileError, match="cannot open keystore") as caught:
        load_keystore(keystore, "another")
    assert "another" not in str(caught.value)
