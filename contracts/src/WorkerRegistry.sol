// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SlotDerivation} from "@openzeppelin/contracts/utils/SlotDerivation.sol";
import {TransientSlot} from "@openzeppelin/contracts/utils/TransientSlot.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {IWorkerRegistry, Member, MemberStatus} from "./interfaces/IWorkerRegistry.sol";
import {Cohort} from "./libraries/Cohort.sol";

/// @title  Bonds, keys and cohorts of workers and guards.
/// @notice See {IWorkerRegistry}.
contract WorkerRegistry is IWorkerRegistry, EIP712, ReentrancyGuardTransient {
    using SlotDerivation for bytes32;
    using TransientSlot for bytes32;
    using TransientSlot for TransientSlot.BooleanSlot;

    bytes32 public constant JOIN_TYPE_HASH = keccak256("Join(address identity,address signer)");

    /// @dev Transient marks of the members of the cohort that is being sealed.
    bytes32 private constant SEEN = keccak256("hallmark.registry.seen");

    uint256 public immutable override minBondWei;
    uint40 public immutable override unbondingDelayS;

    mapping(address identity => Member) private _members;
    /// @dev Never cleared: a key that once signed for an identity stays that identity's.
    mapping(address signer => address identity) private _identities;
    mapping(address cohort => bool) public override isCohort;

    /// @param minBondWei_      Smallest bond, wei.
    /// @param unbondingDelayS_ Seconds between the start of an exit and the withdrawal.
    constructor(uint256 minBondWei_, uint40 unbondingDelayS_) EIP712("Hallmark WorkerRegistry", "1") {
        minBondWei = minBondWei_;
        unbondingDelayS = unbondingDelayS_;
    }

    /// @inheritdoc IWorkerRegistry
    function join(address signer, bytes calldata signature) external payable override {
        _requireStatus(msg.sender, MemberStatus.None);
        if (msg.value < minBondWei) revert WorkerRegistryBondTooSmall(msg.value, minBondWei);
        _bind(signer, signature);
        _members[msg.sender] = Member(signer, MemberStatus.Active, 0, msg.value);
        emit MemberJoined(msg.sender, signer, msg.value);
    }

    /// @inheritdoc IWorkerRegistry
    function rotateSigner(address signer, bytes calldata signature) external override {
        _requireStatus(msg.sender, MemberStatus.Active);
        _bind(signer, signature);
        Member storage member = _members[msg.sender];
        emit SignerRotated(msg.sender, member.signer, signer);
        member.signer = signer;
    }

    /// @inheritdoc IWorkerRegistry
    function startExit() external override {
        _requireStatus(msg.sender, MemberStatus.Active);
        uint40 withdrawableAt = uint40(block.timestamp) + unbondingDelayS;
        _members[msg.sender].status = MemberStatus.Exiting;
        _members[msg.sender].withdrawableAt = withdrawableAt;
        emit ExitStarted(msg.sender, withdrawableAt);
    }

    /// @inheritdoc IWorkerRegistry
    function withdraw(address payable recipient) external override nonReentrant {
        _requireStatus(msg.sender, MemberStatus.Exiting);
        Member memory member = _members[msg.sender];
        if (block.timestamp < member.withdrawableAt) {
            revert WorkerRegistryStillBonded(msg.sender, member.withdrawableAt);
        }
        delete _members[msg.sender];
        emit BondWithdrawn(msg.sender, recipient, member.bond);
        (bool taken,) = recipient.call{value: member.bond}("");
        if (!taken) revert WorkerRegistryPaymentRefused(recipient, member.bond);
    }

    /// @inheritdoc IWorkerRegistry
    function sealCohort(address[] calldata workers, address[] calldata guards)
        external
        override
        returns (address cohort)
    {
        uint256 members = workers.length + guards.length;
        if (workers.length == 0 || guards.length == 0 || members > Cohort.MAX_MEMBERS) {
            revert WorkerRegistryWrongCohortSize(workers.length, guards.length);
        }
        bytes memory entries = new bytes(members * Cohort.ENTRY_BYTES);
        for (uint256 i = 0; i < members; ++i) {
            _addEntry(entries, i, i < workers.length ? workers[i] : guards[i - workers.length]);
        }
        // The marks must not outlive this call: another one may come in the same transaction.
        _forget(workers);
        _forget(guards);

        cohort = Cohort.write(entries);
        if (cohort == address(0)) revert WorkerRegistryCohortNotWritten();
        isCohort[cohort] = true;
        emit CohortSealed(cohort, workers.length, guards.length, keccak256(entries));
    }

    /// @inheritdoc IWorkerRegistry
    function memberOf(address identity) external view override returns (Member memory) {
        return _members[identity];
    }

    /// @inheritdoc IWorkerRegistry
    function identityOf(address signer) external view override returns (address) {
        return _identities[signer];
    }

    /// @inheritdoc IWorkerRegistry
    function isActive(address identity) external view override returns (bool) {
        return _members[identity].status == MemberStatus.Active;
    }

    /// @dev Binds a hot key to the caller for good.
    function _bind(address signer, bytes calldata signature) private {
        address taken = _identities[signer];
        if (taken != address(0) && taken != msg.sender) revert WorkerRegistrySignerTaken(signer, taken);
        bytes32 digest = _hashTypedDataV4(keccak256(abi.encode(JOIN_TYPE_HASH, msg.sender, signer)));
        // The zero address is refused here too: no signature recovers to it.
        if (!SignatureChecker.isValidSignatureNowCalldata(signer, digest, signature)) {
            revert WorkerRegistryWrongProof(msg.sender, signer);
        }
        _identities[signer] = msg.sender;
    }

    function _addEntry(bytes memory entries, uint256 index, address identity) private {
        _requireStatus(identity, MemberStatus.Active);
        TransientSlot.BooleanSlot seen = SEEN.deriveMapping(identity).asBoolean();
        if (seen.tload()) revert WorkerRegistryDuplicateMember(identity);
        seen.tstore(true);
        address signer = _members[identity].signer;
        assembly ("memory-safe") {
            // Two overlapping words write exactly the entry's 40 bytes: 0..32 and 8..40.
            let at := add(add(entries, 32), mul(index, 40))
            mstore(at, shl(96, identity))
            mstore(add(at, 8), or(shl(160, identity), signer))
        }
    }

    function _forget(address[] calldata identities) private {
        for (uint256 i = 0; i < identities.length; ++i) {
            SEEN.deriveMapping(identities[i]).asBoolean().tstore(false);
        }
    }

    function _requireStatus(address identity, MemberStatus needed) private view {
        MemberStatus status = _members[identity].status;
        if (status != needed) revert WorkerRegistryWrongStatus(identity, status, needed);
    }
}
