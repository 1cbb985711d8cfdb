// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {IChallenge, SegmentProof, SignedRoot} from "./interfaces/IChallenge.sol";
import {IContributionLedger} from "./interfaces/IContributionLedger.sol";
import {IDataRequestBook} from "./interfaces/IDataRequestBook.sol";
import {IStakeVault} from "./interfaces/IStakeVault.sol";
import {Cohort} from "./libraries/Cohort.sol";
import {Opening, RoundOpening} from "./libraries/RoundOpening.sol";
import {RequestKinds} from "./libraries/RequestKinds.sol";
import {SegmentTree} from "./libraries/SegmentTree.sol";
import {Posted, PostedStatus, SettlePayload} from "./libraries/SettlePayload.sol";
import {TraceTree} from "./libraries/TraceTree.sol";
import {UpdateFault, UpdateFaults} from "./libraries/UpdateFaults.sol";

/// @title  Challenges.
/// @notice See {IChallenge}.
/// @dev    Between two calls there is nothing here but the marks of kind 5, and those are set before anybody is called. So a
///         ledger that calls back finds what everybody finds. No answer of a ledger is trusted beyond that ledger: one that lies
///         can harm those alone who staked for it.
contract Challenge is IChallenge {
    uint8 private constant SEGMENT = 1;
    uint8 private constant BOUNDARY = 2;
    uint8 private constant EXPONENT = 3;
    uint8 private constant MALFORMED = 4;
    uint8 private constant TWO_ROOTS = 5;
    uint8 private constant WITHHELD = 6;
    uint8 private constant UNFOUNDED = 7;

    mapping(address ledger => mapping(uint32 round => uint256)) public override twoRootsOf;

    /// @dev One claim: against whom, and the shape of the run.
    struct Case {
        IContributionLedger ledger;
        uint32 round;
        uint256 index;
        address cohort;
        uint256 members;
        uint256 guards;
    }

    /// @inheritdoc IChallenge
    function challengeSegment(
        address ledger,
        uint32 round,
        uint256 index,
        Opening calldata opening,
        SegmentProof calldata proof
    ) external override {
        Case memory c = _open(ledger, round, index, opening);
        _requireStatus(c, opening, PostedStatus.Sound);
        (uint256 segments, uint256 depth) = SegmentTree.shapeOf(c.ledger.length());
        uint256 position = proof.segmentIndex;
        if (position >= segments) revert SegmentTree.SegmentTreeNoSuchSegment(position, segments);
        _requireUpdateRoot(
            SegmentTree.updateRootAt(proof.header, proof.segment, position, depth, proof.siblings), opening
        );

        bytes32 leaf = TraceTree.leafAfter(proof.stateBefore, opening.seed, position, proof.segment);
        if (leaf == proof.postedLeaf) revert ChallengeStepHolds(position, leaf);
        uint256 traceDepth = depth + _depthOf(c.members);
        uint256 tracePosition = (index << depth) | position;
        _requireTraceRoot(
            position == 0
                ? TraceTree.rootOf(proof.postedLeaf, tracePosition, traceDepth, proof.traceSiblings)
                : TraceTree.rootOfStep(
                    TraceTree.leaf(proof.stateBefore),
                    proof.postedLeaf,
                    tracePosition,
                    traceDepth,
                    proof.traceSiblings
                ),
            opening
        );
        _overturn(c, opening, SEGMENT);
    }

    /// @inheritdoc IChallenge
    function challengeBoundary(
        address ledger,
        uint32 round,
        uint256 index,
        Opening calldata opening,
        bytes calldata lastState,
        bytes32[] calldata traceSiblings
    ) external override {
        Case memory c = _open(ledger, round, index, opening);
        Posted memory posted = _requireStatus(c, opening, PostedStatus.Sound);
        (uint256 segments, uint256 depth) = SegmentTree.shapeOf(c.ledger.length());
        _requireTraceRoot(
            TraceTree.rootOf(
                TraceTree.leaf(lastState),
                (index << depth) | (segments - 1),
                depth + _depthOf(c.members),
                traceSiblings
            ),
            opening
        );
        (uint256 code, uint64 norm2) = TraceTree.reading(lastState);
        if (code == posted.code && norm2 == posted.norm2) revert ChallengeReadingHolds(code, norm2);
        _overturn(c, opening, BOUNDARY);
    }

    /// @inheritdoc IChallenge
    function challengeExponent(
        address ledger,
        uint32 round,
        uint256 index,
        Opening calldata opening,
        bytes calldata header,
        bytes32 payloadRoot
    ) external override {
        Case memory c = _open(ledger, round, index, opening);
        Posted memory posted = _requireStatus(c, opening, PostedStatus.Sound);
        _requireUpdateRoot(SegmentTree.updateRoot(header, payloadRoot), opening);
        int8 exponent = UpdateFaults.exponentIn(header);
        if (exponent == posted.exponent) revert ChallengeExponentHolds(exponent);
        _overturn(c, opening, EXPONENT);
    }

    /// @inheritdoc IChallenge
    function challengeMalformed(
        address ledger,
        uint32 round,
        uint256 index,
        Opening calldata opening,
        UpdateFault calldata fault
    ) external override {
        Case memory c = _open(ledger, round, index, opening);
        _requireStatus(c, opening, PostedStatus.Sound);
        UpdateFaults.requireFault(ledger, round, index, opening.commitment.updateRoot, fault);
        _overturn(c, opening, MALFORMED);
    }

    /// @inheritdoc IChallenge
    function challengeTwoRoots(
        address ledger,
        uint32 round,
        uint256 index,
        bytes32 parentModel,
        SignedRoot calldata first,
        SignedRoot calldata second
    ) external override {
        _requireNamed(ledger);
        if (first.updateRoot == second.updateRoot) revert ChallengeSameRoots(first.updateRoot);
        (address holder, address signer) = Cohort.memberAt(IContributionLedger(ledger).cohort(), index);
        uint256 slashed = twoRootsOf[ledger][round];
        if ((slashed >> index) & 1 != 0) revert ChallengeAlreadySlashed(round, index);
        _requireSigned(ledger, round, index, parentModel, first, signer, 0);
        _requireSigned(ledger, round, index, parentModel, second, signer, 1);
        twoRootsOf[ledger][round] = slashed | (1 << index);
        _slash(IContributionLedger(ledger), round, index, holder, TWO_ROOTS);
    }

    /// @inheritdoc IChallenge
    function challengeWithheld(
        address ledger,
        uint32 round,
        uint256 index,
        Opening calldata opening,
        uint8 requestKind
    ) external override {
        if (requestKind != RequestKinds.SEGMENT && requestKind != RequestKinds.TRACE) {
            revert ChallengeNotUnanswered(round, index, requestKind);
        }
        Case memory c = _open(ledger, round, index, opening);
        _requireStatus(c, opening, PostedStatus.Sound);
        _requireUnanswered(c, requestKind);
        _overturn(c, opening, WITHHELD);
    }

    /// @inheritdoc IChallenge
    function challengeUnfounded(address ledger, uint32 round, uint256 index, Opening calldata opening)
        external
        override
    {
        Case memory c = _open(ledger, round, index, opening);
        _requireStatus(c, opening, PostedStatus.Malformed);
        _requireUnanswered(c, RequestKinds.FAULT);
        _overturn(c, opening, UNFOUNDED);
    }

    // ----------------------------------------------------------------- checks

    function _open(address ledger, uint32 round, uint256 index, Opening calldata opening)
        private
        view
        returns (Case memory c)
    {
        _requireNamed(ledger);
        c.ledger = IContributionLedger(ledger);
        c.round = round;
        c.index = index;
        c.cohort = c.ledger.cohort();
        c.members = Cohort.size(c.cohort);
        c.guards = c.ledger.guards();
        if (index >= c.members) revert Cohort.CohortNoSuchIndex(index, c.members);
        if ((c.ledger.overturnedOf(round) >> index) & 1 != 0) revert ChallengeAlreadyOverturned(round, index);
        RoundOpening.requireSettled(ledger, round, index, opening);
    }

    function _requireNamed(address ledger) private view {
        address named = IContributionLedger(ledger).challenge();
        if (named != address(this)) revert ChallengeNotNamed(ledger, named);
    }

    function _requireStatus(Case memory c, Opening calldata opening, PostedStatus needed)
        private
        pure
        returns (Posted memory posted)
    {
        posted = SettlePayload.read(opening.payload, opening.presence, c.members, c.guards, c.index);
        if (posted.status != needed) revert ChallengeWrongStatus(c.index, posted.status, needed);
    }

    function _requireUpdateRoot(bytes32 computed, Opening calldata opening) private pure {
        if (computed != opening.commitment.updateRoot) {
            revert ChallengeWrongUpdateRoot(computed, opening.commitment.updateRoot);
        }
    }

    function _requireTraceRoot(bytes32 computed, Opening calldata opening) private pure {
        bytes32 root = SettlePayload.traceRootIn(opening.payload);
        if (computed != root) revert ChallengeWrongTraceRoot(computed, root);
    }

    function _requireUnanswered(Case memory c, uint8 requestKind) private view {
        address requests = c.ledger.dataRequests();
        if (requests == address(0)) revert ChallengeNoDataRequests(address(c.ledger));
        uint256 bitmap = IDataRequestBook(requests).unansweredOf(address(c.ledger), c.round, requestKind);
        if ((bitmap >> c.index) & 1 == 0) revert ChallengeNotUnanswered(c.round, c.index, requestKind);
    }

    function _requireSigned(
        address ledger,
        uint32 round,
        uint256 index,
        bytes32 parentModel,
        SignedRoot calldata signed,
        address signer,
        uint256 which
    ) private view {
        bytes32 digest = IContributionLedger(ledger)
            .contributionDigest(
                round, index, parentModel, signed.updateRoot, signed.tokens, signed.deadline
            );
        // The key first: who signed with it cannot disown that by giving the account code (EIP-7702).
        (address recovered,,) = ECDSA.tryRecoverCalldata(digest, signed.signature);
        if (recovered == signer && signer != address(0)) return;
        if (!SignatureChecker.isValidSignatureNowCalldata(signer, digest, signed.signature)) {
            revert ChallengeWrongSigner(which, signer);
        }
    }

    function _depthOf(uint256 members) private pure returns (uint256 depth) {
        while (1 << depth < members) ++depth;
    }

    // ---------------------------------------------------------------- effects

    function _overturn(Case memory c, Opening calldata opening, uint8 kind) private {
        uint256 workers = c.members - c.guards;
        if (c.index >= workers) {
            c.ledger.overturnRound(c.round, opening.lanesBefore, opening.yardstickBefore);
        } else {
            c.ledger.overturn(c.round, c.index, opening.approved, opening.lanesBefore[c.index / 4]);
        }
        // Who posted vouches for all of it, for what it says of other guards, too.
        (address poster,) = Cohort.memberAt(c.cohort, workers + SettlePayload.posterIn(opening.payload));
        _slash(c.ledger, c.round, c.index, poster, kind);
    }

    function _slash(IContributionLedger ledger, uint32 round, uint256 index, address holder, uint8 kind) private {
        address vault = ledger.vault();
        uint256 slashedWei =
            vault == address(0) ? 0 : IStakeVault(vault).slash(address(ledger), holder, msg.sender);
        // slither-disable-next-line reentrancy-events
        emit ContributionChallenged(address(ledger), round, index, kind, msg.sender, slashedWei);
    }
}
