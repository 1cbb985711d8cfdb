// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @notice State of an identity: None -> Active -> Exiting -> None.
enum MemberStatus {
    None,
    Active,
    Exiting
}

/// @notice What the registry knows about an identity.
/// @param  signer         Hot key's address; zero if the identity is not registered.
/// @param  status         State.
/// @param  withdrawableAt Seconds from which the bond can be withdrawn; 0 unless exiting.
/// @param  bond           Deposited wei.
struct Member {
    address signer;
    MemberStatus status;
    uint40 withdrawableAt;
    uint256 bond;
}

/// @title  Who may take part: bonds, keys and cohorts.
/// @notice A member is an *identity*, the cold owner key that holds the bond and never signs contributions, and a
///         *signer*, the hot key that does. Workers and guards are members alike; a run's operator decides who takes part by
///         sealing a cohort, which from then on nobody can change.
/// @dev    Bonds are held here and go back to their owner after the unbonding delay. No contract can take from them: this
///         version has no slashing. A contract that shall do so belongs behind `withdraw`.
interface IWorkerRegistry {
    /// @notice Emitted when an identity joined, anew or again.
    event MemberJoined(address indexed identity, address indexed signer, uint256 bond);
    /// @notice Emitted when a member changed its hot key. Sealed cohorts keep the old one.
    event SignerRotated(address indexed identity, address indexed oldSigner, address indexed newSigner);
    /// @notice Emitted when a member began to leave.
    event ExitStarted(address indexed identity, uint40 withdrawableAt);
    /// @notice Emitted when a bond was paid back.
    event BondWithdrawn(address indexed identity, address indexed recipient, uint256 bond);
    /// @notice Emitted when a cohort was written.
    /// @param  cohort  Address of its data contract.
    /// @param  workers Number of workers, which have the first indices.
    /// @param  guards  Number of guards, which have the indices after them.
    /// @param  members keccak256 of the members' entries (identity || signer, 40 bytes each).
    event CohortSealed(address indexed cohort, uint256 workers, uint256 guards, bytes32 members);

    /// @notice Thrown when a bond is too small.
    error WorkerRegistryBondTooSmall(uint256 bond, uint256 minimum);
    /// @notice Thrown when a signer's proof of possession is not valid.
    error WorkerRegistryWrongProof(address identity, address signer);
    /// @notice Thrown when a signer serves, or once served, another identity.
    error WorkerRegistrySignerTaken(address signer, address identity);
    /// @notice Thrown when the identity is not in the state that the call needs.
    error WorkerRegistryWrongStatus(address identity, MemberStatus status, MemberStatus needed);
    /// @notice Thrown when a bond is withdrawn before its time.
    error WorkerRegistryStillBonded(address identity, uint40 withdrawableAt);
    /// @notice Thrown when an identity appears twice in a cohort.
    error WorkerRegistryDuplicateMember(address identity);
    /// @notice Thrown when a cohort would have no worker, no guard, or more than 256 members.
    error WorkerRegistryWrongCohortSize(uint256 workers, uint256 guards);
    /// @notice Thrown when the data contract could not be created.
    error WorkerRegistryCohortNotWritten();
    /// @notice Thrown when the recipient did not take the bond.
    error WorkerRegistryPaymentRefused(address recipient, uint256 bond);

    /// @notice Registers the caller with a hot key and the sent bond.
    /// @dev    An identity that left and joins again starts over: it is in no cohort but those sealed from now on, and
    ///         every run begins with a reputation of its own.
    /// @param  signer    Hot key's address; a contract wallet may sign by ERC-1271.
    /// @param  signature The signer's EIP-712 signature of `Join(address identity,address signer)`.
    function join(address signer, bytes calldata signature) external payable;

    /// @notice Changes the caller's hot key for cohorts to come.
    /// @param  signer    New hot key's address.
    /// @param  signature As for `join`.
    function rotateSigner(address signer, bytes calldata signature) external;

    /// @notice Starts the unbonding delay. The caller is in no cohort sealed from now on.
    function startExit() external;

    /// @notice Pays the caller's bond back after the delay and forgets the caller's membership.
    /// @param  recipient Where the bond goes.
    function withdraw(address payable recipient) external;

    /// @notice Writes a cohort of active members. Anyone may; a run's operator picks the cohort for a ledger.
    /// @param  workers Identities of the workers, in the order of their indices; at least one.
    /// @param  guards  Identities of the guards, in the order of their numbers; at least one. A ledger takes an odd number up
    ///                 to 15; the cohort itself does not say who is a guard, the ledger does.
    /// @return cohort  Address of the data contract, docs/spec/ledger.md.
    function sealCohort(address[] calldata workers, address[] calldata guards) external returns (address cohort);

    /// @notice Tells whether an address is a cohort that this registry wrote.
    function isCohort(address cohort) external view returns (bool);

    /// @notice Gives a member.
    function memberOf(address identity) external view returns (Member memory member);

    /// @notice Gives the identity that a hot key serves or last served; zero if none.
    function identityOf(address signer) external view returns (address identity);

    /// @notice Tells whether an identity is active.
    function isActive(address identity) external view returns (bool);

    /// @notice Smallest bond in wei.
    function minBondWei() external view returns (uint256);

    /// @notice Seconds between `startExit` and `withdraw`.
    function unbondingDelayS() external view returns (uint40);
}
