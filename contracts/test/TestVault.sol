// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IContributionLedger} from "../src/interfaces/IContributionLedger.sol";

/// @title  Stakes for the tests of challenges: the slash alone.
contract TestVault {
    mapping(address domain => mapping(address holder => uint256)) public stakeOf;
    mapping(address owner => uint256) public creditOf;
    uint256 public burnedWei;

    event Slashed(address indexed domain, address indexed holder, address indexed challenger, uint256 amount);

    function deposit(address domain, address holder) external payable {
        stakeOf[domain][holder] += msg.value;
    }

    function slash(address domain, address holder, address challenger) external returns (uint256 slashed) {
        require(msg.sender == IContributionLedger(domain).challenge(), "not the challenge");
        slashed = stakeOf[domain][holder];
        delete stakeOf[domain][holder];
        creditOf[challenger] += slashed / 2;
        burnedWei += slashed - slashed / 2;
        emit Slashed(domain, holder, challenger, slashed);
    }
}
