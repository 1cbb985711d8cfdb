// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @notice Stage of the current round; `IContributionLedger` lists the legal transitions.
enum Stage {
    Idle,
    Open,
    Sealed,
    Settled
}

/// @notice Everything about the current round that fits in one storage slot.
/// @dev    A value type with explicit accessors instead of a struct: each call of the ledger then costs exactly one SLOAD
///         and one SSTORE. From the lowest bit: round 32, stage 8, flags 8, commitDeadline 40, sealedAt 40, settledAt 40,
///         sealBlock 48, yardstick 32.
type RoundState is uint256;

using RoundStates for RoundState global;

/// @title  Accessors of `RoundState`.
/// @dev    The setters take values that fit; the ledger checks the one that comes from outside (commitDeadline).
library RoundStates {
    uint256 private constant STAGE_SHIFT = 32;
    uint256 private constant FLAGS_SHIFT = 40;
    uint256 private constant DEADLINE_SHIFT = 48;
    uint256 private constant SEALED_AT_SHIFT = 88;
    uint256 private constant SETTLED_AT_SHIFT = 128;
    uint256 private constant SEAL_BLOCK_SHIFT = 168;
    uint256 private constant YARDSTICK_SHIFT = 216;

    uint256 private constant TIME_MASK = (1 << 40) - 1;
    uint256 private constant BLOCK_MASK = (1 << 48) - 1;
    uint256 private constant WORD_MASK = (1 << 32) - 1;

    /// @dev At least one member has committed; before that the presence slot still holds the last round's bitmap.
    uint256 private constant HAS_COMMITS = 1 << FLAGS_SHIFT;
    /// @dev All members have committed; the presence slot is not read or written at all in such a round.
    uint256 private constant IS_FULL = 2 << FLAGS_SHIFT;
    uint256 private constant SEED_FIXED = 4 << FLAGS_SHIFT;
    uint256 private constant ANY_APPROVED = 8 << FLAGS_SHIFT;

    // The following belong to the run, not to the round.
    /// @dev The run has a vault, and some guard has too little in it.
    uint256 internal constant UNBONDED = 16 << FLAGS_SHIFT;
    /// @dev The guardian lets no round open.
    uint256 internal constant PAUSED = 32 << FLAGS_SHIFT;
    /// @dev The model contains what was overturned after its round was final.
    uint256 internal constant TAINTED = 64 << FLAGS_SHIFT;
    /// @dev The round was given up; not of the run, and so not carried over.
    uint256 internal constant VOID = 128 << FLAGS_SHIFT;
    uint256 private constant RUN_FLAGS = UNBONDED | PAUSED | TAINTED;

    uint256 internal constant MAX_TIME = TIME_MASK;

    function round(RoundState self) internal pure returns (uint32) {
        return uint32(RoundState.unwrap(self));
    }

    function stage(RoundState self) internal pure returns (Stage) {
        return Stage((RoundState.unwrap(self) >> STAGE_SHIFT) & 3);
    }

    function commitDeadline(RoundState self) internal pure returns (uint256) {
        return (RoundState.unwrap(self) >> DEADLINE_SHIFT) & TIME_MASK;
    }

    function sealedAt(RoundState self) internal pure returns (uint256) {
        return (RoundState.unwrap(self) >> SEALED_AT_SHIFT) & TIME_MASK;
    }

    function settledAt(RoundState self) internal pure returns (uint256) {
        return (RoundState.unwrap(self) >> SETTLED_AT_SHIFT) & TIME_MASK;
    }

    function sealBlock(RoundState self) internal pure returns (uint256) {
        return (RoundState.unwrap(self) >> SEAL_BLOCK_SHIFT) & BLOCK_MASK;
    }

    function yardstick(RoundState self) internal pure returns (uint256) {
        return (RoundState.unwrap(self) >> YARDSTICK_SHIFT) & WORD_MASK;
    }

    function hasCommits(RoundState self) internal pure returns (bool) {
        return RoundState.unwrap(self) & HAS_COMMITS != 0;
    }

    function isFull(RoundState self) internal pure returns (bool) {
        return RoundState.unwrap(self) & IS_FULL != 0;
    }

    function isSeedFixed(RoundState self) internal pure returns (bool) {
        return RoundState.unwrap(self) & SEED_FIXED != 0;
    }

    function anyApproved(RoundState self) internal pure returns (bool) {
        return RoundState.unwrap(self) & ANY_APPROVED != 0;
    }

    /// @notice Tells whether any of these flags is set.
    function hasAny(RoundState self, uint256 flags) internal pure returns (bool) {
        return RoundState.unwrap(self) & flags != 0;
    }

    /// @notice Sets or clears a flag.
    function withFlag(RoundState self, uint256 flag, bool isSet) internal pure returns (RoundState) {
        uint256 word = RoundState.unwrap(self) & ~flag;
        return RoundState.wrap(isSet ? word | flag : word);
    }

    /// @notice Starts the next round; only the yardstick and the run's flags are carried over.
    function opened(RoundState self, uint256 deadline) internal pure returns (RoundState) {
        unchecked {
            uint256 next = uint256(self.round()) + 1;
            return RoundState.wrap(
                next | (uint256(Stage.Open) << STAGE_SHIFT) | (deadline << DEADLINE_SHIFT)
                    | (RoundState.unwrap(self) & (RUN_FLAGS | (WORD_MASK << YARDSTICK_SHIFT)))
            );
        }
    }

    function withCommits(RoundState self) internal pure returns (RoundState) {
        return RoundState.wrap(RoundState.unwrap(self) | HAS_COMMITS);
    }

    function withFull(RoundState self) internal pure returns (RoundState) {
        return RoundState.wrap(RoundState.unwrap(self) | IS_FULL);
    }

    function withSeed(RoundState self) internal pure returns (RoundState) {
        return RoundState.wrap(RoundState.unwrap(self) | SEED_FIXED);
    }

    /// @notice Open to sealed, now.
    function sealedNow(RoundState self) internal view returns (RoundState) {
        return RoundState.wrap(
            RoundState.unwrap(self.withStage(Stage.Sealed)) | (block.timestamp << SEALED_AT_SHIFT)
                | (block.number << SEAL_BLOCK_SHIFT)
        );
    }

    /// @notice Sealed to settled, now.
    function settledNow(RoundState self, uint256 yardstick_, bool anyApproved_) internal view returns (RoundState) {
        uint256 word = RoundState.unwrap(self.withStage(Stage.Settled)) & ~(WORD_MASK << YARDSTICK_SHIFT);
        if (anyApproved_) word |= ANY_APPROVED;
        return RoundState.wrap(word | (block.timestamp << SETTLED_AT_SHIFT) | (yardstick_ << YARDSTICK_SHIFT));
    }

    /// @notice A settled round, now without one more of its contributions: the challenge window starts anew.
    function overturnedNow(RoundState self, bool anyApproved_) internal view returns (RoundState) {
        uint256 word = RoundState.unwrap(self) & ~(ANY_APPROVED | (TIME_MASK << SETTLED_AT_SHIFT));
        if (anyApproved_) word |= ANY_APPROVED;
        return RoundState.wrap(word | (block.timestamp << SETTLED_AT_SHIFT));
    }

    /// @notice A settled round without any of its verdicts.
    function withoutVerdicts(RoundState self, uint256 yardstickBefore) internal pure returns (RoundState) {
        uint256 word = RoundState.unwrap(self) & ~(ANY_APPROVED | (WORD_MASK << YARDSTICK_SHIFT));
        return RoundState.wrap(word | (yardstickBefore << YARDSTICK_SHIFT));
    }

    function withStage(RoundState self, Stage stage_) internal pure returns (RoundState) {
        return RoundState.wrap(
            (RoundState.unwrap(self) & ~(uint256(0xff) << STAGE_SHIFT)) | (uint256(stage_) << STAGE_SHIFT)
        );
    }
}
