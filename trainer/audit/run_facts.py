"""What never changes in a run: contracts, constants, cohort, and the initial model."""

from collections.abc import Mapping
from typing import Any

from eth_utils import to_canonical_address, to_checksum_address

from guard.errors import GuardError
from guard.gate import GateParameters
from ledger import artifacts, digests
from ledger.blobs import BlobError, BlobKind, BlobStore, BlobStoreFault
from ledger.client import LedgerClient, LedgerFacts, NotOurContractError, check_code
from ledger.node import Node
from ledger.update import LENGTH_MAX, MODEL_HEADER_BYTES, Model, decode_model, model_root
from trainer.audit.report import Findings

_IN_EVENT = (
    "run",
    "registry",
    "reputation",
    "specDigest",
    "dataRequests",
    "aggregator",
    "shapeDigest",
    "length",
)


def open_ledger(node: Node, address: str, findings: Findings) -> LedgerClient | None:
    """Bind to the ledger if it, its Reputation, its GateSpec and its WorkerRegistry are this version's.

    Returns:
        None if one of them is not; that is noted.
    """
    try:
        client = LedgerClient(node, address)
        check_code(node, client.facts.registry, "WorkerRegistry")
    except NotOurContractError as error:
        findings.differ(0, "code", "a Hallmark contract of this version", error)
        return None
    return client


def check_facts(client: LedgerClient, findings: Findings) -> GateParameters | None:
    """Compare the ledger's constants with each other.

    Returns:
        The gate's constants, None if they are not those of the run.
    """
    facts = client.facts
    _check_cohort(client, findings)
    digest = digests.spec_digest(facts.parameters)
    if not 1 <= facts.length <= LENGTH_MAX:
        findings.differ(0, "length", f"1 to {LENGTH_MAX}", facts.length)
    elif findings.same(0, "spec_digest", digest, facts.spec_digest):
        try:
            return GateParameters(*facts.parameters)
        except (GuardError, TypeError) as error:
            findings.differ(0, "spec", "constants of docs/spec/gate.md", error)
    return None


def check_run_opened(event: Mapping[str, Any] | None, facts: LedgerFacts, findings: Findings) -> bool:
    """Compare RunOpened, if it is there, with the ledger's constants; tell whether nothing differs."""
    before = findings.total
    for name, value in zip(
        _IN_EVENT,
        (
            facts.run,
            facts.registry,
            facts.reputation,
            facts.spec_digest,
            facts.data_requests,
            facts.aggregator,
            facts.shape_digest,
            facts.length,
        ),
        strict=True,
    ):
        if event is not None:
            stated = event[name]
            stated = to_checksum_address(stated) if _is_address(stated) else stated
            findings.same(0, f"RunOpened.{name}", value, stated)
    return findings.total == before


def _is_address(value: object) -> bool:
    return isinstance(value, str) and len(value) == 42


def _check_cohort(client: LedgerClient, findings: Findings) -> None:
    """Compare the cohort's code with what registry, ledger and Reputation say of it."""
    facts, node = client.facts, client.node
    ledger = _functions(node, client.address, "ContributionLedger")
    cohort = node.call(ledger.cohort())
    registry = _functions(node, facts.registry, "WorkerRegistry")
    findings.same(0, "cohort", b"\x00" + _packed(facts), node.code(cohort))
    findings.same(0, "cohort_sealed", True, bool(node.call(registry.isCohort(cohort))))
    names = [member.identity for member in facts.members]
    findings.same(0, "cohort_size", len(set(names)), len(names))
    stated = [
        to_checksum_address(i) for i in node.call(_functions(node, facts.reputation, "Reputation").members())
    ]
    if findings.same(0, "cohort_size", len(stated), len(names)):
        for name, expected in zip(names, stated, strict=True):
            findings.same(0, "identity", expected, name, worker=name)
    guard = facts.members[facts.workers]
    signer = to_checksum_address(node.call(ledger.guardSigner()))
    findings.same(0, "guard_signer", signer, guard.signer, worker=guard.identity)


def _functions(node: Node, address: str, name: str) -> Any:
    return node.web3.eth.contract(
        address=to_checksum_address(address), abi=artifacts.load(name).abi
    ).functions


def _packed(facts: LedgerFacts) -> bytes:
    return b"".join(
        to_canonical_address(member.identity) + to_canonical_address(member.signer)
        for member in facts.members
    )


def load_model(store: BlobStore, root: bytes, facts: LedgerFacts) -> Model:
    """Read a model from the store and check root, shape and length.

    Raises:
        BlobError: It is missing, too large or another one; the store itself failed (BlobStoreFault).
    """
    size = MODEL_HEADER_BYTES + 8 * facts.length
    data = store.get(root, max_bytes=size, root_of=_root_of, kind=BlobKind.MODEL)
    return decode_model(data)


def _root_of(data: bytes) -> bytes:
    model = decode_model(data)
    return model_root(model.parameters, model.momentum, model.shape_digest)


def initial_model(store: BlobStore, root: bytes, facts: LedgerFacts, findings: Findings) -> Model | None:
    """Read the initial model and check it against the ledger's constants.

    Returns:
        None if it cannot be had or is not the one; that is noted.
    """
    try:
        model = load_model(store, root, facts)
    except BlobStoreFault:
        raise
    except BlobError as error:
        findings.differ(0, "initial_model", root, error, is_false=False)
        return None
    is_shape = findings.same(0, "shape_digest", model.shape_digest, facts.shape_digest)
    if not (findings.same(0, "length", model.length, facts.length) and is_shape):
        return None
    findings.count("models")
    return model
