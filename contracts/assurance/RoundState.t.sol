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

    function check_runFlagsOutliveTheRoundAndVoidDoesNot(uint256 word, uint256 deadline) external pure {
        if (deadline > RoundStates.MAX_TIME || uint32(word) == type(uint32).max) return;
        RoundState before = RoundState.wrap(word);
        RoundState opened = before.opened(deadline);
        assert(opened.hasAny(RoundStates.UNBONDED) == before.hasAny(RoundStates.UNBONDED));
        assert(opened.hasAny(RoundStates.PAUSED) == before.hasAny(RoundStates.PAUSED));
        assert(opened.hasAny(RoundStates.TAINTED) == before.hasAny(RoundStates.TAINTED));
        assert(!opened.hasAny(RoundStates.VOID));
    }

    function check_aFlagMovesNothingElse(uint256 word, uint8 which, bool isSet) external pure {
        if (which > 3) return;
        uint256 flag = RoundStates.UNBONDED << which;
        RoundState state = RoundState.wrap(word);
        RoundState marked = state.withFlag(flag, isSet);
        assert(marked.hasAny(flag) == isSet);
        assert(RoundState.unwrap(marked) | flag == word | flag);
        // No accessor of the round reads a flag of the run.
        _sameTimes(state, marked);
        assert(marked.round() == state.round() && marked.stage() == state.stage());
        assert(marked.yardstick() == state.yardstick() && marked.commitDeadline() == state.commitDeadline());
        assert(marked.hasCommits() == state.hasCommits() && marked.isFull() == state.isFull());
        assert(marked.isSeedFixed() == state.isSeedFixed() && marked.anyApproved() == state.anyApproved());
    }

    function check_theFourFlagsAreFour() external pure {
        assert(RoundStates.PAUSED == RoundStates.UNBONDED << 1);
        assert(RoundStates.TAINTED == RoundStates.UNBONDED << 2);
        assert(RoundStates.VOID == RoundStates.UNBONDED << 3);
    }

    function check_overturnedMovesTheWindowAndTheApproval(uint256 word, bool anyApproved) external view {
        if (block.timestamp > RoundStates.MAX_TIME) return;
        RoundState state = RoundState.wrap(word).withStage(Stage.Settled);
        RoundState overturned = state.overturnedNow(anyApproved);
        assert(overturned.settledAt() == block.timestamp && overturned.anyApproved() == anyApproved);
        assert(overturned.round() == state.round() && overturned.stage() == Stage.Settled);
        assert(overturned.sealedAt() == state.sealedAt() && overturned.sealBlock() == state.sealBlock());
        assert(overturned.yardstick() == state.yardstick());
        assert(overturned.commitDeadline() == state.commitDeadline());
        _sameRunFlags(state, overturned);
    }

    function check_withoutVerdictsTheYardstickIsThatBefore(uint256 word, uint32 yardstick) external pure {
        RoundState state = RoundState.wrap(word).withStage(Stage.Settled);
        RoundState moved = state.withoutVerdicts(yardstick);
        assert(moved.yardstick() == yardstick && !moved.anyApproved());
        assert(moved.round() == state.round() && moved.stage() == Stage.Settled);
        _sameTimes(state, moved);
        _sameRunFlags(state, moved);
    }

    function _sameRunFlags(RoundState a, RoundState b) private pure {
        assert(a.hasAny(RoundStates.UNBONDED) == b.hasAny(RoundStates.UNBONDED));
        assert(a.hasAny(RoundStates.PAUSED) == b.hasAny(RoundStates.PAUSED));
        assert(a.hasAny(RoundStates.TAINTED) == b.hasAny(RoundStates.TAINTED));
        assert(a.hasAny(RoundStates.VOID) == b.hasAny(RoundStates.VOID));
    }

    function _sameTimes(RoundState a, RoundState b) private pure {
        assert(a.sealedAt() == b.sealedAt() && a.settledAt() == b.settledAt() && a.sealBlock() == b.sealBlock());
    }
}
