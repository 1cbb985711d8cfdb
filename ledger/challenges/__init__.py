"""Challenges and requests: proofs from bytes, their calldata, and the contracts' rules without gas.

docs/spec/challenge.md. Nothing here reads a chain, a file or a sketch: everything comes in as bytes.
"""

from ledger.challenges.claims import (
    BoundaryClaim,
    ClaimKind,
    ExponentClaim,
    MalformedClaim,
    OnChain,
    SegmentClaim,
    SignedRoot,
    Target,
    TwoRootsClaim,
    UnfoundedClaim,
    WithheldClaim,
    expand_signature,
    read_state,
    signer_of,
)
from ledger.challenges.errors import ClaimRefusedError
from ledger.challenges.faults import FaultKind, UpdateFault, UpdateTree, check_fault, find_fault
from ledger.challenges.opening import (
    ChallengeFacts,
    CommitmentOpening,
    Opening,
    Posted,
    PostedStatus,
    open_commitment,
    open_settlement,
    read_posted,
)
from ledger.challenges.paths import DigestTree, TraceTree, trace_leaf
from ledger.challenges.requests import (
    FaultAnswer,
    RequestKey,
    RequestKind,
    SegmentAnswer,
    TraceAnswer,
    ask,
    ask_sealed,
    close,
)

__all__ = [
    "BoundaryClaim",
    "ChallengeFacts",
    "ClaimKind",
    "ClaimRefusedError",
    "CommitmentOpening",
    "DigestTree",
    "ExponentClaim",
    "FaultAnswer",
    "FaultKind",
    "MalformedClaim",
    "OnChain",
    "Opening",
    "Posted",
    "PostedStatus",
    "RequestKey",
    "RequestKind",
    "SegmentAnswer",
    "SegmentClaim",
    "SignedRoot",
    "Target",
    "TraceAnswer",
    "TraceTree",
    "TwoRootsClaim",
    "UnfoundedClaim",
    "UpdateFault",
    "UpdateTree",
    "WithheldClaim",
    "ask",
    "ask_sealed",
    "check_fault",
    "close",
    "expand_signature",
    "find_fault",
    "open_commitment",
    "open_settlement",
    "read_posted",
    "read_state",
    "signer_of",
    "trace_leaf",
]
