// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Opening} from "../libraries/RoundOpening.sol";
import {PostedStatus} from "../libraries/SettlePayload.sol";
import {UpdateFault} from "../libraries/UpdateFaults.sol";

/// @notice Shows one step of the guard's running sums.
/// @param  segmentIndex  Position of the segment in the update.
/// @param  header        Header of the update, 96 bytes.
/// @param  segment       The segment, 8,192 bytes.
/// @param  siblings      Its path in the update's tree, from the leaf up.
/// @param  stateBefore   Sums before the segment, 1,544 bytes; empty for segment 0.
/// @param  postedLeaf    Leaf of the sums after the segment, as the guard has it.
/// @param  traceSiblings Segment 0: path of its leaf in the round's trace. Otherwise the joint path of the two leaves:
///                       while the paths are apart, sibling of the left one's, then of the right one's; then one each level.
struct SegmentProof {
    uint256 segmentIndex;
    bytes header;
    bytes segment;
    bytes32[] siblings;
    bytes stateBefore;
    bytes32 postedLeaf;
    bytes32[] traceSiblings;
}

/// @notice One signed contribution, of two with different roots.
/// @param  updateRoot Root of the update.
/// @param  tokens     As signed.
/// @param  deadline   As signed.
/// @param  signature  65 bytes r || s || v, or what the signer takes by ERC-1271.
struct SignedRoot {
    bytes32 updateRoot;
    uint64 tokens;
    uint64 deadline;
    bytes signature;
}

/// @title  Challenges: one transaction that shows that something posted to a ledger is false.
/// @notice docs/spec/challenge.md. Serves every ledger that names this contract as its `challenge()`; there is no owner. What is
///         claimed is recomputed here from bytes under the committed roots, so a claim that does not hold reverts and moves
///         nothing. A claim that holds takes the contribution back and the stake of the guard that posted: half of it is the
///         caller's.
/// @dev    All data is public once the claim is in the mempool, so a front-runner can take the reward, never the result.
///         IMPORTANT: all functions trust the ledger that is passed, and what it names, for that ledger alone. A slash names the
///         ledger as its domain, so one that lies takes the stakes of those who staked for it.
interface IChallenge {
    /// @notice Emitted when a claim held.
    /// @param  index      Cohort index of the member; a guard's for its anchor, which takes the whole round back.
    /// @param  kind       Number of the kind, docs/spec/challenge.md.
    /// @param  challenger Who showed it.
    /// @param  slashedWei What the guard that posted lost, whoever `index` is; for kind 5 the member. Zero without vault or stake.
    event ContributionChallenged(
        address indexed ledger,
        uint32 indexed round,
        uint256 indexed index,
        uint8 kind,
        address challenger,
        uint256 slashedWei
    );

    /// @notice Thrown when the ledger does not name this contract: nobody agreed to its slashes.
    error ChallengeNotNamed(address ledger, address challenge);
    /// @notice Thrown when the contribution was taken back before.
    error ChallengeAlreadyOverturned(uint32 round, uint256 index);
    /// @notice Thrown when the posted status of the member is another one than the claim is about.
    error ChallengeWrongStatus(uint256 index, PostedStatus posted, PostedStatus needed);
    /// @notice Thrown when the bytes are not under the committed root.
    error ChallengeWrongUpdateRoot(bytes32 computed, bytes32 updateRoot);
    /// @notice Thrown when a leaf or state is not under the posted trace root.
    error ChallengeWrongTraceRoot(bytes32 computed, bytes32 traceRoot);
    /// @notice Thrown when the step is right: the posted leaf is that of the sums after the segment.
    error ChallengeStepHolds(uint256 segmentIndex, bytes32 leaf);
    /// @notice Thrown when the posted word and norm are those of the last state.
    error ChallengeReadingHolds(uint256 code, uint64 norm2);
    /// @notice Thrown when the posted exponent is the header's.
    error ChallengeExponentHolds(int8 exponent);
    /// @notice Thrown when the two contributions have the same root.
    error ChallengeSameRoots(bytes32 updateRoot);
    /// @notice Thrown when a contribution is not signed by the member's signer.
    /// @param  which 0 for the first, 1 for the second.
    error ChallengeWrongSigner(uint256 which, address signer);
    /// @notice Thrown when the member was slashed for its two roots of this round before.
    error ChallengeAlreadySlashed(uint32 round, uint256 index);
    /// @notice Thrown when the ledger has no data-request contract.
    error ChallengeNoDataRequests(address ledger);
    /// @notice Thrown when no request of this kind went unanswered and was closed.
    error ChallengeNotUnanswered(uint32 round, uint256 index, uint8 requestKind);

    /// @notice Kind 1: the guard's sums go wrong in one segment.
    function challengeSegment(
        address ledger,
        uint32 round,
        uint256 index,
        Opening calldata opening,
        SegmentProof calldata proof
    ) external;

    /// @notice Kind 2: posted word or norm are not those of the guard's last sums.
    /// @param  lastState     Sums after the last segment, 1,544 bytes.
    /// @param  traceSiblings Path of its leaf in the round's trace.
    function challengeBoundary(
        address ledger,
        uint32 round,
        uint256 index,
        Opening calldata opening,
        bytes calldata lastState,
        bytes32[] calldata traceSiblings
    ) external;

    /// @notice Kind 3: the posted exponent is not the header's.
    /// @param  header      Header of the update, 96 bytes.
    /// @param  payloadRoot Root of the tree of its segments.
    function challengeExponent(
        address ledger,
        uint32 round,
        uint256 index,
        Opening calldata opening,
        bytes calldata header,
        bytes32 payloadRoot
    ) external;

    /// @notice Kind 4: an update posted as sound is malformed.
    function challengeMalformed(
        address ledger,
        uint32 round,
        uint256 index,
        Opening calldata opening,
        UpdateFault calldata fault
    ) external;

    /// @notice Kind 5: a member signed two roots for one round and parent model. Takes the member's stake, once for a round; no
    ///         verdict changes.
    /// @dev    With different parent models, one of the two can never be committed: an honest worker signs again after a
    ///         reorganisation. `commit` asks for no signature, so what was committed that way is no evidence.
    function challengeTwoRoots(
        address ledger,
        uint32 round,
        uint256 index,
        bytes32 parentModel,
        SignedRoot calldata first,
        SignedRoot calldata second
    ) external;

    /// @notice Kind 6: a segment of an update posted as sound, or nodes of the round's trace, were asked for in vain.
    /// @param  requestKind 1 segment, 2 trace.
    function challengeWithheld(
        address ledger,
        uint32 round,
        uint256 index,
        Opening calldata opening,
        uint8 requestKind
    ) external;

    /// @notice Kind 7: the fault of an update posted as malformed was asked for in vain.
    function challengeUnfounded(address ledger, uint32 round, uint256 index, Opening calldata opening) external;

    /// @notice Gives the bitmap of the members that were slashed for two roots in a round.
    function twoRootsOf(address ledger, uint32 round) external view returns (uint256 bitmap);
}
