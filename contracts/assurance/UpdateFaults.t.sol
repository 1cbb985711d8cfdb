// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {SegmentTree} from "../src/libraries/SegmentTree.sol";
import {UpdateFaults} from "../src/libraries/UpdateFaults.sol";

/// @dev `check_` functions are proven for all inputs by halmos, `test` functions are run by forge.
contract UpdateFaultsTest {
    function check_littleEndian(uint64 value) external pure {
        bytes8 bytes_ = UpdateFaults.littleEndian(value);
        for (uint256 i = 0; i < 8; ++i) {
            assert(uint8(bytes_[i]) == uint8(value >> (8 * i)));
        }
    }

    /// @dev All bytes but the forbidden one, and above all its neighbours, next to each other.
    /// forge-config: default.fuzz.runs = 200
    function testFuzz_forbiddenValuesAreFound(bytes32 filling, uint16 place, uint8 pattern) external view {
        bytes memory segment = _fill(filling, pattern);
        assert(!this.holdsForbidden(segment));
        segment[place % 8192] = 0x80;
        assert(this.holdsForbidden(segment));
    }

    /// forge-config: default.fuzz.runs = 200
    function testFuzz_zeroFrom(bytes32 filling, uint16 start, uint16 place, uint8 value) external view {
        bytes memory segment = _fill(filling, 0);
        uint256 from = uint256(start) % 8193;
        for (uint256 i = from; i < 8192; ++i) {
            segment[i] = 0;
        }
        assert(this.isZeroFrom(segment, from));
        if (from == 8192 || value == 0) return;
        segment[from + uint256(place) % (8192 - from)] = bytes1(value);
        assert(!this.isZeroFrom(segment, from));
    }

    /// @dev A tree of depth 5 with some leaves: what is behind a position is empty iff there are no leaves.
    function testFuzz_emptyBehind(bytes32 filling, uint8 count) external view {
        uint256 leaves = 1 + uint256(count) % 32;
        bytes32[] memory level = new bytes32[](32);
        for (uint256 i = 0; i < leaves; ++i) {
            level[i] = keccak256(abi.encode(filling, i));
        }
        for (uint256 position = 0; position < 32; ++position) {
            assert(this.isEmptyBehind(position, _path(level, position)) == (position + 1 >= leaves));
        }
    }

    function holdsForbidden(bytes calldata segment) external pure returns (bool) {
        return UpdateFaults.holdsForbidden(segment);
    }

    function isZeroFrom(bytes calldata segment, uint256 start) external pure returns (bool) {
        return UpdateFaults.isZeroFrom(segment, start);
    }

    function isEmptyBehind(uint256 position, bytes32[] calldata siblings) external view returns (bool) {
        return UpdateFaults.isEmptyBehind(position, siblings);
    }

    function _path(bytes32[] memory leaves, uint256 position) private view returns (bytes32[] memory siblings) {
        siblings = new bytes32[](5);
        bytes32[] memory level = leaves;
        for (uint256 height = 0; height < 5; ++height) {
            siblings[height] = level[(position >> height) ^ 1];
            bytes32[] memory above = new bytes32[](level.length / 2);
            for (uint256 i = 0; i < above.length; ++i) {
                above[i] = SegmentTree.node(level[2 * i], level[2 * i + 1]);
            }
            level = above;
        }
    }

    function _fill(bytes32 filling, uint8 pattern) private pure returns (bytes memory segment) {
        segment = new bytes(8192);
        for (uint256 word = 0; word < 256; ++word) {
            bytes32 random = keccak256(abi.encode(filling, word));
            for (uint256 i = 0; i < 32; ++i) {
                bytes1 value = random[i];
                if (pattern % 4 == 1) value = value < 0x80 ? bytes1(0x7f) : bytes1(0x81);
                if (pattern % 4 == 2) value = value < 0x80 ? bytes1(0x00) : bytes1(0x81);
                if (pattern % 4 == 3) value = value < 0x80 ? bytes1(0x01) : bytes1(0xff);
                segment[32 * word + i] = value == 0x80 ? bytes1(0x7f) : value;
            }
        }
    }
}
