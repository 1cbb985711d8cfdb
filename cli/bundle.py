"""`hallmark bundle`."""

import os
from pathlib import Path

import click

from cli.errors import ExitCode
from cli.options import from_block_option, json_option, make_target, place_options
from cli.output import as_argument, columns, notices, results, write_json


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "-o",
    "--out",
    "target",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write.",
)
@place_options
@from_block_option
@json_option
def bundle(
    run: Path | None,
    target: Path,
    rpc_url: str,
    ledger: str,
    blobs: str,
    from_block: int | None,
    as_json: bool,
) -> int:
    """Write a whole run into one file that anybody can audit without its chain.

    RUN is a run's folder  [default: the latest in runs/, unless --ledger is given]. The file holds block
    headers, transactions, receipts, the proven state that an audit reads, ABI and code of the contracts, the
    configuration, checkpoints' roots and all update files. It cannot show that its headers are those of the
    chain that everybody has: publish the hash of its last block, and auditors pass it to --head.

    \b
    hallmark bundle runs/demo -o demo.bundle
    hallmark audit --bundle demo.bundle --head 0x…
    """
    from trainer.bundle import export_bundle
    from trainer.chain_session import open_recorded_run
    from trainer.folder import RunFolder

    where = make_target(run, rpc_url, ledger, blobs, reads_files=True)
    with open_recorded_run(where) as recorded, notices.status("bundle") as line:
        summary = export_bundle(
            recorded.client.node,
            recorded.client.address,
            recorded.store,
            target,
            folder=None if where.folder is None or ledger else RunFolder(where.folder),
            first_block=recorded.first_block if from_block is None else from_block,
            jobs=len(os.sched_getaffinity(0)),
            on_step=lambda text: line.update(f"bundle: {text}"),
        )
    manifest = summary.manifest
    if as_json:
        write_json(
            {
                "file": str(target),
                "size_bytes": summary.size_bytes,
                "chain_id": manifest.chain_id,
                "ledger": manifest.ledger,
                "run": manifest.run,
                "first_block": manifest.first_block,
                "head": {"block": manifest.head_block, "hash": manifest.head_hash},
                "blocks": summary.blocks,
                "bodies": summary.bodies,
                "blobs": summary.blobs,
                "verdict": summary.report.verdict,
            }
        )
        return ExitCode.OK
    columns(
        ("file", str(target)),
        ("bytes", f"{summary.size_bytes:,}"),
        ("blocks", f"{summary.blocks}, {summary.bodies} of them whole"),
        ("files", str(summary.blobs)),
        ("verdict", summary.report.verdict),
        ("head", f"{manifest.head_block}, 0x{manifest.head_hash.hex()}"),
    )
    results.print(
        f"Check it anywhere:  hallmark audit --bundle {as_argument(target)} "
        f"--head 0x{manifest.head_hash.hex()}"
    )
    return ExitCode.OK
