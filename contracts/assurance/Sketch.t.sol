// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Sketch} from "../src/libraries/Sketch.sol";

contract SketchTest {
    /// @dev The lane-parallel projection against docs/spec/sketch.md written value by value.
    /// forge-config: default.fuzz.runs = 100
    function testFuzz_projectionIsTheNaiveOne(bytes32 seed, uint32 segmentIndex, bytes32 filling, uint8 pattern)
        external
        view
    {
        bytes memory segment = _fill(filling, pattern);
        (int256[256] memory sums, uint64 norm2) = this.project(seed, segmentIndex, segment);
        (int256[256] memory expected, uint256 expectedNorm2) = _naive(seed, segmentIndex, segment);
        for (uint256 j = 0; j < 256; ++j) {
            assert(sums[j] == expected[j]);
        }
        assert(norm2 == expectedNorm2);
    }

    /// forge-config: default.fuzz.runs = 100
    function testFuzz_minusHundredTwentyEightIsRefused(bytes32 filling, uint16 place) external view {
        bytes memory segment = _fill(filling, 0);
        segment[place % 8192] = 0x80;
        try this.project(0, 0, segment) returns (int256[256] memory, uint64) {
            assert(false);
        } catch (bytes memory reason) {
            uint256 offset = uint256(place % 8192) / 32 * 32;
            assert(
                keccak256(reason)
                    == keccak256(abi.encodeWithSelector(Sketch.SketchMinusHundredTwentyEight.selector, offset))
            );
        }
    }

    function project(bytes32 seed, uint64 segmentIndex, bytes calldata segment)
        external
        view
        returns (int256[256] memory, uint64)
    {
        return Sketch.project(seed, segmentIndex, segment);
    }

    /// @dev Random values, or one of the extremes that fill the lanes: all 127, all -127, alternating, only a few.
    function _fill(bytes32 filling, uint8 pattern) private pure returns (bytes memory segment) {
        segment = new bytes(8192);
        for (uint256 i = 0; i < 8192; ++i) {
            bytes1 value = keccak256(abi.encode(filling, i / 32))[i % 32];
            if (pattern % 5 == 1) value = 0x7f;
            if (pattern % 5 == 2) value = 0x81;
            if (pattern % 5 == 3) value = i % 2 == 0 ? bytes1(0x7f) : bytes1(0x81);
            if (pattern % 5 == 4 && i % 1021 != 0) value = 0;
            segment[i] = value == 0x80 ? bytes1(0x81) : value;
        }
    }

    function _naive(bytes32 seed, uint256 segmentIndex, bytes memory segment)
        private
        pure
        returns (int256[256] memory sums, uint256 norm2)
    {
        unchecked {
            for (uint256 row = 0; row < 8; ++row) {
                int256[256] memory fold;
                uint256 b = segmentIndex * 8 + row;
                for (uint256 t = 0; t < 4; ++t) {
                    bytes32 columns = sha256(abi.encodePacked(uint8(0x10), seed, uint8(b % 16), uint8(t)));
                    for (uint256 k = 0; k < 256; ++k) {
                        int256 q = int8(uint8(segment[row * 1024 + 256 * t + k]));
                        norm2 += uint256(q * q);
                        bool isMinus = (uint8(columns[k % 32]) >> (k / 32)) & 1 == 1;
                        fold[k] += isMinus ? -q : q;
                    }
                }
                for (uint256 half = 1; half < 256; half *= 2) {
                    for (uint256 k = 0; k < 256; ++k) {
                        if (k & half != 0) continue;
                        (int256 a, int256 c) = (fold[k], fold[k | half]);
                        (fold[k], fold[k | half]) = (a + c, a - c);
                    }
                }
                uint256 signs = uint256(sha256(abi.encodePacked(uint8(0x11), seed, uint64(b))));
                for (uint256 j = 0; j < 256; ++j) {
                    sums[j] += (signs >> j) & 1 == 1 ? -fold[j] : fold[j];
                }
            }
        }
    }
}
