// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {GateParameters} from "./interfaces/IGateSpec.sol";
import {IJudge} from "./interfaces/IJudge.sol";
import {CommitteeRules} from "./libraries/CommitteeRules.sol";
import {Gate} from "./libraries/Gate.sol";
import {Lanes} from "./libraries/Lanes.sol";

/// @title  What a round's posted words make of every member.
/// @notice See {IJudge}.
/// @dev    Created by a ledger's constructor, which has checked constants and cohort. No storage, no calls.
contract Judge is IJudge {
    // `Gate.Rules`, which as a struct cannot be immutable.
    uint256 private immutable _members;
    uint256 private immutable _guards;
    uint256 private immutable _yardstickKeep;
    uint256 private immutable _yardstickGain;
    uint256 private immutable _yardstickDivisor;
    uint256 private immutable _yardstickOffset;
    uint256 private immutable _evidenceDivisor;
    int256 private immutable _evidenceMin;
    int256 private immutable _evidenceMax;
    int256 private immutable _evidenceFloor;
    int256 private immutable _faultEvidence;
    int256 private immutable _acceptBelow;
    int256 private immutable _banFrom;
    int256 private immutable _scoreAbove;
    uint256 private immutable _aliveFactor;
    uint256 private immutable _duplicateBits;

    /// @param p       The run's constants, within the ranges of `GateConstants`.
    /// @param members Size of the cohort.
    /// @param guards  How many of its last members are guards.
    constructor(GateParameters memory p, uint256 members, uint256 guards) {
        Gate.Rules memory rules = Gate.rulesOf(p, members, guards);
        _members = rules.members;
        _guards = rules.guards;
        _yardstickKeep = rules.yardstickKeep;
        _yardstickGain = rules.yardstickGain;
        _yardstickDivisor = rules.yardstickDivisor;
        _yardstickOffset = rules.yardstickOffset;
        _evidenceDivisor = rules.evidenceDivisor;
        _evidenceMin = rules.evidenceMin;
        _evidenceMax = rules.evidenceMax;
        _evidenceFloor = rules.evidenceFloor;
        _faultEvidence = rules.faultEvidence;
        _acceptBelow = rules.acceptBelow;
        _banFrom = rules.banFrom;
        _scoreAbove = rules.scoreAbove;
        _aliveFactor = rules.aliveFactor;
        _duplicateBits = rules.duplicateBits;
    }

    /// @inheritdoc IJudge
    function judge(
        uint256 round,
        uint256 presence,
        bytes calldata payload,
        uint256 yardstick,
        bytes calldata lanes
    ) external view override returns (uint256 approved, uint256 yardstickAfter, bytes memory lanesAfter) {
        uint256[] memory words = Lanes.split(lanes);
        (approved, yardstickAfter) = Gate.judge(_rules(), round, presence, payload, yardstick, words);
        if (_guards != 1) CommitteeRules.examine(round, _members, _guards, presence, payload, words);
        lanesAfter = Lanes.join(words);
    }

    function _rules() private view returns (Gate.Rules memory) {
        return Gate.Rules({
            members: _members,
            guards: _guards,
            yardstickKeep: _yardstickKeep,
            yardstickGain: _yardstickGain,
            yardstickDivisor: _yardstickDivisor,
            yardstickOffset: _yardstickOffset,
            evidenceDivisor: _evidenceDivisor,
            evidenceMin: _evidenceMin,
            evidenceMax: _evidenceMax,
            evidenceFloor: _evidenceFloor,
            faultEvidence: _faultEvidence,
            acceptBelow: _acceptBelow,
            banFrom: _banFrom,
            scoreAbove: _scoreAbove,
            aliveFactor: _aliveFactor,
            duplicateBits: _duplicateBits
        });
    }
}
