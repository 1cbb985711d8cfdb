// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IContributionLedger} from "../interfaces/IContributionLedger.sol";
import {Stage} from "./RoundState.sol";
import {RoundDigests} from "./RoundDigests.sol";

/// @notice Opens a round's accumulator down to one commitment.
/// @param  updateRoot        As committed.
/// @param  parentModel       Model root that the round started from.
/// @param  tokens            As committed.
/// @param  deadline          As committed.
/// @param  accumulatorBefore Accumulator just before this contribution (D0 for the first).
/// @param  laterDigests      Contribution digests that came after it, in order.
struct CommitmentOpening {
    bytes32 updateRoot;
    bytes32 parentModel;
    uint64 tokens;
    uint64 deadline;
    bytes32 accumulatorBefore;
    bytes32[] laterDigests;
}

/// @notice Opens a settled or final round's record down to one commitment and to all that was posted.
/// @param  commitment      The commitment.
/// @param  presence        Members that had committed at the seal.
/// @param  seed            Seed of the round.
/// @param  payload         The bytes posted to `settle`.
/// @param  approved        Bitmap of approved members.
/// @param  yardstickBefore Yardstick word before the round.
/// @param  yardstickAfter  Yardstick word after the round.
/// @param  lanesBefore     All lane words before the round.
/// @param  lanesAfterHash  keccak256 of the lane words after the round.
/// @param  isFinalized     Whether the next two count: the round was finalized.
/// @param  modelRoot       Model root after the merge.
/// @param  weightsDigest   Digest of the merge weights.
struct Opening {
    CommitmentOpening commitment;
    uint256 presence;
    bytes32 seed;
    bytes payload;
    uint256 approved;
    uint32 yardstickBefore;
    uint32 yardstickAfter;
    uint256[] lanesBefore;
    bytes32 lanesAfterHash;
    bool isFinalized;
    bytes32 modelRoot;
    bytes32 weightsDigest;
}

/// @title  Openings of a round's record.
/// @notice docs/spec/challenge.md, "Opening a round".
library RoundOpening {
    /// @notice Thrown when nobody has committed to the round.
    error RoundOpeningUnknownRound(address ledger, uint32 round);
    /// @notice Thrown when the opening does not lead to the round's record: another round, ledger, member, stage or byte.
    /// @param  computed Where it leads.
    /// @param  record   The record.
    error RoundOpeningMismatch(uint32 round, bytes32 computed, bytes32 record);
    /// @notice Thrown when the round is not settled yet.
    error RoundOpeningNotSettled(uint32 round);
    /// @notice Thrown when a request comes while the round still takes commitments.
    error RoundOpeningNotSealed(uint32 round, Stage stage);

    /// @notice Reverts unless the opening is that of the round's record.
    /// @param  ledger  Any ledger.
    /// @param  round   Settled or final round.
    /// @param  index   Cohort index of the opened commitment.
    function requireSettled(address ledger, uint32 round, uint256 index, Opening calldata opening) internal view {
        bytes32 accumulator = accumulatorOf(ledger, round, index, opening.commitment);
        bytes32 computed = RoundDigests.settled(
            accumulator,
            RoundDigests.Settlement(
                opening.presence,
                opening.seed,
                keccak256(opening.payload),
                opening.approved,
                opening.yardstickBefore,
                opening.yardstickAfter,
                RoundDigests.lanesHash(opening.lanesBefore),
                opening.lanesAfterHash
            )
        );
        if (opening.isFinalized) {
            computed = RoundDigests.finalized(computed, opening.modelRoot, opening.weightsDigest);
        }
        bytes32 record = IContributionLedger(ledger).recordOf(round);
        if (computed != record) {
            if (record == 0) revert RoundOpeningUnknownRound(ledger, round);
            if (record == accumulator) revert RoundOpeningNotSettled(round);
            revert RoundOpeningMismatch(round, computed, record);
        }
    }

    /// @notice Reverts unless the opening is that of the accumulator of a sealed round.
    function requireSealed(address ledger, uint32 round, uint256 index, CommitmentOpening calldata opening)
        internal
        view
    {
        bytes32 computed = accumulatorOf(ledger, round, index, opening);
        bytes32 record = IContributionLedger(ledger).recordOf(round);
        if (record == 0) revert RoundOpeningUnknownRound(ledger, round);
        if (computed != record) revert RoundOpeningMismatch(round, computed, record);
        // The record is the accumulator, so this round is the current one and open or sealed.
        Stage stage = IContributionLedger(ledger).state().stage;
        if (stage != Stage.Sealed) revert RoundOpeningNotSealed(round, stage);
    }

    /// @notice Gives the accumulator at which an opening arrives: D1, if it is that of a sealed round.
    function accumulatorOf(address ledger, uint32 round, uint256 index, CommitmentOpening calldata opening)
        internal
        view
        returns (bytes32 accumulator)
    {
        accumulator = RoundDigests.append(
            opening.accumulatorBefore,
            IContributionLedger(ledger)
                .contributionDigest(
                    round, index, opening.parentModel, opening.updateRoot, opening.tokens, opening.deadline
                )
        );
        for (uint256 i = 0; i < opening.laterDigests.length; ++i) {
            accumulator = RoundDigests.append(accumulator, opening.laterDigests[i]);
        }
    }
}
