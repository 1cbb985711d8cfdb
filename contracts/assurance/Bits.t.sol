// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Bits} from "../src/libraries/Bits.sol";

/// @dev `check_` functions are proven for all inputs by halmos, `test` functions are run by forge.
contract BitsTest {
    function check_countsInBytes(uint256 word) external pure {
        uint256 counts = Bits.countsInBytes(word);
        for (uint256 i = 0; i < 256; i += 8) {
            uint256 ones;
            for (uint256 j = 0; j < 8; ++j) {
                ones += (word >> (i + j)) & 1;
            }
            assert((counts >> i) & 0xff == ones);
        }
    }

    /// @dev The product is linear in the bytes, and no byte of it exceeds 248, so every byte value in every place and the
    ///      largest sum say all there is; random words are taken as well.
    function test_sumOfBytesInEveryPlace() external pure {
        for (uint256 i = 0; i < 256; i += 8) {
            for (uint256 value = 0; value <= 8; ++value) {
                assert(Bits.sumOfBytes(value << i) == value);
                uint256 others = 0x0808080808080808080808080808080808080808080808080808080808080808 & ~(uint256(0xff) << i);
                assert(Bits.sumOfBytes(others | (value << i)) == 248 + value);
            }
        }
    }

    function testFuzz_countIsTheSumOfTheBits(uint256 word) external pure {
        uint256 ones;
        for (uint256 i = 0; i < 256; ++i) {
            ones += (word >> i) & 1;
        }
        assert(Bits.count(word) == ones);
    }

    function test_noneAndAllAreNotConfused() external pure {
        assert(Bits.count(0) == 0);
        assert(Bits.count(type(uint256).max) == 256);
    }
}
