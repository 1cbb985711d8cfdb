// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {GateParameters} from "../interfaces/IGateSpec.sol";

/// @title  Ranges and digest of a run's constants.
/// @notice docs/spec/gate.md, "Constants".
library GateConstants {
    bytes32 internal constant TAG = keccak256("hallmark.spec.v1");

    /// @notice Thrown when a constant is outside its range.
    /// @param  name Name of the field.
    error GateSpecOutOfRange(string name);

    /// @notice Gives the digest that is signed with every contribution.
    function digest(GateParameters memory p) internal pure returns (bytes32) {
        return keccak256(abi.encode(TAG, p));
    }

    /// @notice Reverts unless every constant is in its range.
    /// @dev    yardstickKeep < yardstickDivisor keeps the yardstick bounded (below 2^25), so that its word never overflows.
    function validate(GateParameters memory p) internal pure {
        if (p.version != 1) revert GateSpecOutOfRange("version");
        if (p.sketchVersion != 1) revert GateSpecOutOfRange("sketchVersion");
        if (p.yardstickDivisor == 0 || p.yardstickDivisor > 65536) revert GateSpecOutOfRange("yardstickDivisor");
        if (p.yardstickKeep >= p.yardstickDivisor) revert GateSpecOutOfRange("yardstickKeep");
        if (p.yardstickGain > 65536) revert GateSpecOutOfRange("yardstickGain");
        if (p.yardstickOffset > 256) revert GateSpecOutOfRange("yardstickOffset");
        if (p.evidenceDivisor == 0 || p.evidenceDivisor > 1 << 31) revert GateSpecOutOfRange("evidenceDivisor");
        if (p.evidenceMin > 0) revert GateSpecOutOfRange("evidenceMin");
        if (p.evidenceMax < 0) revert GateSpecOutOfRange("evidenceMax");
        if (p.evidenceFloor < -8192 || p.evidenceFloor > 0) revert GateSpecOutOfRange("evidenceFloor");
        if (p.faultEvidence < 0) revert GateSpecOutOfRange("faultEvidence");
        if (p.acceptBelow <= 0 || p.acceptBelow > p.banFrom) revert GateSpecOutOfRange("acceptBelow");
        if (p.banFrom > 8191) revert GateSpecOutOfRange("banFrom");
        if (p.aliveFactor == 0 || p.aliveFactor > 65536) revert GateSpecOutOfRange("aliveFactor");
        if (p.clipLowPercent > 100) revert GateSpecOutOfRange("clipLowPercent");
        if (p.clipHighPercent < 100 || p.clipHighPercent > 1000) revert GateSpecOutOfRange("clipHighPercent");
        if (p.duplicateBits > 256) revert GateSpecOutOfRange("duplicateBits");
        if (p.coalitionKeepQ8 > 256) revert GateSpecOutOfRange("coalitionKeepQ8");
        if (p.groupSpared > 256) revert GateSpecOutOfRange("groupSpared");
        if (p.voteOffset > 256) revert GateSpecOutOfRange("voteOffset");
        if (p.anchorShareBps > 10000) revert GateSpecOutOfRange("anchorShareBps");
    }
}
