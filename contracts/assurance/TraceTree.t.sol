// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {SegmentTree} from "../src/libraries/SegmentTree.sol";
import {Sketch} from "../src/libraries/Sketch.sol";
import {TraceTree} from "../src/libraries/TraceTree.sol";

contract TraceTreeTest {
    uint256 private constant DEPTH = 6;

    /// @dev The leaf after a segment, against docs/spec/trace.md written sum by sum on the projection that
    ///      `SketchTest` checks.
    /// forge-config: default.fuzz.runs = 50
    function testFuzz_leafAfterIsTheSumsAddedOneByOne(bytes32 seed, uint32 index, bytes32 filling) external view {
        bytes memory segment = new bytes(8192);
        for (uint256 i = 0; i < 8192; ++i) {
            bytes1 value = keccak256(abi.encode(filling, i / 32))[i % 32];
            segment[i] = value == 0x80 ? bytes1(0x81) : value;
        }
        bytes memory before;
        int48[256] memory sums;
        uint64 norm2;
        if (index != 0) {
            for (uint256 j = 0; j < 256; ++j) {
                sums[j] = int48(uint48(uint256(keccak256(abi.encode(filling, seed, j)))));
                before = bytes.concat(before, bytes6(uint48(sums[j])));
            }
            norm2 = uint64(uint256(filling)) >> 1;
            before = bytes.concat(before, bytes8(norm2));
        }
        (int256[256] memory added, uint64 squares) = this.project(seed, index, segment);
        bytes memory expected;
        unchecked {
            for (uint256 j = 0; j < 256; ++j) {
                expected = bytes.concat(expected, bytes6(uint48(sums[j] + int48(added[j]))));
            }
            expected = bytes.concat(expected, bytes8(norm2 + squares));
        }
        assert(expected.length == TraceTree.STATE_BYTES);
        assert(this.leafAfter(before, seed, index, segment) == sha256(bytes.concat(hex"20", expected)));
    }

    function testFuzz_readingIsSignsAndNorm(bytes32 filling) external view {
        bytes memory state;
        uint256 code;
        for (uint256 j = 0; j < 256; ++j) {
            int48 sum = int48(uint48(uint256(keccak256(abi.encode(filling, j)))));
            if (j % 5 == 0) sum = 0;
            if (j % 7 == 0) sum = -1;
            if (sum >= 0) code |= 1 << j;
            state = bytes.concat(state, bytes6(uint48(sum)));
        }
        uint64 norm2 = uint64(uint256(filling));
        (uint256 code_, uint64 norm2_) = this.reading(bytes.concat(state, bytes8(norm2)));
        assert(code == code_ && norm2 == norm2_);
    }

    /// @dev Every position of a tree of random leaves: the paths lead to the root, and for another leaf they do not.
    /// forge-config: default.fuzz.runs = 50
    function testFuzz_everyPathAndEveryStep(bytes32 filling) external view {
        bytes32[] memory leaves = new bytes32[](1 << DEPTH);
        for (uint256 i = 0; i < leaves.length; ++i) {
            leaves[i] = keccak256(abi.encode(filling, i));
        }
        (bytes32 root,) = _path(leaves, 0);
        for (uint256 i = 0; i < leaves.length; ++i) {
            (, bytes32[] memory right) = _path(leaves, i);
            assert(this.rootOf(leaves[i], i, DEPTH, right) == root);
            assert(this.rootOf(~leaves[i], i, DEPTH, right) != root);
            if (i == 0) continue;
            (, bytes32[] memory left) = _path(leaves, i - 1);
            uint256 apart;
            while ((i >> apart) & 1 == 0) ++apart;
            bytes32[] memory joint = new bytes32[](DEPTH + apart - 1);
            for (uint256 level = 0; level < apart; ++level) {
                joint[2 * level] = left[level];
                joint[2 * level + 1] = right[level];
            }
            for (uint256 level = apart + 1; level < DEPTH; ++level) {
                joint[apart + level - 1] = right[level];
            }
            assert(this.rootOfStep(leaves[i - 1], leaves[i], i, DEPTH, joint) == root);
            assert(this.rootOfStep(~leaves[i - 1], leaves[i], i, DEPTH, joint) != root);
            assert(this.rootOfStep(leaves[i - 1], ~leaves[i], i, DEPTH, joint) != root);
        }
    }

    function project(bytes32 seed, uint64 index, bytes calldata segment)
        external
        view
        returns (int256[256] memory, uint64)
    {
        return Sketch.project(seed, index, segment);
    }

    function leafAfter(bytes calldata before, bytes32 seed, uint256 index, bytes calldata segment)
        external
        view
        returns (bytes32)
    {
        return TraceTree.leafAfter(before, seed, index, segment);
    }

    function reading(bytes calldata state) external pure returns (uint256, uint64) {
        return TraceTree.reading(state);
    }

    function rootOf(bytes32 leaf, uint256 position, uint256 depth, bytes32[] calldata siblings)
        external
        view
        returns (bytes32)
    {
        return TraceTree.rootOf(leaf, position, depth, siblings);
    }

    function rootOfStep(
        bytes32 before,
        bytes32 after_,
        uint256 position,
        uint256 depth,
        bytes32[] calldata siblings
    ) external view returns (bytes32) {
        return TraceTree.rootOfStep(before, after_, position, depth, siblings);
    }

    function _path(bytes32[] memory leaves, uint256 position)
        private
        view
        returns (bytes32 root, bytes32[] memory siblings)
    {
        siblings = new bytes32[](DEPTH);
        bytes32[] memory level = leaves;
        for (uint256 height = 0; height < DEPTH; ++height) {
            siblings[height] = level[(position >> height) ^ 1];
            bytes32[] memory above = new bytes32[](level.length / 2);
            for (uint256 i = 0; i < above.length; ++i) {
                above[i] = SegmentTree.node(level[2 * i], level[2 * i + 1]);
            }
            level = above;
        }
        root = level[0];
    }
}
