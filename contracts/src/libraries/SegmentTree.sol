// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title  The sha256 tree over an update's segments.
/// @notice docs/spec/update.md, "Root". Leaves, nodes and the root have different tags; the depth follows from the length
///         in the header and never from a proof.
library SegmentTree {
    uint256 internal constant HEADER_BYTES = 96;
    uint256 internal constant SEGMENT_BYTES = 8192;
    uint256 internal constant MAX_LENGTH = 1 << 40;

    /// @notice Thrown when a segment does not have 8,192 bytes.
    error SegmentTreeWrongSegmentLength(uint256 length);
    /// @notice Thrown when a header does not have 96 bytes.
    error SegmentTreeWrongHeaderLength(uint256 length);
    /// @notice Thrown when the length in the header is 0 or above 2^40.
    error SegmentTreeLengthOutOfRange(uint256 length);
    /// @notice Thrown when the update has no segment with this index.
    error SegmentTreeNoSuchSegment(uint256 index, uint256 segments);
    /// @notice Thrown when a proof does not have exactly one sibling for each level.
    error SegmentTreeWrongDepth(uint256 siblings, uint256 depth);

    /// @notice Gives a segment's leaf: sha256(0x00 || segment).
    function leaf(bytes calldata segment) internal view returns (bytes32) {
        if (segment.length != SEGMENT_BYTES) revert SegmentTreeWrongSegmentLength(segment.length);
        return hashTagged(0x00, segment);
    }

    /// @notice Gives an inner node: sha256(0x01 || left || right).
    function node(bytes32 left, bytes32 right) internal view returns (bytes32 digest) {
        assembly ("memory-safe") {
            // Behind the free memory, and the result in the scratch space: nothing is allocated.
            let at := mload(0x40)
            mstore8(at, 0x01)
            mstore(add(at, 1), left)
            mstore(add(at, 33), right)
            if iszero(staticcall(gas(), 2, at, 65, 0, 32)) { revert(0, 0) }
            digest := mload(0)
        }
    }

    /// @notice Gives the root above a node.
    /// @param  current  The node.
    /// @param  position Its position among the nodes of its level.
    /// @param  siblings The other child at each level, from the node up; the caller has checked how many.
    function climb(bytes32 current, uint256 position, bytes32[] calldata siblings)
        internal
        view
        returns (bytes32 root)
    {
        root = current;
        assembly ("memory-safe") {
            let at := mload(0x40)
            mstore8(at, 0x01)
            let left := add(at, 1)
            let from := siblings.offset
            for { let end := add(from, shl(5, siblings.length)) } lt(from, end) { from := add(from, 32) } {
                // An odd position is a right child.
                let odd := shl(5, and(position, 1))
                mstore(add(left, odd), root)
                // slither-disable-next-line incorrect-exp
                mstore(add(left, xor(odd, 32)), calldataload(from))
                if iszero(staticcall(gas(), 2, at, 65, 0, 32)) { revert(0, 0) }
                root := mload(0)
                position := shr(1, position)
            }
        }
    }

    /// @notice Gives sha256(tag || data).
    function hashTagged(uint8 tag, bytes calldata data) internal view returns (bytes32 digest) {
        assembly ("memory-safe") {
            let at := mload(0x40)
            mstore8(at, tag)
            calldatacopy(add(at, 1), data.offset, data.length)
            if iszero(staticcall(gas(), 2, at, add(data.length, 1), 0, 32)) { revert(0, 0) }
            digest := mload(0)
        }
    }

    /// @notice Gives sha256(data).
    function hashMemory(bytes memory data) internal view returns (bytes32 digest) {
        assembly ("memory-safe") {
            if iszero(staticcall(gas(), 2, add(data, 32), mload(data), 0, 32)) { revert(0, 0) }
            digest := mload(0)
        }
    }

    /// @notice Binds the header: sha256(0x02 || header || payloadRoot).
    function updateRoot(bytes calldata header, bytes32 payloadRoot) internal pure returns (bytes32) {
        if (header.length != HEADER_BYTES) revert SegmentTreeWrongHeaderLength(header.length);
        return sha256(abi.encodePacked(uint8(0x02), header, payloadRoot));
    }

    /// @notice Gives the number of values that a header claims: u64, little-endian, at offset 72.
    function lengthIn(bytes calldata header) internal pure returns (uint256 length) {
        if (header.length != HEADER_BYTES) revert SegmentTreeWrongHeaderLength(header.length);
        for (uint256 i = 0; i < 8; ++i) {
            length |= uint256(uint8(header[72 + i])) << (8 * i);
        }
        if (length == 0 || length > MAX_LENGTH) revert SegmentTreeLengthOutOfRange(length);
    }

    /// @notice Gives the number of segments and the depth of their tree.
    /// @param  length   Number of values.
    /// @return segments ceil(length / 8192)
    /// @return depth    ceil(log2(segments))
    function shapeOf(uint256 length) internal pure returns (uint256 segments, uint256 depth) {
        segments = (length + SEGMENT_BYTES - 1) / SEGMENT_BYTES;
        while (1 << depth < segments) ++depth;
    }

    /// @notice Gives the root of the update that has this header and, at this index, this segment.
    /// @param  header   96 bytes.
    /// @param  segment  8,192 bytes.
    /// @param  index    Position of the segment.
    /// @param  siblings The other child at each level, from the leaves up.
    /// @return root     To be compared with the committed root by the caller.
    function updateRootFromProof(
        bytes calldata header,
        bytes calldata segment,
        uint256 index,
        bytes32[] calldata siblings
    ) internal view returns (bytes32 root) {
        (uint256 segments, uint256 depth) = shapeOf(lengthIn(header));
        if (index >= segments) revert SegmentTreeNoSuchSegment(index, segments);
        root = updateRootAt(header, segment, index, depth, siblings);
    }

    /// @notice The same for a depth that the caller knows from elsewhere, whatever the header says.
    /// @dev    The caller has checked that the segment exists.
    function updateRootAt(
        bytes calldata header,
        bytes calldata segment,
        uint256 index,
        uint256 depth,
        bytes32[] calldata siblings
    ) internal view returns (bytes32 root) {
        if (siblings.length != depth) revert SegmentTreeWrongDepth(siblings.length, depth);
        root = updateRoot(header, climb(leaf(segment), index, siblings));
    }
}
