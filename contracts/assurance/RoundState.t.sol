// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {RoundState, RoundStates, Stage} from "../src/libraries/RoundState.sol";

/// @dev Proven for all inputs by halmos: no field of the packed state reaches into another.
contract RoundStateTest {
    function check_openedKeepsOnlyRoundAndYardstick(uint256 word, uint256 deadline) external pure {
        if (deadline > RoundStates.MAX_TIME || uint32(word) == type(uint32).max) return;
        RoundState before = RoundState.wrap(word);
        RoundState opened = before.opened(deadline);
        assert(opened.round() == before.round() + 1);
        assert(opened.stage() == Stage.Open);
        assert(opened.commitDeadline() == deadline);
        assert(opened.yardstick() == before.yardstick());
        assert(opened.sealedAt() == 0 && opened.settledAt() == 0 && opened.sealBlock() == 0);
        assert(!opened.hasCommits() && !opened.isFull() && !opened.isSeedFixed() && !opened.anyApproved());
    }

    function check_flagsMoveNothingElse(uint256 word) external pure {
        RoundState state = RoundState.wrap(word).withStage(Stage.Open);
        RoundState marked = state.withCommits().withFull().withSeed();
        assert(marked.hasCommits() && marked.isFull() && marked.isSeedFixed());
        assert(marked.anyApproved() == state.anyApproved());
        _sameTimes(state, marked);
        assert(marked.round() == state.round() && marked.stage() == state.stage());
        assert(marked.yardstick() == state.yardstick() && marked.commitDeadline() == state.commitDeadline());
    }

    function check_stageMovesNothingElse(uint256 word, bool settled) external pure {
        RoundState state = RoundState.wrap(word);
        RoundState moved = state.withStage(settled ? Stage.Settled : Stage.Idle);
        assert(moved.stage() == (settled ? Stage.Settled : Stage.Idle));
        _sameTimes(state, moved);
        assert(moved.round() == state.round() && moved.yardstick() == state.yardstick());
        assert(moved.commitDeadline() == state.commitDeadline());
        assert(moved.hasCommits() == state.hasCommits() && moved.isFull() == state.isFull());
        assert(moved.isSeedFixed() == state.isSeedFixed() && moved.anyApproved() == state.anyApproved());
    }

    function _sameTimes(RoundState a, RoundState b) private pure {
        assert(a.sealedAt() == b.sealedAt() && a.settledAt() == b.settledAt() && a.sealBlock() == b.sealBlock());
    }
}
