// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @notice The constants of a run; meaning, ranges and defaults in docs/spec/gate.md.
/// @dev    Order and types are part of the spec digest.
struct GateParameters {
    uint32 version;
    uint32 sketchVersion;
    uint32 yardstickKeep;
    uint32 yardstickGain;
    uint32 yardstickDivisor;
    uint32 yardstickOffset;
    uint32 evidenceDivisor;
    int32 evidenceMin;
    int32 evidenceMax;
    int32 evidenceFloor;
    int32 faultEvidence;
    int32 acceptBelow;
    int32 banFrom;
    int32 scoreAbove;
    uint32 aliveFactor;
    uint32 challengeWindowS;
    uint32 settleWindowS;
    uint32 clipLowPercent;
    uint32 clipHighPercent;
    uint32 duplicateBits;
    uint32 coalitionKeepQ8;
    uint32 coalitionThresholdQ16;
    uint32 coalitionPenalty;
    uint32 groupSpared;
    uint32 groupPenalty;
    uint32 voteOffset;
    uint32 anchorShareBps;
    uint32 outerLrMicro;
    uint32 outerMomentumMicro;
}

/// @title  The rules of a run: constants and the pure functions that use them.
/// @notice Everything here is a function of its arguments and of constants fixed at deployment. Anyone can ask it to
///         judge a round again, or to project a segment of an update again, and compare.
interface IGateSpec {
    /// @notice Gives the constants.
    function parameters() external view returns (GateParameters memory parameters_);

    /// @notice Gives keccak(abi.encode(keccak("hallmark.spec.v1"), constants)).
    function specDigest() external view returns (bytes32 digest);

    /// @notice Judges one round: docs/spec/gate.md, "One round".
    /// @dev    Reverts with an error of `Gate` if the payload is not well formed or its median is not the median, and of
    ///         `CommitteeRules` if its header is not what several guards read together.
    /// @param  round          Round number; it goes to the lanes mod 2048.
    /// @param  members        Size of the cohort, guards included; 2..256.
    /// @param  guards         How many of its last members are guards; odd, 1..15.
    /// @param  presence       Bit i is set iff member i has committed.
    /// @param  payload        The bytes of `settle`, docs/spec/ledger.md.
    /// @param  yardstick      Yardstick word before the round: 0 = none yet, else m + 1.
    /// @param  lanes          All ceil(members / 4) lane words before the round.
    /// @return approved       Bit i is set iff member i's update is approved.
    /// @return yardstickAfter Yardstick word after the round.
    /// @return lanesAfter     Lane words after the round.
    function judge(
        uint32 round,
        uint256 members,
        uint256 guards,
        uint256 presence,
        bytes calldata payload,
        uint32 yardstick,
        uint256[] calldata lanes
    ) external view returns (uint256 approved, uint32 yardstickAfter, uint256[] memory lanesAfter);

    /// @notice Projects one segment of an update: docs/spec/sketch.md.
    /// @dev    Reverts if the segment holds -128, which no update may.
    /// @param  seed         Seed of the round.
    /// @param  segmentIndex Position of the segment in the update; its rows are 8 * segmentIndex and the next seven.
    /// @param  segment      8,192 int8 values.
    /// @return sums         What the segment adds to the 256 sums.
    /// @return norm2        Sum of the squares of its values.
    function projectSegment(bytes32 seed, uint64 segmentIndex, bytes calldata segment)
        external
        view
        returns (int256[256] memory sums, uint64 norm2);

    /// @notice Gives the code of 256 sums: bit j is 1 iff sum j >= 0.
    function code(int256[256] calldata sums) external pure returns (uint256 code_);
}
