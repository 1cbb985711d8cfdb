// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {GateParameters, IGateSpec} from "./interfaces/IGateSpec.sol";
import {CommitteeRules} from "./libraries/CommitteeRules.sol";
import {Gate} from "./libraries/Gate.sol";
import {GateConstants} from "./libraries/GateConstants.sol";
import {Sketch} from "./libraries/Sketch.sol";

/// @title  Immutable constants of a run and the pure functions that use them.
/// @notice See {IGateSpec}.
contract GateSpec is IGateSpec {
    bytes32 public immutable override specDigest;

    // A struct cannot be immutable.
    uint32 private immutable _version;
    uint32 private immutable _sketchVersion;
    uint32 private immutable _yardstickKeep;
    uint32 private immutable _yardstickGain;
    uint32 private immutable _yardstickDivisor;
    uint32 private immutable _yardstickOffset;
    uint32 private immutable _evidenceDivisor;
    int32 private immutable _evidenceMin;
    int32 private immutable _evidenceMax;
    int32 private immutable _evidenceFloor;
    int32 private immutable _faultEvidence;
    int32 private immutable _acceptBelow;
    int32 private immutable _banFrom;
    int32 private immutable _scoreAbove;
    uint32 private immutable _aliveFactor;
    uint32 private immutable _challengeWindowS;
    uint32 private immutable _settleWindowS;
    uint32 private immutable _clipLowPercent;
    uint32 private immutable _clipHighPercent;
    uint32 private immutable _duplicateBits;
    uint32 private immutable _coalitionKeepQ8;
    uint32 private immutable _coalitionThresholdQ16;
    uint32 private immutable _coalitionPenalty;
    uint32 private immutable _groupSpared;
    uint32 private immutable _groupPenalty;
    uint32 private immutable _voteOffset;
    uint32 private immutable _anchorShareBps;
    uint32 private immutable _outerLrMicro;
    uint32 private immutable _outerMomentumMicro;

    /// @param p The constants; refused with `GateSpecOutOfRange` where one is out of its range.
    constructor(GateParameters memory p) {
        GateConstants.validate(p);
        specDigest = GateConstants.digest(p);
        _version = p.version;
        _sketchVersion = p.sketchVersion;
        _yardstickKeep = p.yardstickKeep;
        _yardstickGain = p.yardstickGain;
        _yardstickDivisor = p.yardstickDivisor;
        _yardstickOffset = p.yardstickOffset;
        _evidenceDivisor = p.evidenceDivisor;
        _evidenceMin = p.evidenceMin;
        _evidenceMax = p.evidenceMax;
        _evidenceFloor = p.evidenceFloor;
        _faultEvidence = p.faultEvidence;
        _acceptBelow = p.acceptBelow;
        _banFrom = p.banFrom;
        _scoreAbove = p.scoreAbove;
        _aliveFactor = p.aliveFactor;
        _challengeWindowS = p.challengeWindowS;
        _settleWindowS = p.settleWindowS;
        _clipLowPercent = p.clipLowPercent;
        _clipHighPercent = p.clipHighPercent;
        _duplicateBits = p.duplicateBits;
        _coalitionKeepQ8 = p.coalitionKeepQ8;
        _coalitionThresholdQ16 = p.coalitionThresholdQ16;
        _coalitionPenalty = p.coalitionPenalty;
        _groupSpared = p.groupSpared;
        _groupPenalty = p.groupPenalty;
        _voteOffset = p.voteOffset;
        _anchorShareBps = p.anchorShareBps;
        _outerLrMicro = p.outerLrMicro;
        _outerMomentumMicro = p.outerMomentumMicro;
    }

    /// @inheritdoc IGateSpec
    function parameters() public view override returns (GateParameters memory p) {
        p.version = _version;
        p.sketchVersion = _sketchVersion;
        p.yardstickKeep = _yardstickKeep;
        p.yardstickGain = _yardstickGain;
        p.yardstickDivisor = _yardstickDivisor;
        p.yardstickOffset = _yardstickOffset;
        p.evidenceDivisor = _evidenceDivisor;
        p.evidenceMin = _evidenceMin;
        p.evidenceMax = _evidenceMax;
        p.evidenceFloor = _evidenceFloor;
        p.faultEvidence = _faultEvidence;
        p.acceptBelow = _acceptBelow;
        p.banFrom = _banFrom;
        p.scoreAbove = _scoreAbove;
        p.aliveFactor = _aliveFactor;
        p.challengeWindowS = _challengeWindowS;
        p.settleWindowS = _settleWindowS;
        p.clipLowPercent = _clipLowPercent;
        p.clipHighPercent = _clipHighPercent;
        p.duplicateBits = _duplicateBits;
        p.coalitionKeepQ8 = _coalitionKeepQ8;
        p.coalitionThresholdQ16 = _coalitionThresholdQ16;
        p.coalitionPenalty = _coalitionPenalty;
        p.groupSpared = _groupSpared;
        p.groupPenalty = _groupPenalty;
        p.voteOffset = _voteOffset;
        p.anchorShareBps = _anchorShareBps;
        p.outerLrMicro = _outerLrMicro;
        p.outerMomentumMicro = _outerMomentumMicro;
    }

    /// @inheritdoc IGateSpec
    function judge(
        uint32 round,
        uint256 members,
        uint256 guards,
        uint256 presence,
        bytes calldata payload,
        uint32 yardstick,
        uint256[] calldata lanes
    ) external view override returns (uint256 approved, uint32 yardstickAfter, uint256[] memory lanesAfter) {
        lanesAfter = lanes;
        uint256 after_;
        (approved, after_) = Gate.judge(
            Gate.rulesOf(parameters(), members, guards), round, presence, payload, yardstick, lanesAfter
        );
        yardstickAfter = uint32(after_);
        if (guards != 1) CommitteeRules.examine(round, members, guards, presence, payload, lanesAfter);
    }

    /// @inheritdoc IGateSpec
    function projectSegment(bytes32 seed, uint64 segmentIndex, bytes calldata segment)
        external
        view
        override
        returns (int256[256] memory sums, uint64 norm2)
    {
        return Sketch.project(seed, segmentIndex, segment);
    }

    /// @inheritdoc IGateSpec
    function code(int256[256] calldata sums) external pure override returns (uint256 code_) {
        return Sketch.code(sums);
    }
}
