// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {SegmentTree} from "./SegmentTree.sol";
import {Sketch} from "./Sketch.sol";

/// @title  The guard's running sums, and the tree over them.
/// @notice docs/spec/trace.md. A member's tree is a subtree of the round's, so both are one tree: leaf s of member i has the
///         position i * 2^depth + s, with the depth of the members' trees.
library TraceTree {
    uint256 internal constant STATE_BYTES = 1544;

    /// @notice Thrown when a state does not have the bytes that it should: 1,544, and none before segment 0.
    error TraceTreeWrongStateLength(uint256 length, uint256 expected);
    /// @notice Thrown when a proof does not have exactly the siblings that it needs.
    error TraceTreeWrongDepth(uint256 siblings, uint256 needed);

    /// @notice Gives the leaf of a state: sha256(0x20 || state).
    function leaf(bytes calldata state) internal view returns (bytes32) {
        if (state.length != STATE_BYTES) revert TraceTreeWrongStateLength(state.length, STATE_BYTES);
        return SegmentTree.hashTagged(0x20, state);
    }

    /// @notice Gives the leaf of the state after a segment.
    /// @param  before  State before it; empty for segment 0, whose state is zero.
    /// @param  seed    Seed of the round.
    /// @param  index   Position of the segment.
    /// @param  segment 8,192 int8 values.
    function leafAfter(bytes calldata before, bytes32 seed, uint256 index, bytes calldata segment)
        internal
        view
        returns (bytes32)
    {
        uint256 expected = index == 0 ? 0 : STATE_BYTES;
        if (before.length != expected) revert TraceTreeWrongStateLength(before.length, expected);
        (uint256[32] memory lanes, uint256 norm2) = Sketch.projectLanes(seed, index, segment);
        bytes memory next = new bytes(1 + STATE_BYTES);
        assembly ("memory-safe") {
            let to := add(next, 0x20)
            mstore8(to, 0x20)
            to := add(to, 1)
            // An absent state reads as zeros.
            let from := before.offset
            let counts := iszero(iszero(before.length))
            // Sum j = 32 s + d is lane s of word d. Each store writes over the tail of the one before.
            for { let shift := 0 } lt(shift, 256) { shift := add(shift, 32) } {
                for { let at := lanes } lt(at, add(lanes, 1024)) { at := add(at, 32) } {
                    let sum := sub(and(shr(shift, mload(at)), 0xffffffff), 0x100000)
                    sum := add(sum, mul(counts, shr(208, calldataload(from))))
                    mstore(to, shl(208, sum))
                    from := add(from, 6)
                    to := add(to, 6)
                }
            }
            // Not a word: the end of the buffer is not the end of a word.
            norm2 := shl(192, add(norm2, mul(counts, shr(192, calldataload(from)))))
            mstore(to, norm2)
        }
        return SegmentTree.hashMemory(next);
    }

    /// @notice Gives word and norm of a state.
    /// @param  state 1,544 bytes.
    function reading(bytes calldata state) internal pure returns (uint256 code, uint64 norm2) {
        if (state.length != STATE_BYTES) revert TraceTreeWrongStateLength(state.length, STATE_BYTES);
        assembly ("memory-safe") {
            let at := state.offset
            for { let j := 0 } lt(j, 256) { j := add(j, 1) } {
                code := or(code, shl(j, iszero(shr(255, calldataload(at)))))
                at := add(at, 6)
            }
            norm2 := shr(192, calldataload(at))
        }
    }

    /// @notice Gives the root over which one leaf lies.
    /// @param  current  The leaf.
    /// @param  position Its position in the round's tree.
    /// @param  depth    Depth of the round's tree.
    /// @param  siblings The other child at each level, from the leaves up.
    function rootOf(bytes32 current, uint256 position, uint256 depth, bytes32[] calldata siblings)
        internal
        view
        returns (bytes32)
    {
        if (siblings.length != depth) revert TraceTreeWrongDepth(siblings.length, depth);
        return SegmentTree.climb(current, position, siblings);
    }

    /// @notice Gives the root over which two leaves that follow each other lie.
    /// @param  before   The left one.
    /// @param  after_   The right one.
    /// @param  position Position of the right one in the round's tree, not 0.
    /// @param  depth    Depth of the round's tree.
    /// @param  siblings From the leaves up: while the two paths are apart, the other child of the left one's, then that of the
    ///                  right one's; after they met, one for each level.
    function rootOfStep(
        bytes32 before,
        bytes32 after_,
        uint256 position,
        uint256 depth,
        bytes32[] calldata siblings
    ) internal view returns (bytes32) {
        uint256 apart = 0;
        while ((position >> apart) & 1 == 0) ++apart;
        if (siblings.length != depth + apart - 1) revert TraceTreeWrongDepth(siblings.length, depth + apart - 1);
        for (uint256 level = 0; level < apart; ++level) {
            before = SegmentTree.node(siblings[2 * level], before);
            after_ = SegmentTree.node(after_, siblings[2 * level + 1]);
        }
        return SegmentTree.climb(
            SegmentTree.node(before, after_), position >> (apart + 1), siblings[2 * apart:]
        );
    }
}
