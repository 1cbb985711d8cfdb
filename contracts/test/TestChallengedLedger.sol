// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {IDataRequests} from "../src/interfaces/IDataRequests.sol";
import {LedgerState} from "../src/interfaces/IContributionLedger.sol";
import {Cohort} from "../src/libraries/Cohort.sol";
import {ContributionBatch} from "../src/libraries/ContributionBatch.sol";
import {Stage} from "../src/libraries/RoundState.sol";

/// @title  A ledger whose records are what a test wants, with real contribution digests.
/// @notice Takes what a challenge takes back as a ledger does, and may call somebody while it does.
contract TestChallengedLedger is EIP712 {
    struct Facts {
        uint64 run;
        uint64 length;
        address cohort;
        bytes32 specDigest;
        bytes32 shapeDigest;
        address dataRequests;
        address challenge;
        address vault;
        uint256 guards;
    }

    Facts public facts;
    Stage public stage;
    mapping(uint32 round => bytes32) public recordOf;
    mapping(uint32 round => uint256) public overturnedOf;
    mapping(uint256 word => uint256) public laneWord;
    uint256 public lastApproved;
    uint256 public yardstick;

    address private _calledBack;
    bytes private _callBack;
    bool public callBackDone;
    bytes public callBackResult;

    constructor(Facts memory facts_) EIP712("Hallmark", "1") {
        facts = facts_;
    }

    function setFacts(Facts calldata facts_) external {
        facts = facts_;
    }

    function setRound(uint32 round, bytes32 record, Stage stage_) external {
        recordOf[round] = record;
        stage = stage_;
    }

    function setLaneWord(uint256 word, uint256 value) external {
        laneWord[word] = value;
    }

    function setCallBack(address target, bytes calldata data) external {
        _calledBack = target;
        _callBack = data;
    }

    function overturn(uint32 round, uint256 index, uint256 approved, uint256 laneWordBefore) external {
        _take(round, index);
        uint256 shift = (index % 4) * 64;
        uint256 mask = uint256(type(uint64).max) << shift;
        laneWord[index / 4] = (laneWord[index / 4] & ~mask) | (laneWordBefore & mask);
        lastApproved = approved;
    }

    function overturnRound(uint32 round, uint256[] calldata lanesBefore, uint256 yardstickBefore) external {
        _take(round, Cohort.size(facts.cohort) - 1);
        for (uint256 i = 0; i < lanesBefore.length; ++i) {
            laneWord[i] = lanesBefore[i];
        }
        yardstick = yardstickBefore;
    }

    function contributionDigest(
        uint32 round,
        uint256 index,
        bytes32 parentModel,
        bytes32 updateRoot,
        uint64 tokens,
        uint64 deadline
    ) external view returns (bytes32) {
        (address worker,) = Cohort.memberAt(facts.cohort, index);
        return ContributionBatch.digest(
            ContributionBatch.Message(
                _domainSeparatorV4(), facts.run, round, facts.specDigest, parentModel, deadline
            ),
            worker,
            updateRoot,
            tokens
        );
    }

    /// @notice Asks the data-request contract, as a ledger does while it settles.
    function ungranted(uint32 round, uint256 unavailable) external view returns (uint256) {
        return IDataRequests(facts.dataRequests).ungranted(round, unavailable, 0);
    }

    function state() external view returns (LedgerState memory state_) {
        state_.stage = stage;
    }

    function run() external view returns (uint64) {
        return facts.run;
    }

    function length() external view returns (uint64) {
        return facts.length;
    }

    function cohort() external view returns (address) {
        return facts.cohort;
    }

    function shapeDigest() external view returns (bytes32) {
        return facts.shapeDigest;
    }

    function dataRequests() external view returns (address) {
        return facts.dataRequests;
    }

    function challenge() external view returns (address) {
        return facts.challenge;
    }

    function guards() external view returns (uint256) {
        return facts.guards;
    }

    function vault() external view returns (address) {
        return facts.vault;
    }

    function _take(uint32 round, uint256 index) private {
        require(msg.sender == facts.challenge, "not the challenge");
        require((overturnedOf[round] >> index) & 1 == 0, "overturned before");
        overturnedOf[round] |= 1 << index;
        if (_calledBack != address(0)) {
            (callBackDone, callBackResult) = _calledBack.call(_callBack);
        }
    }
}
