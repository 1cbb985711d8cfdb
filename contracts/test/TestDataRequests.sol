// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IDataRequests} from "../src/interfaces/IDataRequests.sol";

/// @title  Data requests that say what a test wants.
contract TestDataRequests is IDataRequests {
    uint40 public constant override answerWindowS = 600;

    mapping(address ledger => mapping(uint32 round => mapping(uint256 index => bool))) private _unanswered;

    function setUnanswered(address ledger, uint32 round, uint256 index, bool unanswered) external {
        _unanswered[ledger][round][index] = unanswered;
    }

    function isUnanswered(uint32 round, uint256 index) external view returns (bool) {
        return _unanswered[msg.sender][round][index];
    }
}
