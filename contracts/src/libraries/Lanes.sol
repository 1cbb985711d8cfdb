// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title  Reputation lanes: 64 bits per member, four to a word.
/// @dev    The layout is docs/spec/gate.md, "Lane". A member with index i has lane i mod 4 (lane 0 = lowest 64 bits) of
///         word i div 4. These functions take a single lane in the low 64 bits of a word.
library Lanes {
    uint256 internal constant PER_WORD = 4;
    uint256 internal constant MASK = 0xffffffffffffffff;

    uint256 internal constant LLR_SHIFT = 15;
    uint256 internal constant ACCEPTED_SHIFT = 29;
    uint256 internal constant REFUSED_SHIFT = 42;
    uint256 internal constant LAST_ROUND_SHIFT = 53;

    uint256 internal constant EMA_MASK = 0x7fff;
    uint256 internal constant LLR_MASK = 0x3fff;
    uint256 internal constant ACCEPTED_MASK = 0x1fff;
    uint256 internal constant REFUSED_MASK = 0x7ff;
    uint256 internal constant LAST_ROUND_MASK = 0x7ff;

    int256 internal constant LLR_MAX = 8191;

    /// @notice Number of lane words of a cohort.
    function wordsFor(uint256 members) internal pure returns (uint256) {
        unchecked {
            return (members + PER_WORD - 1) / PER_WORD;
        }
    }

    /// @notice Gives the words of joined ones; a rest of less than 32 bytes is left out.
    function split(bytes calldata joined) internal pure returns (uint256[] memory words) {
        words = new uint256[](joined.length / 32);
        assembly ("memory-safe") {
            calldatacopy(add(words, 0x20), joined.offset, shl(5, mload(words)))
        }
    }

    /// @notice Gives words joined, 32 bytes each, in the memory of the words, which are an array no longer.
    function join(uint256[] memory words) internal pure returns (bytes memory joined) {
        assembly ("memory-safe") {
            joined := words
            mstore(joined, shl(5, mload(words)))
        }
    }

    /// @notice Cuts one member's lane out of its word.
    /// @param  word  Lane word `index / 4`.
    /// @param  index Cohort index.
    function laneOf(uint256 word, uint256 index) internal pure returns (uint256) {
        unchecked {
            return (word >> ((index % PER_WORD) * 64)) & MASK;
        }
    }

    /// @notice Moving average of the scores, in 1/64.
    function ema(uint256 lane) internal pure returns (int256 ema_) {
        assembly ("memory-safe") {
            ema_ := sar(241, shl(241, lane))
        }
    }

    /// @notice Evidence against the member, in 1/1024 nat.
    function llr(uint256 lane) internal pure returns (int256 llr_) {
        assembly ("memory-safe") {
            llr_ := sar(242, shl(227, lane))
        }
    }

    /// @notice Accepted contributions; stops at 8191.
    function accepted(uint256 lane) internal pure returns (uint256) {
        return (lane >> ACCEPTED_SHIFT) & ACCEPTED_MASK;
    }

    /// @notice Refused contributions; stops at 2047.
    function refused(uint256 lane) internal pure returns (uint256) {
        return (lane >> REFUSED_SHIFT) & REFUSED_MASK;
    }

    /// @notice Last judged round mod 2048; means nothing before the first judgement.
    function lastRoundMod(uint256 lane) internal pure returns (uint256) {
        return (lane >> LAST_ROUND_SHIFT) & LAST_ROUND_MASK;
    }

    /// @notice Whether the member was ever judged. The counters stop at their top and never wrap, so this is exact.
    function isJudged(uint256 lane) internal pure returns (bool) {
        return (lane >> ACCEPTED_SHIFT) & ((REFUSED_MASK << 13) | ACCEPTED_MASK) != 0;
    }

    /// @notice Writes a judged member's lane.
    /// @param  before     Lane as the last round left it; its counters are carried on.
    /// @param  ema_       New average, in [-16384, 16383].
    /// @param  llr_       New evidence, in [-8192, 8191].
    /// @param  isAccepted Which of the two counters goes up.
    /// @param  round      Round of the judgement.
    /// @return lane       The new lane.
    function judged(uint256 before, int256 ema_, int256 llr_, bool isAccepted, uint256 round)
        internal
        pure
        returns (uint256 lane)
    {
        unchecked {
            lane = before & ((REFUSED_MASK << REFUSED_SHIFT) | (ACCEPTED_MASK << ACCEPTED_SHIFT));
            if (isAccepted) {
                if (accepted(before) != ACCEPTED_MASK) lane += 1 << ACCEPTED_SHIFT;
            } else {
                if (refused(before) != REFUSED_MASK) lane += 1 << REFUSED_SHIFT;
            }
            lane |= (uint256(ema_) & EMA_MASK) | ((uint256(llr_) & LLR_MASK) << LLR_SHIFT)
                | ((round & LAST_ROUND_MASK) << LAST_ROUND_SHIFT);
        }
    }
}
