// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IContributionLedger} from "../interfaces/IContributionLedger.sol";
import {Cohort} from "./Cohort.sol";
import {SegmentTree} from "./SegmentTree.sol";

/// @notice Shows that an update is malformed.
/// @param  kind         1 header, 2 value, 3 padding, 4 size, 5 depth.
/// @param  header       96 bytes, under the committed root.
/// @param  payloadRoot  Root of the segments' tree; kind 1 only, otherwise zero.
/// @param  segmentIndex Position of the segment; kind 2 only, otherwise zero: kinds 3 and 4 are about the last one, 5 about
///                      the first.
/// @param  segment      Kinds 2, 3, 5: the segment, 8,192 bytes. Kind 4: its leaf, 32 bytes. Otherwise empty.
/// @param  siblings     Kinds 2 to 5: the other child at each level, from the leaf up. Otherwise empty.
struct UpdateFault {
    uint8 kind;
    bytes header;
    bytes32 payloadRoot;
    uint256 segmentIndex;
    bytes segment;
    bytes32[] siblings;
}

/// @title  Faults that make an update malformed.
/// @notice docs/spec/challenge.md, "Faults of an update"; the rules are those of docs/spec/update.md, "Malformed".
library UpdateFaults {
    uint8 internal constant HEADER = 1;
    uint8 internal constant VALUE = 2;
    uint8 internal constant PADDING = 3;
    uint8 internal constant SIZE = 4;
    uint8 internal constant DEPTH = 5;

    /// @notice Thrown when there is no such kind of fault.
    error UpdateFaultsUnknownKind(uint8 kind);
    /// @notice Thrown when a field that the kind does not use is not empty.
    error UpdateFaultsUnusedField(uint8 kind);
    /// @notice Thrown when the bytes are not under the committed root.
    error UpdateFaultsWrongRoot(bytes32 computed, bytes32 updateRoot);
    /// @notice Thrown when the fault is not there: the shown bytes are sound.
    error UpdateFaultsSound(uint8 kind);

    /// @notice Reverts unless the fault is one of the update under a root.
    /// @param  ledger     Ledger to which the update was committed.
    /// @param  round      Its round.
    /// @param  index      Cohort index of its author.
    /// @param  updateRoot The committed root.
    function requireFault(
        address ledger,
        uint32 round,
        uint256 index,
        bytes32 updateRoot,
        UpdateFault calldata fault
    ) internal view {
        uint256 length = IContributionLedger(ledger).length();
        uint8 kind = fault.kind;
        if (kind == HEADER) {
            if (fault.segmentIndex != 0 || fault.segment.length != 0 || fault.siblings.length != 0) {
                revert UpdateFaultsUnusedField(kind);
            }
            requireRoot(SegmentTree.updateRoot(fault.header, fault.payloadRoot), updateRoot);
            if (isHeaderSound(ledger, round, index, length, fault.header)) revert UpdateFaultsSound(kind);
            return;
        }
        if (kind == 0 || kind > DEPTH) revert UpdateFaultsUnknownKind(kind);
        if (fault.payloadRoot != 0 || (kind != VALUE && fault.segmentIndex != 0)) {
            revert UpdateFaultsUnusedField(kind);
        }
        (uint256 segments, uint256 depth) = SegmentTree.shapeOf(length);
        if (kind == DEPTH) {
            // Leaves and nodes have different tags, so a segment lies at one depth only.
            bytes32 root = SegmentTree.climb(SegmentTree.leaf(fault.segment), 0, fault.siblings);
            requireRoot(SegmentTree.updateRoot(fault.header, root), updateRoot);
            if (fault.siblings.length == depth) revert UpdateFaultsSound(kind);
            return;
        }
        uint256 position = kind == VALUE ? fault.segmentIndex : segments - 1;
        if (position >= segments) revert SegmentTree.SegmentTreeNoSuchSegment(position, segments);
        if (fault.siblings.length != depth) {
            revert SegmentTree.SegmentTreeWrongDepth(fault.siblings.length, depth);
        }
        bytes32 leaf;
        if (kind == SIZE) {
            if (fault.segment.length != 32) {
                revert SegmentTree.SegmentTreeWrongSegmentLength(fault.segment.length);
            }
            leaf = bytes32(fault.segment);
        } else {
            leaf = SegmentTree.leaf(fault.segment);
        }
        requireRoot(
            SegmentTree.updateRoot(fault.header, SegmentTree.climb(leaf, position, fault.siblings)), updateRoot
        );
        bool isSound;
        if (kind == SIZE) isSound = leaf != 0 && isEmptyBehind(position, fault.siblings);
        else if (kind == VALUE) isSound = !holdsForbidden(fault.segment);
        else isSound = isZeroFrom(fault.segment, length - SegmentTree.SEGMENT_BYTES * position);
        if (isSound) revert UpdateFaultsSound(kind);
    }

    /// @notice Reverts unless two roots are equal.
    function requireRoot(bytes32 computed, bytes32 updateRoot) internal pure {
        if (computed != updateRoot) revert UpdateFaultsWrongRoot(computed, updateRoot);
    }

    /// @notice Tells whether a header is the one that an update of this member and round must have.
    /// @param  length Number of values, of the ledger.
    /// @param  header 96 bytes.
    function isHeaderSound(address ledger, uint32 round, uint256 index, uint256 length, bytes calldata header)
        internal
        view
        returns (bool)
    {
        int8 exponent = exponentIn(header);
        if (exponent < -64 || exponent > 63) return false;
        (address worker,) = Cohort.memberAt(IContributionLedger(ledger).cohort(), index);
        // The whole header follows but for its exponent.
        return keccak256(header)
            == keccak256(
                abi.encodePacked(
                    bytes4("HMRK"),
                    uint8(1),
                    exponent,
                    bytes2(0),
                    littleEndian(IContributionLedger(ledger).run()),
                    bytes4(littleEndian(round)),
                    worker,
                    IContributionLedger(ledger).shapeDigest(),
                    littleEndian(uint64(length)),
                    bytes16(0)
                )
            );
    }

    /// @notice Gives the exponent that a header of 96 bytes claims.
    function exponentIn(bytes calldata header) internal pure returns (int8) {
        if (header.length != SegmentTree.HEADER_BYTES) {
            revert SegmentTree.SegmentTreeWrongHeaderLength(header.length);
        }
        return int8(uint8(header[5]));
    }

    /// @notice Gives the bytes of a number from the lowest.
    function littleEndian(uint64 value) internal pure returns (bytes8) {
        value = ((value & 0xff00ff00ff00ff00) >> 8) | ((value & 0x00ff00ff00ff00ff) << 8);
        value = ((value & 0xffff0000ffff0000) >> 16) | ((value & 0x0000ffff0000ffff) << 16);
        return bytes8((value >> 32) | (value << 32));
    }

    /// @notice Tells whether everything to the right of a path is empty.
    /// @dev    The right siblings of the last segment's path cover all positions behind it.
    function isEmptyBehind(uint256 position, bytes32[] calldata siblings) internal view returns (bool) {
        bytes32 empty = 0;
        for (uint256 level = 0; level < siblings.length; ++level) {
            if ((position >> level) & 1 == 0 && siblings[level] != empty) return false;
            empty = SegmentTree.node(empty, empty);
        }
        return true;
    }

    /// @notice Tells whether a segment of 8,192 bytes holds -128.
    function holdsForbidden(bytes calldata segment) internal pure returns (bool found) {
        assembly ("memory-safe") {
            let ones := 0x0101010101010101010101010101010101010101010101010101010101010101
            let tops := shl(7, ones)
            let from := segment.offset
            for { let end := add(from, 8192) } lt(from, end) { from := add(from, 32) } {
                // The byte 0x80 becomes zero; a word has a zero byte iff a top bit comes up here.
                let word := xor(calldataload(from), tops)
                found := or(found, and(and(sub(word, ones), not(word)), tops))
            }
            found := iszero(iszero(found))
        }
    }

    /// @notice Tells whether a segment of 8,192 bytes is zero from a byte on, at most the 8,192nd.
    function isZeroFrom(bytes calldata segment, uint256 start) internal pure returns (bool isZero) {
        assembly ("memory-safe") {
            let found := 0
            let from := add(segment.offset, start)
            let end := add(segment.offset, 8192)
            for {} iszero(gt(add(from, 32), end)) { from := add(from, 32) } { found := or(found, calldataload(from)) }
            // The last bytes, fewer than 32; what lies behind the segment is shifted out.
            if lt(from, end) { found := or(found, shr(shl(3, sub(32, sub(end, from))), calldataload(from))) }
            isZero := iszero(found)
        }
    }
}
