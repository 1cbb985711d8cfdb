// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {IStakeDomain, IStakeVault, Stake} from "./interfaces/IStakeVault.sol";

/// @title  Stakes by domain and holder.
/// @notice See {IStakeVault}.
contract StakeVault is IStakeVault, ReentrancyGuardTransient {
    /// @dev What a domain gets to hear of a change that it may not hinder. A ledger needs about a fifth of it.
    uint256 private constant NOTICE_GAS = 100_000;
    /// @dev With so much left before the call, 63/64 of it are at least `NOTICE_GAS`, and the rest of the call is paid for.
    uint256 private constant GAS_BEFORE_NOTICE = 130_000;

    uint256 public immutable override minStakeWei;
    uint40 public immutable override unbondingDelayS;

    mapping(address domain => mapping(address holder => Stake)) private _stakes;
    mapping(address owner => uint256) public override creditOf;
    uint256 public override totalStakedWei;
    uint256 public override totalCreditedWei;
    uint256 public override burnedWei;

    /// @param minStakeWei_     Stake below which domains should not let a holder act, wei.
    /// @param unbondingDelayS_ Seconds between the start of unbonding and the withdrawal.
    constructor(uint256 minStakeWei_, uint40 unbondingDelayS_) {
        minStakeWei = minStakeWei_;
        unbondingDelayS = unbondingDelayS_;
    }

    /// @inheritdoc IStakeVault
    function deposit(address domain, address holder) external payable override nonReentrant {
        if (domain == address(0)) revert StakeVaultZeroAddress("domain");
        if (holder == address(0)) revert StakeVaultZeroAddress("holder");
        if (msg.value == 0) revert StakeVaultZeroDeposit(domain, holder);
        Stake storage stake = _stakes[domain][holder];
        if (stake.withdrawableAt != 0) revert StakeVaultUnbonding(domain, holder, stake.withdrawableAt);
        // All ether there will ever be is far below 2^216 wei.
        uint256 bonded = stake.amount + msg.value;
        stake.amount = uint216(bonded);
        totalStakedWei += msg.value;
        emit StakeDeposited(domain, holder, msg.sender, msg.value, bonded);
        if (domain.code.length != 0) IStakeDomain(domain).stakeChanged(holder, bonded);
    }

    /// @inheritdoc IStakeVault
    function startUnbonding(address domain) external override nonReentrant {
        Stake storage stake = _stakes[domain][msg.sender];
        uint256 amount = stake.amount;
        if (amount == 0) revert StakeVaultNoStake(domain, msg.sender);
        if (stake.withdrawableAt != 0) revert StakeVaultUnbonding(domain, msg.sender, stake.withdrawableAt);
        uint40 withdrawableAt = uint40(block.timestamp) + unbondingDelayS;
        stake.withdrawableAt = withdrawableAt;
        emit UnbondingStarted(domain, msg.sender, amount, withdrawableAt);
        _tellUnbonded(domain, msg.sender);
    }

    /// @inheritdoc IStakeVault
    function cancelUnbonding(address domain) external override nonReentrant {
        Stake storage stake = _unbonding(domain);
        uint256 amount = stake.amount;
        stake.withdrawableAt = 0;
        emit UnbondingCancelled(domain, msg.sender, amount);
        if (domain.code.length != 0) IStakeDomain(domain).stakeChanged(msg.sender, amount);
    }

    /// @inheritdoc IStakeVault
    function withdraw(address domain) external override nonReentrant {
        Stake storage stake = _unbonding(domain);
        if (block.timestamp < stake.withdrawableAt) {
            revert StakeVaultStillBonded(domain, msg.sender, stake.withdrawableAt);
        }
        uint256 amount = stake.amount;
        delete _stakes[domain][msg.sender];
        totalStakedWei -= amount;
        _credit(msg.sender, amount);
        emit StakeWithdrawn(domain, msg.sender, amount);
        _tellUnbonded(domain, msg.sender);
    }

    /// @inheritdoc IStakeVault
    function slash(address domain, address holder, address challenger)
        external
        override
        nonReentrant
        returns (uint256 slashed)
    {
        address challenge = domain.code.length == 0 ? address(0) : IStakeDomain(domain).challenge();
        if (msg.sender != challenge) revert StakeVaultNotChallenge(domain, msg.sender, challenge);
        if (challenger == address(0)) revert StakeVaultZeroAddress("challenger");
        slashed = _stakes[domain][holder].amount;
        // No balance, so nobody can make it another number from outside.
        // slither-disable-next-line incorrect-equality
        if (slashed == 0) return 0;
        delete _stakes[domain][holder];
        uint256 credited = slashed / 2;
        totalStakedWei -= slashed;
        burnedWei += slashed - credited;
        _credit(challenger, credited);
        emit StakeSlashed(domain, holder, challenger, credited, slashed - credited);
        _tellUnbonded(domain, holder);
    }

    /// @inheritdoc IStakeVault
    function credit(address to) external payable override nonReentrant {
        if (to == address(0)) revert StakeVaultZeroAddress("to");
        _credit(to, msg.value);
        emit Credited(to, msg.sender, msg.value);
    }

    /// @inheritdoc IStakeVault
    function claim(address payable recipient) external override nonReentrant {
        uint256 amount = creditOf[msg.sender];
        if (amount == 0) revert StakeVaultNoCredit(msg.sender);
        creditOf[msg.sender] = 0;
        totalCreditedWei -= amount;
        emit CreditClaimed(msg.sender, recipient, amount);
        (bool taken,) = recipient.call{value: amount}("");
        if (!taken) revert StakeVaultPaymentRefused(recipient, amount);
    }

    /// @inheritdoc IStakeVault
    function stakeOf(address domain, address holder)
        external
        view
        override
        returns (uint256 amount, uint40 withdrawableAt)
    {
        Stake memory stake = _stakes[domain][holder];
        return (stake.amount, stake.withdrawableAt);
    }

    /// @dev Gives the caller's stake, which must be unbonding.
    function _unbonding(address domain) private view returns (Stake storage stake) {
        stake = _stakes[domain][msg.sender];
        if (stake.withdrawableAt == 0) revert StakeVaultNotUnbonding(domain, msg.sender);
    }

    function _credit(address to, uint256 amount) private {
        creditOf[to] += amount;
        totalCreditedWei += amount;
    }

    /// @dev Tells the domain that nothing of a stake is bonded any more. The domain cannot hinder that, neither by reverting
    ///      nor by burning gas; and nobody can keep it from hearing by sending too little gas.
    function _tellUnbonded(address domain, address holder) private {
        if (domain.code.length == 0) return;
        if (gasleft() < GAS_BEFORE_NOTICE) revert StakeVaultGasTooLow(gasleft(), GAS_BEFORE_NOTICE);
        try IStakeDomain(domain).stakeChanged{gas: NOTICE_GAS}(holder, 0) {} catch {}
    }
}
