// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Bits} from "../src/libraries/Bits.sol";
import {Cohort} from "../src/libraries/Cohort.sol";
import {CommitteeRules} from "../src/libraries/CommitteeRules.sol";
import {Gate} from "../src/libraries/Gate.sol";
import {Lanes} from "../src/libraries/Lanes.sol";
import {SegmentTree} from "../src/libraries/SegmentTree.sol";
import {Sketch} from "../src/libraries/Sketch.sol";
import {Twins} from "../src/libraries/Twins.sol";

/// @title  Makes the internal functions of the libraries callable from tests.
contract LibraryHarness {
    function countBits(uint256[] calldata words) external pure returns (uint256[] memory counts) {
        counts = new uint256[](words.length);
        for (uint256 i = 0; i < words.length; ++i) {
            counts[i] = Bits.count(words[i]);
        }
    }

    function copiesAmong(uint256[] memory words, uint256 bits) external pure returns (uint256) {
        return Twins.copiesAmong(words, bits);
    }

    function judge(
        Gate.Rules memory rules,
        uint256 round,
        uint256 presence,
        bytes calldata payload,
        uint256 yardstick,
        uint256[] memory lanes
    ) external pure returns (uint256 approved, uint256 yardstickAfter, uint256[] memory lanesAfter) {
        (approved, yardstickAfter) = Gate.judge(rules, round, presence, payload, yardstick, lanes);
        lanesAfter = lanes;
    }

    function examine(
        uint256 round,
        uint256 members,
        uint256 guards,
        uint256 presence,
        bytes calldata payload,
        uint256[] memory lanes
    ) external pure returns (uint256[] memory lanesAfter) {
        CommitteeRules.examine(round, members, guards, presence, payload, lanes);
        lanesAfter = lanes;
    }

    function unpackLane(uint256 word, uint256 index)
        external
        pure
        returns (int256 ema, int256 llr, uint256 accepted, uint256 refused, uint256 lastRoundMod, bool isJudged)
    {
        uint256 lane = Lanes.laneOf(word, index);
        return (
            Lanes.ema(lane),
            Lanes.llr(lane),
            Lanes.accepted(lane),
            Lanes.refused(lane),
            Lanes.lastRoundMod(lane),
            Lanes.isJudged(lane)
        );
    }

    function judgedLane(uint256 before, int256 ema, int256 llr, bool isAccepted, uint256 round)
        external
        pure
        returns (uint256)
    {
        return Lanes.judged(before, ema, llr, isAccepted, round);
    }

    function projectSegment(bytes32 seed, uint64 segmentIndex, bytes calldata segment)
        external
        view
        returns (int256[256] memory sums, uint64 norm2)
    {
        return Sketch.project(seed, segmentIndex, segment);
    }

    function code(int256[256] memory sums) external pure returns (uint256) {
        return Sketch.code(sums);
    }

    function leaf(bytes calldata segment) external view returns (bytes32) {
        return SegmentTree.leaf(segment);
    }

    function node(bytes32 left, bytes32 right) external view returns (bytes32) {
        return SegmentTree.node(left, right);
    }

    function updateRoot(bytes calldata header, bytes32 payloadRoot) external pure returns (bytes32) {
        return SegmentTree.updateRoot(header, payloadRoot);
    }

    function updateRootFromProof(
        bytes calldata header,
        bytes calldata segment,
        uint256 index,
        bytes32[] calldata siblings
    ) external view returns (bytes32) {
        return SegmentTree.updateRootFromProof(header, segment, index, siblings);
    }

    function memberAt(address cohort, uint256 index) external view returns (address identity, address signer) {
        return Cohort.memberAt(cohort, index);
    }
}
