// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {SegmentTree} from "../src/libraries/SegmentTree.sol";
import {TraceTree} from "../src/libraries/TraceTree.sol";
import {UpdateFaults} from "../src/libraries/UpdateFaults.sol";
import {MergeRow} from "./libraries/MergeRow.sol";

/// @notice What an aggregator says of one merge.
/// @param  shapeDigest        Shape of the model.
/// @param  length             Number of its values.
/// @param  outerLrMicro       Outer learning rate, in 10^-6.
/// @param  outerMomentumMicro Outer momentum, in 10^-6.
/// @param  terms              Number of terms: the approved, in cohort order, then the anchor.
/// @param  termsRoot          Root over their update roots and weights.
/// @param  oldModelRoot       Model before.
/// @param  traceRoot          Root over the running sums.
/// @param  newModelRoot       Model after.
struct MergeClaim {
    bytes32 shapeDigest;
    uint64 length;
    uint32 outerLrMicro;
    uint32 outerMomentumMicro;
    uint16 terms;
    bytes32 termsRoot;
    bytes32 oldModelRoot;
    bytes32 traceRoot;
    bytes32 newModelRoot;
}

/// @notice Shows that the sums of a row after one term do not follow from those before it.
/// @param  index           Which term.
/// @param  row             Which row.
/// @param  weight          Its weight, under the terms' root.
/// @param  termSiblings    Path of the term.
/// @param  header          Header of its update.
/// @param  segment         The segment that holds the row, 8,192 bytes.
/// @param  segmentSiblings Path of the segment.
/// @param  sumsBefore      Sums before the term, 4,096 bytes; empty for the first.
/// @param  postedLeaf      What the trace has after the term.
/// @param  traceSiblings   Joint path of both leaves, or that of the first.
struct StepProof {
    uint256 index;
    uint256 row;
    uint64 weight;
    bytes32[] termSiblings;
    bytes header;
    bytes segment;
    bytes32[] segmentSiblings;
    bytes sumsBefore;
    bytes32 postedLeaf;
    bytes32[] traceSiblings;
}

/// @notice Shows that a row of the new model does not follow from the old one and the sums.
/// @param  row           Which row.
/// @param  sums          Sums after the last term, 4,096 bytes.
/// @param  traceSiblings Path of the sums.
/// @param  oldRow        Parameters and momenta before, 8,192 bytes.
/// @param  oldSiblings   Path of the old row.
/// @param  postedLeaf    What the new model has.
/// @param  newSiblings   Path of the new row.
struct LastStepProof {
    uint256 row;
    bytes sums;
    bytes32[] traceSiblings;
    bytes oldRow;
    bytes32[] oldSiblings;
    bytes32 postedLeaf;
    bytes32[] newSiblings;
}

/// @notice Shows that a tree holds something behind its last leaf.
/// @param  tree     1 terms, 2 trace, 4 new model.
/// @param  row      The row behind whose last term something is; trace only, otherwise zero.
/// @param  leaf     The last leaf.
/// @param  siblings Its path.
struct TailProof {
    uint8 tree;
    uint256 row;
    bytes32 leaf;
    bytes32[] siblings;
}

/// @title  Proofs that a merge is false.
/// @notice A prototype, used by no ledger: docs/adr/0014-a-merge-that-could-be-proven.md, docs/merge-proof.md. Each function
///         gives the digest of a claim that is false, and reverts if the claim was not shown to be. Whether the claim is one
///         that was posted, and whether its terms and its old model are those of the chain, is for the caller to compare.
/// @dev    No state, and no calls but to sha256. Positions and depths come from the claim, never from a proof.
contract MergeProof {
    uint8 private constant TERMS = 1;
    uint8 private constant TRACE = 2;
    uint8 private constant OLD_MODEL = 3;
    uint8 private constant NEW_MODEL = 4;

    uint256 private constant MAX_TERMS = 256;

    /// @notice Thrown when a claim has no values or no terms, or too many of them.
    error MergeProofBadClaim(uint256 length, uint256 terms);
    /// @notice Thrown when the claim has no term with this index.
    error MergeProofNoSuchTerm(uint256 index, uint256 terms);
    /// @notice Thrown when the model has no row with this number.
    error MergeProofNoSuchRow(uint256 row, uint256 rows);
    /// @notice Thrown when a path does not have exactly one sibling for each level.
    error MergeProofWrongDepth(uint8 tree, uint256 siblings, uint256 depth);
    /// @notice Thrown when what is shown is not under the root.
    error MergeProofWrongRoot(uint8 tree, bytes32 computed, bytes32 root);
    /// @notice Thrown when a step is true.
    /// @param  leaf The leaf after it, as computed and as posted.
    error MergeProofStepHolds(uint256 index, uint256 row, bytes32 leaf);
    /// @notice Thrown when a row of the new model is true.
    /// @param  leaf The row's leaf, as computed and as posted.
    error MergeProofLastStepHolds(uint256 row, bytes32 leaf);
    /// @notice Thrown when there is nothing behind the last leaf.
    error MergeProofNothingBehind(uint8 tree, uint256 row);
    /// @notice Thrown when a tail is shown of a tree that has none.
    error MergeProofUnknownTree(uint8 tree);

    /// @notice Shows a false step of the sums.
    /// @return digest The false claim's.
    function proveStep(MergeClaim calldata claim, StepProof calldata proof)
        external
        view
        returns (bytes32 digest)
    {
        _requireRow(claim, proof.row);
        if (proof.index >= claim.terms) revert MergeProofNoSuchTerm(proof.index, claim.terms);
        bytes32 updateRoot = _updateRoot(claim, proof);
        _requireRoot(
            TERMS,
            sha256(abi.encodePacked(uint8(0x33), updateRoot, proof.weight)),
            proof.index,
            _depthOf(claim.terms),
            proof.termSiblings,
            claim.termsRoot
        );
        _requireTrace(claim, proof);
        bytes32 leaf = MergeRow.leafAfter(
            proof.sumsBefore,
            proof.index == 0 ? 0 : MergeRow.SUMS_BYTES,
            proof.segment,
            (proof.row % 8) * MergeRow.ROW_VALUES,
            proof.weight,
            UpdateFaults.exponentIn(proof.header)
        );
        if (leaf == proof.postedLeaf) revert MergeProofStepHolds(proof.index, proof.row, leaf);
        digest = claimDigest(claim);
    }

    /// @notice Shows a false row of the new model.
    /// @return digest The false claim's.
    function proveLastStep(MergeClaim calldata claim, LastStepProof calldata proof)
        external
        view
        returns (bytes32 digest)
    {
        uint256 rows = _requireRow(claim, proof.row);
        uint256 depth = _depthOf(rows);
        uint256 termDepth = _depthOf(claim.terms);
        _requireRoot(
            TRACE,
            MergeRow.leafOfSums(proof.sums),
            (proof.row << termDepth) | (claim.terms - 1),
            depth + termDepth,
            proof.traceSiblings,
            claim.traceRoot
        );
        _requireModel(
            claim,
            OLD_MODEL,
            MergeRow.leafOfModel(proof.oldRow),
            proof.row,
            depth,
            proof.oldSiblings,
            claim.oldModelRoot
        );
        _requireModel(
            claim, NEW_MODEL, proof.postedLeaf, proof.row, depth, proof.newSiblings, claim.newModelRoot
        );
        bytes32 leaf = MergeRow.leafAfterStep(
            proof.sums, proof.oldRow, _q16(claim.outerLrMicro), _q16(claim.outerMomentumMicro)
        );
        if (leaf == proof.postedLeaf) revert MergeProofLastStepHolds(proof.row, leaf);
        digest = claimDigest(claim);
    }

    /// @notice Shows that a tree holds something behind its last leaf.
    /// @return digest The false claim's.
    function proveTail(MergeClaim calldata claim, TailProof calldata proof)
        external
        view
        returns (bytes32 digest)
    {
        uint8 tree = proof.tree;
        uint256 row = proof.row;
        uint256 rows = _requireRow(claim, row);
        uint256 termDepth = _depthOf(claim.terms);
        uint256 last;
        // So many levels have nothing but missing leaves on the right.
        uint256 levels;
        if (tree == TRACE) {
            last = (row << termDepth) | (claim.terms - 1);
            levels = termDepth + _depthOf(rows);
            _requireRoot(TRACE, proof.leaf, last, levels, proof.siblings, claim.traceRoot);
            if (row != rows - 1) levels = termDepth;
        } else if (row != 0) {
            revert MergeProofNoSuchRow(row, 1);
        } else if (tree == TERMS) {
            last = claim.terms - 1;
            levels = termDepth;
            _requireRoot(TERMS, proof.leaf, last, levels, proof.siblings, claim.termsRoot);
        } else if (tree == NEW_MODEL) {
            last = rows - 1;
            levels = _depthOf(rows);
            _requireModel(claim, NEW_MODEL, proof.leaf, last, levels, proof.siblings, claim.newModelRoot);
        } else {
            revert MergeProofUnknownTree(tree);
        }
        if (UpdateFaults.isEmptyBehind(last, proof.siblings[:levels])) revert MergeProofNothingBehind(tree, row);
        digest = claimDigest(claim);
    }

    /// @notice Gives the digest by which a claim is known.
    function claimDigest(MergeClaim calldata claim) public pure returns (bytes32) {
        return keccak256(
            abi.encodePacked(
                "hallmark.merge.v2",
                claim.shapeDigest,
                claim.length,
                claim.outerLrMicro,
                claim.outerMomentumMicro,
                claim.terms,
                claim.termsRoot,
                claim.oldModelRoot,
                claim.traceRoot,
                claim.newModelRoot
            )
        );
    }

    function _updateRoot(MergeClaim calldata claim, StepProof calldata proof) private view returns (bytes32) {
        (, uint256 depth) = SegmentTree.shapeOf(claim.length);
        return SegmentTree.updateRootAt(
            proof.header, proof.segment, proof.row / 8, depth, proof.segmentSiblings
        );
    }

    function _requireTrace(MergeClaim calldata claim, StepProof calldata proof) private view {
        uint256 termDepth = _depthOf(claim.terms);
        uint256 depth = _depthOf(_rowsOf(claim)) + termDepth;
        uint256 position = (proof.row << termDepth) | proof.index;
        if (proof.index == 0) {
            _requireRoot(TRACE, proof.postedLeaf, position, depth, proof.traceSiblings, claim.traceRoot);
            return;
        }
        bytes32 before = MergeRow.leafOfSums(proof.sumsBefore);
        bytes32 root =
            TraceTree.rootOfStep(before, proof.postedLeaf, position, depth, proof.traceSiblings);
        if (root != claim.traceRoot) revert MergeProofWrongRoot(TRACE, root, claim.traceRoot);
    }

    function _requireModel(
        MergeClaim calldata claim,
        uint8 tree,
        bytes32 leaf,
        uint256 row,
        uint256 depth,
        bytes32[] calldata siblings,
        bytes32 modelRoot
    ) private view {
        if (siblings.length != depth) revert MergeProofWrongDepth(tree, siblings.length, depth);
        bytes32 root = SegmentTree.climb(leaf, row, siblings);
        root = sha256(abi.encodePacked(uint8(0x32), claim.shapeDigest, claim.length, root));
        if (root != modelRoot) revert MergeProofWrongRoot(tree, root, modelRoot);
    }

    function _requireRoot(
        uint8 tree,
        bytes32 leaf,
        uint256 position,
        uint256 depth,
        bytes32[] calldata siblings,
        bytes32 root
    ) private view {
        if (siblings.length != depth) revert MergeProofWrongDepth(tree, siblings.length, depth);
        bytes32 computed = SegmentTree.climb(leaf, position, siblings);
        if (computed != root) revert MergeProofWrongRoot(tree, computed, root);
    }

    function _requireRow(MergeClaim calldata claim, uint256 row) private pure returns (uint256 rows) {
        if (claim.length == 0 || claim.length > SegmentTree.MAX_LENGTH || claim.terms == 0 || claim.terms > MAX_TERMS) {
            revert MergeProofBadClaim(claim.length, claim.terms);
        }
        rows = _rowsOf(claim);
        if (row >= rows) revert MergeProofNoSuchRow(row, rows);
    }

    function _rowsOf(MergeClaim calldata claim) private pure returns (uint256) {
        return (uint256(claim.length) + MergeRow.ROW_VALUES - 1) / MergeRow.ROW_VALUES;
    }

    function _depthOf(uint256 count) private pure returns (uint256 depth) {
        while (1 << depth < count) ++depth;
    }

    /// @dev A number in 10^-6 in 2^-16, to the nearest.
    function _q16(uint256 micro) private pure returns (uint256) {
        return (micro * 65536 + 500_000) / 1_000_000;
    }
}
