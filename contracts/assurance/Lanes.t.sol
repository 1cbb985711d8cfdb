// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Lanes} from "../src/libraries/Lanes.sol";

/// @dev `check_` functions are proven for all inputs by halmos, `test` functions are run by forge.
contract LanesTest {
    /// @dev What was written is read back, and nothing else moves.
    function check_whatIsWrittenIsRead(uint256 before, int256 ema, int256 llr, bool isAccepted, uint32 round)
        public
        pure
    {
        if (before > Lanes.MASK) return;
        if (ema < -16384 || ema > 16383 || llr < -8192 || llr > 8191) return;
        uint256 lane = Lanes.judged(before, ema, llr, isAccepted, round);
        assert(lane <= Lanes.MASK);
        assert(Lanes.ema(lane) == ema);
        assert(Lanes.llr(lane) == llr);
        assert(Lanes.lastRoundMod(lane) == round & 2047);
        uint256 accepted = Lanes.accepted(before);
        uint256 refused = Lanes.refused(before);
        assert(Lanes.accepted(lane) == (isAccepted && accepted < 8191 ? accepted + 1 : accepted));
        assert(Lanes.refused(lane) == (!isAccepted && refused < 2047 ? refused + 1 : refused));
        assert(Lanes.isJudged(lane));
    }

    function testFuzz_whatIsWrittenIsRead(uint64 before, int16 ema, int16 llr, bool isAccepted, uint32 round)
        external
        pure
    {
        check_whatIsWrittenIsRead(before, ema >> 1, llr >> 2, isAccepted, round);
    }

    /// @dev A lane that was never judged is the only one that says so.
    function check_isJudgedMeansACounter(uint256 lane) external pure {
        if (lane > Lanes.MASK) return;
        assert(Lanes.isJudged(lane) == (Lanes.accepted(lane) != 0 || Lanes.refused(lane) != 0));
    }

    /// @dev Four lanes fill a word without overlap.
    function check_aWordIsItsFourLanes(uint256 word) external pure {
        uint256 joined;
        for (uint256 i = 0; i < 4; ++i) {
            joined |= Lanes.laneOf(word, i) << (64 * i);
        }
        assert(joined == word);
    }
}
