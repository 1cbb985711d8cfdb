// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IDataRequests} from "../src/interfaces/IDataRequests.sol";

/// @title  Data requests that say what a test wants.
contract TestDataRequests is IDataRequests {
    uint40 public constant override answerWindowS = 600;

    mapping(address ledger => mapping(uint32 round => uint256)) private _unanswered;

    function setUnanswered(address ledger, uint32 round, uint256 members) external {
        _unanswered[ledger][round] = members;
    }

    function ungranted(uint32 round, uint256 unavailable, uint256) external view returns (uint256 members) {
        return unavailable & ~_unanswered[msg.sender][round];
    }
}
