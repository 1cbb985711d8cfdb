import json
import os
import subprocess

import pytest

from ledger.chain import BoundAddress, EmbeddedChain
from ledger.chain.accounts import local_keys
from tests.ledger.chain.conftest import find_binary, running_server
from tests.ledger.chain.probe import BYTECODE

pytestmark = pytest.mark.node


def cast(address: BoundAddress, *arguments: str) -> str:
    result = run(address, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def run(address: BoundAddress, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(find_binary("cast")), *arguments]
    environment = os.environ | {"ETH_RPC_URL": address.http_url}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_cast_reads_and_writes(chain: EmbeddedChain) -> None:
    key = f"0x{local_keys(0, 1)[0].to_bytes().hex()}"
    with running_server(chain) as address:
        assert cast(address, "chain-id") == "31337"
        assert cast(address, "client").startswith("Hallmark/")
        sent = cast(address, "send", "--json", "--private-key", key, "--create", f"0x{BYTECODE.hex()}")
        deployed = json.loads(sent)
        assert deployed["status"] == "0x1"
        probe = deployed["contractAddress"]
        assert cast(address, "code", probe).startswith("0x60")
        note = ["note(uint256,bytes32)", "7", "0x" + "05" * 32]
        receipt = json.loads(cast(address, "send", "--json", "--private-key", key, probe, *note))
        assert receipt["status"] == "0x1"
        assert cast(address, "call", probe, "notes(uint256)(bytes32)", "7") == "0x" + "05" * 32
        assert int(cast(address, "estimate", probe, *note)) > 21_000
        logs = json.loads(cast(address, "logs", "--json", "--from-block", "0", "--address", probe))
        assert len(logs) == 1
        assert json.loads(cast(address, "receipt", "--json", receipt["transactionHash"])) == receipt
        assert json.loads(cast(address, "tx", "--json", receipt["transactionHash"]))["nonce"] == "0x1"
        assert json.loads(cast(address, "block", "--json", "latest"))["number"] == "0x2"
        assert int(cast(address, "block-number")) == 2
        assert int(cast(address, "storage", probe, "1"), 16) == 1
        assert cast(address, "balance", probe) == "0"
        assert cast(address, "rpc", "evm_increaseTime", "100") == "100"
        assert cast(address, "rpc", "evm_mine") == '"0x0"'
        legacy = cast(address, "send", "--json", "--legacy", "--private-key", key, probe, *note)
        assert json.loads(legacy)["type"] == "0x0"
        unlocked = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
        other = cast(address, "send", "--json", "--unlocked", "--from", unlocked, probe, *note)
        assert json.loads(other)["status"] == "0x1"
        assert cast(address, "gas-price").isdigit()
        assert cast(address, "proof", probe, "1")


def test_cast_shows_a_custom_error(chain: EmbeddedChain) -> None:
    key = f"0x{local_keys(0, 1)[0].to_bytes().hex()}"
    with running_server(chain) as address:
        sent = cast(address, "send", "--json", "--private-key", key, "--create", f"0x{BYTECODE.hex()}")
        probe = json.loads(sent)["contractAddress"]
        result = run(address, "call", probe, "refuse()")
        assert result.returncode != 0
        assert "execution reverted" in result.stderr
