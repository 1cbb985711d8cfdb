"""What the audit and the literal verifier say of the same run, side by side."""

from pathlib import Path

from tests.literal_verifier import FIELDS, LiteralVerifier, Place, asking
from tests.trainer.recorded import Forge, ForgingProvider, Recorded
from trainer.audit import AuditReport


def literal(recorded: Recorded, *forges: Forge, blobs: Path | None = None) -> set[Place]:
    """Let the literal verifier read a run, through a node that lies if there are forges."""
    ask = asking(ForgingProvider(recorded.provider, *forges).make_request)
    return LiteralVerifier(ask, recorded.ledger, blobs or recorded.folder.blobs).verify()


def audited(recorded: Recorded, report: AuditReport) -> set[Place]:
    """Give what an audit found, as far as the literal verifier looks at it."""
    indices = {member.identity: index for index, member in enumerate(recorded.facts.members)}
    return {(d.round, indices.get(d.worker), d.field) for d in report.differences if d.field in FIELDS}


def assert_agreement(
    recorded: Recorded, report: AuditReport, *forges: Forge, blobs: Path | None = None
) -> None:
    """Check that the literal verifier finds what the audit found, in the same places."""
    assert literal(recorded, *forges, blobs=blobs) == audited(recorded, report)
