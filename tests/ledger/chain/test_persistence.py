import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ledger.chain import EmbeddedChain, Genesis, LogicalClock
from ledger.chain.chain import DATABASE_NAME
from ledger.chain.errors import ChainFormatError, ChainLockedError, StorageError
from ledger.chain.lock import DirectoryLock
from ledger.chain.logs import LogQuery
from tests.ledger.chain.conftest import REPOSITORY, SMALL, sign
from tests.ledger.chain.test_chain import deploy, note

WRITER = """
import sys
from pathlib import Path
from ledger.chain import EmbeddedChain, LogicalClock
from tests.ledger.chain.conftest import SMALL
from tests.ledger.chain.test_chain import note

path, probe, per_block = Path(sys.argv[1]), bytes.fromhex(sys.argv[2]), int(sys.argv[3])
chain = EmbeddedChain.open(path, genesis=SMALL, clock=LogicalClock())
nonce = chain.state_at(chain.head()).get_nonce(SMALL.addresses()[1])
while True:
    block = chain.mine([note(1, nonce + i, probe, (nonce + i) % 256) for i in range(per_block)])
    nonce += per_block
    sys.stdout.write(f"{block.number} {block.hash.hex()} {nonce}\\n")
    sys.stdout.flush()
"""


def kill_a_writer(path: Path, probe: bytes, *, per_block: int, after_s: float) -> tuple[int, str, int]:
    """Let a process mine, kill it at a random moment, and give what it acknowledged last."""
    command = [sys.executable, "-c", WRITER, str(path), probe.hex(), str(per_block)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first, "the writer did not start"
        time.sleep(after_s)
        os.kill(process.pid, signal.SIGKILL)
        lines = [first, *process.stdout.readlines()]
    whole = [line for line in lines if line.endswith("\n")]
    number, block_hash, nonce = whole[-1].split()
    return int(number), block_hash, int(nonce)


@pytest.mark.parametrize("per_block", [1, 16])
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path, per_block: int) -> None:
    generator = random.Random(per_block)
    with EmbeddedChain.open(tmp_path, genesis=SMALL, clock=LogicalClock()) as chain:
        probe = deploy(chain)
    for _ in range(3):
        number, block_hash, nonce = kill_a_writer(
            tmp_path, probe, per_block=per_block, after_s=generator.uniform(0.01, 0.4)
        )
        with EmbeddedChain.open(tmp_path, genesis=SMALL, clock=LogicalClock()) as chain:
            head = chain.head()
            # The last block may be durable and its acknowledgement not yet written.
            assert head.block_number in (number, number + 1)
            assert chain.header(number).hash.hex() == block_hash
            mined = nonce + per_block * (head.block_number - number)
            sender = SMALL.addresses()[1]
            assert chain.state_at(head).get_nonce(sender) == mined  # type: ignore[arg-type]
            assert len(chain.logs.find(LogQuery(0, head.block_number), limit=10**6)) == mined
            assert chain.mine([note(1, mined, probe, 9)]).number == head.block_number + 1
    with (
        EmbeddedChain.open(tmp_path, genesis=SMALL) as chain,
        EmbeddedChain.open(None, genesis=SMALL) as fresh,
    ):
        for number in range(1, chain.head().block_number + 1):
            fresh.import_block(chain.block(chain.header(number)).block)
        assert fresh.head().hash == chain.head().hash


def test_reopened_chain_goes_on(tmp_path: Path) -> None:
    with EmbeddedChain.open(tmp_path / "new" / "data", genesis=SMALL) as chain:
        chain.mine([sign(0, 0)])
        chain.skip_time(100_000)
        head = chain.head()
    with EmbeddedChain.open(tmp_path / "new" / "data", genesis=SMALL) as chain:
        assert chain.head() == head
        assert chain.mine([sign(0, 1)]).block.header.timestamp >= head.timestamp + 100_000


def test_second_opener_is_told_who_holds_it(tmp_path: Path) -> None:
    with EmbeddedChain.open(tmp_path, genesis=SMALL):
        with pytest.raises(ChainLockedError) as caught:
            EmbeddedChain.open(tmp_path, genesis=SMALL)
        assert caught.value.pid == os.getpid()
        assert str(os.getpid()) in str(caught.value)
        assert caught.value.hint
    EmbeddedChain.open(tmp_path, genesis=SMALL).close()


def test_forked_child_does_not_keep_the_directory(tmp_path: Path) -> None:
    script = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from ledger.chain.lock import DirectoryLock\n"
        "lock = DirectoryLock(Path(sys.argv[1]))\n"
        "child = os.fork()\n"
        "os.write(1, b'locked\\n')\n"  # both say it: what runs in a child after a fork is done by then
        "time.sleep(20)\n"
        "if child == 0:\n"
        "    os._exit(0)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["locked\n"] * 2
        with pytest.raises(ChainLockedError):
            DirectoryLock(tmp_path)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        lock = DirectoryLock(tmp_path)
        lock.release()
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("genesis", "field"),
    [
        (Genesis(accounts=10, chain_id=5), "chain_id"),
        (Genesis(accounts=9), "genesis_digest"),
        (Genesis(accounts=10, gas_limit=10**8), "genesis_digest"),
    ],
)
def test_other_genesis_is_refused(tmp_path: Path, genesis: Genesis, field: str) -> None:
    EmbeddedChain.open(tmp_path, genesis=SMALL).close()
    with pytest.raises(ChainFormatError) as caught:
        EmbeddedChain.open(tmp_path, genesis=genesis)
    assert caught.value.field == field
    EmbeddedChain.open(tmp_path, genesis=SMALL).close()


def test_other_format_version_is_refused(tmp_path: Path) -> None:
    EmbeddedChain.open(tmp_path, genesis=SMALL).close()
    connection = sqlite3.connect(tmp_path / DATABASE_NAME)
    connection.execute("UPDATE meta SET value = '2' WHERE name = 'format_version'")
    connection.commit()
    connection.close()
    with pytest.raises(ChainFormatError) as caught:
        EmbeddedChain.open(tmp_path, genesis=SMALL)
    assert (caught.value.field, caught.value.found, caught.value.expected) == ("format_version", "2", "1")


@pytest.mark.parametrize(
    "travel",
    [
        "",
        "7",
        "[]",
        '{"skipped_s": -1, "exact_s": null}',
        '{"skipped_s": 1.5, "exact_s": null}',
        '{"skipped_s": 0, "exact_s": 1e300}',
        '{"skipped_s": 0, "exact_s": 9223372036854775808}',
        '{"other": 0}',
        pytest.param("[" * 200_000, id="nested"),
        pytest.param(b"\xff", id="no text"),
    ],
)
def test_a_clock_that_cannot_be_is_refused(tmp_path: Path, travel: str | bytes) -> None:
    with EmbeddedChain.open(tmp_path, genesis=SMALL) as chain:
        chain.skip_time(7)
    connection = sqlite3.connect(tmp_path / DATABASE_NAME)
    changed = connection.execute("UPDATE meta SET value = ? WHERE name = 'travel'", (travel,)).rowcount
    connection.commit()
    connection.close()
    assert changed == 1
    with pytest.raises(ChainFormatError) as caught:
        EmbeddedChain.open(tmp_path, genesis=SMALL)
    assert caught.value.field == "travel"


def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / DATABASE_NAME).write_bytes(b"certainly no database" * 100)
    with pytest.raises(StorageError):
        EmbeddedChain.open(tmp_path, genesis=SMALL)


def test_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        EmbeddedChain.open(tmp_path / "file" / "data", genesis=SMALL)
