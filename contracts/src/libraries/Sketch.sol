// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title  Sketch S6 of one segment: 8,192 int8 values to 256 sums.
/// @notice docs/spec/sketch.md, written for the EVM.
/// @dev    Values sit side by side in one word and are added many at a time. No lane may ever borrow from its neighbour,
///         so every lane carries a bias that keeps it positive:
///         - folding turns a byte q into 128 +- q, so 4 of them make 512 +- .. in 16 bits;
///         - each butterfly of the Hadamard transform adds two lanes and so doubles the bias: 512 after the fold, 8,192
///           after four stages in 16-bit lanes, 131,072 after all eight, the last four in 32-bit lanes;
///         - a row's sign maps u = 131072 + v to 131072 - v, which is (u XOR 0x3ffff) + 1, and 8 rows end at 2^20.
///         Index k = 32 s + d of the folded row has s in the position of the word and d, the byte, in the word; byte 0 is
///         the most significant.
library Sketch {
    uint256 internal constant SEGMENT_BYTES = 8192;
    uint256 internal constant ROW_BYTES = 1024;
    uint256 internal constant ROWS = 8;
    uint256 internal constant VECTORS = 16;

    uint256 private constant LOW_BYTES = 0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff;
    uint256 private constant LOW_SHORTS = 0x0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff;

    /// @notice Thrown when a segment does not have 8,192 bytes.
    error SketchWrongSegmentLength(uint256 length);
    /// @notice Thrown when a segment holds -128, which makes an update malformed.
    /// @param  offset Position of the first such 32-byte word in the segment, in bytes.
    error SketchMinusHundredTwentyEight(uint256 offset);

    /// @notice Gives what a segment adds to the 256 sums, and the sum of its squares.
    /// @param  seed         Seed of the round.
    /// @param  segmentIndex Position of the segment in the update.
    /// @param  segment      8,192 int8 values.
    function project(bytes32 seed, uint64 segmentIndex, bytes calldata segment)
        internal
        pure
        returns (int256[256] memory sums, uint64 norm2)
    {
        if (segment.length != SEGMENT_BYTES) revert SketchWrongSegmentLength(segment.length);
        uint256[32] memory total;
        uint256 squares;
        for (uint256 row = 0; row < ROWS; ++row) {
            uint256[32] memory lanes;
            uint256 rowNumber = uint256(segmentIndex) * ROWS + row;
            squares += _foldRow(_columnSigns(seed, rowNumber % VECTORS), segment, row * ROW_BYTES, lanes);
            _transform(lanes);
            _addSigned(total, lanes, uint256(_rowSigns(seed, rowNumber)));
        }
        _unpack(total, sums);
        norm2 = uint64(squares);
    }

    /// @notice Gives the code of 256 sums: bit j is 1 iff sum j >= 0.
    function code(int256[256] memory sums) internal pure returns (uint256 code_) {
        for (uint256 j = 0; j < 256; ++j) {
            if (sums[j] >= 0) code_ |= 1 << j;
        }
    }

    /// @dev H(i, t) of the specification for t = 0..3.
    function _columnSigns(bytes32 seed, uint256 vector) private pure returns (bytes32[4] memory signs) {
        for (uint256 t = 0; t < 4; ++t) {
            signs[t] = sha256(abi.encodePacked(uint8(0x10), seed, uint8(vector), uint8(t)));
        }
    }

    /// @dev R(b) of the specification.
    function _rowSigns(bytes32 seed, uint256 rowNumber) private pure returns (bytes32) {
        return sha256(abi.encodePacked(uint8(0x11), seed, uint64(rowNumber)));
    }

    /// @dev Folds 1,024 values to 256: word s of `lanes` gets the odd bytes d, word 8 + s the even ones, each of 16 lanes
    ///      being 512 + fold. Returns the sum of the squares.
    function _foldRow(bytes32[4] memory signs, bytes calldata segment, uint256 offset, uint256[32] memory lanes)
        private
        pure
        returns (uint256 squares)
    {
        uint256 badAt = type(uint256).max;
        assembly ("memory-safe") {
            let ones := 0x0101010101010101010101010101010101010101010101010101010101010101
            let tops := shl(7, ones)
            let row := add(segment.offset, offset)
            let lanes32 := 0
            for { let s := 0 } lt(s, 8) { s := add(s, 1) } {
                let low := 0
                let high := 0
                for { let t := 0 } lt(t, 4) { t := add(t, 1) } {
                    let position := add(row, add(shl(8, t), shl(5, s)))
                    let word := calldataload(position)
                    let minus := and(shr(s, mload(add(signs, shl(5, t)))), ones)
                    // 128 + q where the sign is +, 127 - q where it is -; the missing 1 is added with `minus`.
                    let z := xor(word, sub(tops, minus))
                    low := add(low, add(and(z, LOW_BYTES), and(minus, LOW_BYTES)))
                    high := add(high, add(and(shr(8, z), LOW_BYTES), and(shr(8, minus), LOW_BYTES)))

                    // |q| in each byte; only -128 keeps its top bit.
                    let negative := and(shr(7, word), ones)
                    let size := add(xor(word, mul(negative, 255)), negative)
                    if and(size, tops) {
                        badAt := sub(position, segment.offset)
                        break
                    }
                    // Four squares for each MUL. The 16-bit lanes 0, 1, 4, 5 hold no arithmetic progression, so lanes 0, 2,
                    // 8, 10 of the product are the four squares alone; the mixed terms (at most 64,516) stay in theirs.
                    let picked := 0x0000000000000000000000000000000000000000ffffffff00000000ffffffff
                    let squared := 0x00000000000000000000ffff0000ffff00000000000000000000ffff0000ffff
                    for { let half := 0 } lt(half, 16) { half := add(half, 8) } {
                        let b := and(shr(half, size), LOW_BYTES)
                        let x := and(b, picked)
                        lanes32 := add(lanes32, and(mul(x, x), squared))
                        x := and(shr(32, b), picked)
                        lanes32 := add(lanes32, and(mul(x, x), squared))
                        x := and(shr(128, b), picked)
                        lanes32 := add(lanes32, and(mul(x, x), squared))
                        x := and(shr(160, b), picked)
                        lanes32 := add(lanes32, and(mul(x, x), squared))
                    }
                }
                if lt(badAt, not(0)) { break }
                mstore(add(lanes, shl(5, s)), low)
                mstore(add(lanes, add(256, shl(5, s))), high)
            }
            squares := add(
                add(and(lanes32, 0xffffffff), and(shr(32, lanes32), 0xffffffff)),
                add(and(shr(128, lanes32), 0xffffffff), and(shr(160, lanes32), 0xffffffff))
            )
        }
        if (badAt != type(uint256).max) revert SketchMinusHundredTwentyEight(badAt);
    }

    /// @dev Hadamard transform. In: words 0..15 of 16-bit lanes, bias 512. Out: 32 words of 32-bit lanes, bias 131072.
    ///      Bits of the position of a word, out: 0-2 = bits 5-7 of the index (s), 3 = even (0) or odd (1) byte inverted as
    ///      stored, 4 = bit 1 of the byte; the lane holds bits 2-4, lane 0 (bits 0 of the word) being byte group 7.
    function _transform(uint256[32] memory lanes) private pure {
        assembly ("memory-safe") {
            let end := add(lanes, 512)
            let bias := 0x0400040004000400040004000400040004000400040004000400040004000400
            // Bits 5, 6, 7: between words s and s + 1, 2, 4.
            for { let stride := 32 } lt(stride, 256) { stride := shl(1, stride) } {
                for { let start := lanes } lt(start, end) { start := add(start, shl(1, stride)) } {
                    for { let at := start } lt(at, add(start, stride)) { at := add(at, 32) } {
                        let a := mload(at)
                        let b := mload(add(at, stride))
                        mstore(at, add(a, b))
                        mstore(add(at, stride), add(a, sub(bias, b)))
                    }
                }
                bias := shl(1, bias)
            }
            // Bit 0: words 8..15 hold the even bytes (bit 0 = 0), words 0..7 the odd ones.
            for { let at := lanes } lt(at, add(lanes, 256)) { at := add(at, 32) } {
                let odd := mload(at)
                let even := mload(add(at, 256))
                mstore(add(at, 256), add(even, odd))
                mstore(at, add(even, sub(bias, odd)))
            }
            // Bit 1, while widening to 32 bits: of two neighbouring 16-bit lanes the higher has bit 1 = 0. The bias is
            // 8192 in each lane now.
            for { let at := lanes } lt(at, end) { at := add(at, 32) } {
                let word := mload(at)
                let one := and(word, LOW_SHORTS)
                let zero := and(shr(16, word), LOW_SHORTS)
                mstore(at, add(zero, one))
                mstore(
                    add(at, 512),
                    add(zero, sub(0x0000400000004000000040000000400000004000000040000000400000004000, one))
                )
            }
            // Bits 2, 3, 4: inside the words, lanes 1, 2, 4 apart. Higher lanes have the bit = 0.
            end := add(lanes, 1024)
            let m1 := 0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff
            let m2 := 0x0000000000000000ffffffffffffffff0000000000000000ffffffffffffffff
            let m4 := 0x00000000000000000000000000000000ffffffffffffffffffffffffffffffff
            let k1 := mul(0x0000000000000001000000000000000100000000000000010000000000000001, 0x8000)
            let k2 := mul(0x0000000000000000000000010000000100000000000000000000000100000001, 0x10000)
            let k4 := mul(0x0000000000000000000000000000000000000001000000010000000100000001, 0x20000)
            for { let at := lanes } lt(at, end) { at := add(at, 32) } {
                let word := mload(at)
                let one := and(word, m1)
                let zero := and(shr(32, word), m1)
                word := or(shl(32, add(zero, one)), add(zero, sub(k1, one)))
                one := and(word, m2)
                zero := and(shr(64, word), m2)
                word := or(shl(64, add(zero, one)), add(zero, sub(k2, one)))
                one := and(word, m4)
                zero := shr(128, word)
                mstore(at, or(shl(128, add(zero, one)), add(zero, sub(k4, one))))
            }
        }
    }

    /// @dev Adds a row, lane by lane negated where the row's sign bit is 1. The eight indices of a word are
    ///      k = 32 s + 4 g + c for g = 0..7 (lane 7 - g) and c = 0..3 fixed; their sign bits are spread to the lanes.
    function _addSigned(uint256[32] memory total, uint256[32] memory lanes, uint256 signs) private pure {
        assembly ("memory-safe") {
            // Bits 4 g of a 32-bit number to bit 0 of lane 7 - g: bit 4 g goes up by 32 (7 - g) - 4 g = 224 - 36 g.
            for { let position := 0 } lt(position, 32) { position := add(position, 1) } {
                // c: bit 1 from bit 4 of the position, bit 0 from bit 3 (1 = even byte = 0).
                let c := or(shl(1, shr(4, position)), xor(1, and(shr(3, position), 1)))
                let bits := and(shr(add(shl(5, and(position, 7)), c), signs), 0x11111111)
                let minus := or(
                    or(
                        or(shl(224, and(bits, 1)), shl(188, and(bits, 0x10))),
                        or(shl(152, and(bits, 0x100)), shl(116, and(bits, 0x1000)))
                    ),
                    or(
                        or(shl(80, and(bits, 0x10000)), shl(44, and(bits, 0x100000))),
                        or(shl(8, and(bits, 0x1000000)), shr(28, and(bits, 0x10000000)))
                    )
                )
                let at := shl(5, position)
                let u := xor(mload(add(lanes, at)), mul(minus, 0x3ffff))
                mstore(add(total, at), add(add(mload(add(total, at)), u), minus))
            }
        }
    }

    /// @dev Takes the 256 lanes apart, less the bias of eight rows.
    function _unpack(uint256[32] memory total, int256[256] memory sums) private pure {
        assembly ("memory-safe") {
            for { let position := 0 } lt(position, 32) { position := add(position, 1) } {
                let c := or(shl(1, shr(4, position)), xor(1, and(shr(3, position), 1)))
                let word := mload(add(total, shl(5, position)))
                let at := add(sums, shl(5, add(shl(5, and(position, 7)), c)))
                for { let g := 0 } lt(g, 8) { g := add(g, 1) } {
                    mstore(add(at, shl(7, g)), sub(and(shr(shl(5, sub(7, g)), word), 0xffffffff), 0x100000))
                }
            }
        }
    }
}
