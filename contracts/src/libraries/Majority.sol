// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title  Majority of up to 15 words, in all 256 bits at once.
/// @notice docs/spec/gate.md, "Several guards". For each bit there is a counter of four bits; the counters of all bits are four
///         words, the planes. They start at 8 - ceil(n / 2) and never pass 15, so that the top plane says at the end
///         where at least half of the n words have a one.
library Majority {
    uint256 internal constant MAX_WORDS = 15;

    /// @notice Gives the word whose bit j is 1 iff 2 * (number of words with bit j set) >= number of words: a tie is 1.
    /// @param  words Any words, of which the first `count` are taken.
    /// @param  count 1..15.
    function ofWords(uint256[] memory words, uint256 count) internal pure returns (uint256 top) {
        unchecked {
            uint256[4] memory planes = preset(count);
            for (uint256 i = 0; i < count; ++i) {
                add(planes, words[i]);
            }
            return planes[3];
        }
    }

    /// @notice Gives the planes with 8 - ceil(count / 2) in all counters.
    function preset(uint256 count) internal pure returns (uint256[4] memory planes) {
        unchecked {
            uint256 start = 8 - (count + 1) / 2;
            for (uint256 k = 0; k < 4; ++k) {
                planes[k] = 0 - ((start >> k) & 1);
            }
        }
    }

    /// @notice Adds one to the counter of each bit that is set in a word, mod 16.
    function add(uint256[4] memory planes, uint256 word) internal pure {
        for (uint256 k = 0; k < 4; ++k) {
            uint256 plane = planes[k];
            planes[k] = plane ^ word;
            word &= plane;
        }
    }
}
