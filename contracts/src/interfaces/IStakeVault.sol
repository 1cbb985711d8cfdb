// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @notice A contract for which stakes are deposited, for instance a run's ledger.
interface IStakeDomain {
    /// @notice Gives the only account that may slash stakes of this domain; zero if there is none.
    function challenge() external view returns (address);

    /// @notice Tells the domain that a stake has changed. Called by the vault alone.
    /// @param  holder Whose stake.
    /// @param  bonded Wei that are staked and not unbonding.
    function stakeChanged(address holder, uint256 bonded) external;
}

/// @notice One stake.
/// @param  amount         Wei.
/// @param  withdrawableAt Second from which it can be withdrawn; 0 unless unbonding.
struct Stake {
    uint216 amount;
    uint40 withdrawableAt;
}

/// @title  Stakes of any number of domains, slashes, and what is owed to whom.
/// @notice A stake belongs to a domain and a holder. Depositing for a domain is consent to it: whoever the domain names as its
///         `challenge` can take the whole stake. Nobody else can, and there is no owner. Money leaves only by `claim`, called
///         by the account that it is owed to.
/// @dev    The balance is at all times at least staked + credited + burned; equal but for ether forced upon the vault.
interface IStakeVault {
    /// @notice Emitted when a stake grew.
    /// @param  from   Who paid.
    /// @param  amount Wei added.
    /// @param  bonded The stake after it.
    event StakeDeposited(
        address indexed domain, address indexed holder, address indexed from, uint256 amount, uint256 bonded
    );
    /// @notice Emitted when a stake began to be withdrawn.
    event UnbondingStarted(address indexed domain, address indexed holder, uint256 amount, uint40 withdrawableAt);
    /// @notice Emitted when a holder changed its mind.
    event UnbondingCancelled(address indexed domain, address indexed holder, uint256 amount);
    /// @notice Emitted when a stake became its holder's credit.
    event StakeWithdrawn(address indexed domain, address indexed holder, uint256 amount);
    /// @notice Emitted when a stake was taken.
    /// @param  credited Wei credited to the challenger.
    /// @param  burned   Wei that stay in the vault for ever.
    event StakeSlashed(
        address indexed domain, address indexed holder, address indexed challenger, uint256 credited, uint256 burned
    );
    /// @notice Emitted when somebody credited somebody.
    event Credited(address indexed to, address indexed from, uint256 amount);
    /// @notice Emitted when a credit was paid out.
    event CreditClaimed(address indexed owner, address indexed recipient, uint256 amount);

    /// @notice Thrown when a deposit has no value.
    error StakeVaultZeroDeposit(address domain, address holder);
    /// @notice Thrown when a domain, holder or creditor is the zero address: what it got, nobody could ever claim.
    error StakeVaultZeroAddress(string name);
    /// @notice Thrown when there is no stake.
    error StakeVaultNoStake(address domain, address holder);
    /// @notice Thrown when a stake is unbonding that may not be.
    error StakeVaultUnbonding(address domain, address holder, uint40 withdrawableAt);
    /// @notice Thrown when a stake is not unbonding.
    error StakeVaultNotUnbonding(address domain, address holder);
    /// @notice Thrown when a stake is withdrawn before its time.
    error StakeVaultStillBonded(address domain, address holder, uint40 withdrawableAt);
    /// @notice Thrown when somebody slashes whom the domain has not named.
    /// @param  challenge Whom it has named; zero if nobody.
    error StakeVaultNotChallenge(address domain, address caller, address challenge);
    /// @notice Thrown when nothing is owed to the caller.
    error StakeVaultNoCredit(address owner);
    /// @notice Thrown when the recipient did not take the payment.
    error StakeVaultPaymentRefused(address recipient, uint256 amount);
    /// @notice Thrown when so little gas is left that the domain could miss what happened.
    error StakeVaultGasTooLow(uint256 left, uint256 needed);

    /// @notice Adds the sent ether to a stake. Anybody may pay for anybody.
    /// @dev    Refused while the stake is unbonding: no stranger can touch a withdrawal. A domain that reverts in
    ///         `stakeChanged` refuses the deposit.
    function deposit(address domain, address holder) external payable;

    /// @notice Starts the unbonding delay of the caller's stake. Until it is withdrawn, it can be slashed.
    function startUnbonding(address domain) external;

    /// @notice Bonds the caller's stake again. A domain that reverts in `stakeChanged` refuses it.
    function cancelUnbonding(address domain) external;

    /// @notice Turns the caller's stake into credit, once the delay is over.
    function withdraw(address domain) external;

    /// @notice Takes a whole stake, unbonding or not: half, rounded down, is credited to the challenger, the rest is burned.
    /// @dev    Only for the account that the domain names. Taking nothing is no error: a challenge that holds must not fail
    ///         because the stake is gone.
    /// @return slashed Wei taken.
    function slash(address domain, address holder, address challenger) external returns (uint256 slashed);

    /// @notice Credits the sent ether to somebody.
    function credit(address to) external payable;

    /// @notice Pays out all that is owed to the caller.
    /// @param  recipient Where it goes.
    function claim(address payable recipient) external;

    /// @notice Gives a stake.
    function stakeOf(address domain, address holder) external view returns (uint256 amount, uint40 withdrawableAt);

    /// @notice Gives what is owed to somebody, wei.
    function creditOf(address owner) external view returns (uint256);

    /// @notice Wei burned so far.
    function burnedWei() external view returns (uint256);

    /// @notice Wei staked now, unbonding or not.
    function totalStakedWei() external view returns (uint256);

    /// @notice Wei owed now.
    function totalCreditedWei() external view returns (uint256);

    /// @notice Stake in wei below which a domain should not let a holder act. The vault takes smaller ones.
    function minStakeWei() external view returns (uint256);

    /// @notice Seconds between `startUnbonding` and `withdraw`.
    function unbondingDelayS() external view returns (uint40);
}
