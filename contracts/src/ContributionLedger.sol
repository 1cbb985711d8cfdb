// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {ERC165, IERC165} from "@openzeppelin/contracts/utils/introspection/ERC165.sol";

import {Judge} from "./Judge.sol";
import {Reputation} from "./Reputation.sol";
import {ApprovalProof, IContributionLedger, LedgerState, RunArguments} from "./interfaces/IContributionLedger.sol";
import {IDataRequests} from "./interfaces/IDataRequests.sol";
import {GateParameters, IGateSpec} from "./interfaces/IGateSpec.sol";
import {IJudge} from "./interfaces/IJudge.sol";
import {IStakeVault} from "./interfaces/IStakeVault.sol";
import {IWorkerRegistry} from "./interfaces/IWorkerRegistry.sol";
import {Bits} from "./libraries/Bits.sol";
import {Cohort} from "./libraries/Cohort.sol";
import {CommitteeRules} from "./libraries/CommitteeRules.sol";
import {ContributionBatch} from "./libraries/ContributionBatch.sol";
import {Gate} from "./libraries/Gate.sol";
import {GateConstants} from "./libraries/GateConstants.sol";
import {Lanes} from "./libraries/Lanes.sol";
import {RoundDigests} from "./libraries/RoundDigests.sol";
import {RoundState, RoundStates, Stage} from "./libraries/RoundState.sol";
import {SegmentTree} from "./libraries/SegmentTree.sol";

/// @title  The audit ledger of one run.
/// @notice See {IContributionLedger}.
/// @dev    Gas decides the layout. Everything constant is immutable; everything about the current round but bitmap and
///         record is one slot; a round leaves exactly one new slot behind, its record; a cohort that commits completely
///         never touches the presence slot.
contract ContributionLedger is IContributionLedger, EIP712, ERC165 {
    uint8 private constant NO_ANCHOR = 1;
    uint8 private constant SEED_MISSED = 2;
    uint8 private constant SETTLE_OVERDUE = 3;
    uint8 private constant FALSE_ANCHOR = 4;

    /// @dev BLOCKHASH reaches this many blocks back.
    uint256 private constant BLOCKHASH_REACH = 256;

    address public immutable override registry;
    address public immutable override cohort;
    address public immutable override spec;
    address public immutable override reputation;
    address public immutable override dataRequests;
    address public immutable override challenge;
    address public immutable override vault;
    address public immutable override guardian;
    address public immutable override aggregator;
    address public immutable override guardSigner;
    uint64 public immutable override run;
    uint64 public immutable override length;
    bytes32 public immutable override specDigest;
    bytes32 public immutable override shapeDigest;
    bytes32 public immutable override initialModel;
    uint256 public immutable override full;
    uint256 public immutable override guards;
    address public immutable override judge;

    uint256 private immutable _members;
    uint256 private immutable _workers;
    /// @dev Lane words that a settlement touches. A single guard is never judged: where it is alone in the last word, that
    ///      word is zero for ever.
    uint256 private immutable _livingWords;
    uint256 private immutable _challengeWindowS;
    uint256 private immutable _settleWindowS;

    /// @dev In slots that follow each other, in the order of the words.
    uint256[64] private _lanes;
    RoundState private _state;
    bytes32 public override parentModel;
    /// @dev Holds an older round's bitmap until the current round's first commitment, and in a full round.
    uint256 private _presence;
    /// @dev Means something only where the state says that the seed is fixed.
    bytes32 private _seed;
    mapping(uint32 round => bytes32) public override recordOf;
    mapping(uint32 round => uint256) public override overturnedOf;
    /// @dev Means something only where the state says that the model is tainted.
    uint32 private _taintedFrom;
    /// @dev For each rollback, the round that it went back to (low 32 bits) and the one that it came from: what is after the
    ///      first and not after the second is in no model any more. No two of these spans overlap but by one containing
    ///      the other, since a rollback goes to no such round.
    uint256[] private _rollbacks;
    /// @dev The guards that have enough in the vault, by their numbers. Read only while the state says that one has not.
    uint256 public override bondedGuards;

    /// @dev Calls that auditors read from the transaction. An account with delegated code (EIP-7702) could be made to call
    ///      with other bytes than the transaction shows, hence both conditions.
    modifier onlyDirect() {
        // solhint-disable-next-line avoid-tx-origin
        if (tx.origin != msg.sender || msg.sender.code.length != 0) {
            revert ContributionLedgerNotDirect(msg.sender, tx.origin);
        }
        _;
    }

    /// @param a What the run is.
    constructor(RunArguments memory a) EIP712("Hallmark", "1") {
        if (!IWorkerRegistry(a.registry).isCohort(a.cohort)) revert ContributionLedgerUnknownCohort(a.cohort);
        if (a.aggregator == address(0)) revert ContributionLedgerZeroArgument("aggregator");
        if (a.length == 0) revert ContributionLedgerZeroArgument("length");
        if (a.length > SegmentTree.MAX_LENGTH) revert SegmentTree.SegmentTreeLengthOutOfRange(a.length);
        if (a.challenge == address(0) && a.vault != address(0)) revert ContributionLedgerZeroArgument("challenge");
        if (a.vault == address(0) && a.challenge != address(0)) revert ContributionLedgerZeroArgument("vault");
        registry = a.registry;
        cohort = a.cohort;
        spec = a.spec;
        dataRequests = a.dataRequests;
        challenge = a.challenge;
        vault = a.vault;
        guardian = a.guardian;
        aggregator = a.aggregator;
        run = a.run;
        initialModel = a.initialModel;
        shapeDigest = a.shapeDigest;
        length = a.length;

        uint256 members = Cohort.size(a.cohort);
        _members = members;
        full = type(uint256).max >> (Cohort.MAX_MEMBERS - members);
        CommitteeRules.requireSize(a.guards, members);
        guards = a.guards;
        uint256 workers = members - a.guards;
        _workers = workers;
        _livingWords = Lanes.wordsFor(a.guards == 1 ? workers : members);
        for (uint256 index = members; index-- > workers;) {
            (, address signer) = Cohort.memberAt(a.cohort, index);
            if (signer.code.length != 0) revert ContributionLedgerGuardHasCode(signer);
            if (index == workers) guardSigner = signer;
        }

        // Checked again here: a spec contract of another make must not bring constants that break the gate.
        GateParameters memory p = IGateSpec(a.spec).parameters();
        GateConstants.validate(p);
        bytes32 digest = GateConstants.digest(p);
        if (IGateSpec(a.spec).specDigest() != digest) {
            revert ContributionLedgerWrongSpec(IGateSpec(a.spec).specDigest(), digest);
        }
        specDigest = digest;
        _challengeWindowS = p.challengeWindowS;
        _settleWindowS = p.settleWindowS;
        judge = address(new Judge(p, members, a.guards));

        // What a guard did can be challenged until the window is over, and what it withholds be asked for until then, so its
        // stake must stay for longer than the window and the time to answer.
        if (a.vault != address(0)) {
            uint256 liableS = p.challengeWindowS;
            if (a.dataRequests != address(0)) liableS += IDataRequests(a.dataRequests).answerWindowS();
            uint256 delayS = IStakeVault(a.vault).unbondingDelayS();
            if (delayS <= liableS) revert ContributionLedgerUnbondingTooShort(delayS, liableS);
        }

        reputation = address(new Reputation(a.cohort, p.banFrom));
        parentModel = a.initialModel;
        emit RunOpened(
            a.run,
            a.cohort,
            a.spec,
            a.registry,
            reputation,
            a.dataRequests,
            a.challenge,
            a.vault,
            a.guardian,
            a.aggregator,
            digest,
            a.initialModel,
            a.shapeDigest,
            a.length
        );
        _state = _open(
            RoundState.wrap(0).withFlag(RoundStates.UNBONDED, a.vault != address(0)),
            a.firstCommitDeadline,
            a.initialModel
        );
    }

    /// @inheritdoc IContributionLedger
    function openRound(uint64 commitDeadline) external override {
        _onlyAggregator();
        RoundState current = _state;
        if (current.stage() != Stage.Idle) revert ContributionLedgerNotIdle(current.round(), current.stage());
        _state = _open(current, commitDeadline, parentModel);
    }

    /// @inheritdoc IContributionLedger
    function commit(
        uint32 round,
        uint256 index,
        bytes32 parentModel_,
        bytes32 updateRoot,
        uint64 tokens,
        uint64 deadline
    ) external override {
        (address worker, address signer) = _memberAt(index);
        if (msg.sender != worker && msg.sender != signer) revert ContributionLedgerNotMember(index, msg.sender);
        bytes32 parent = parentModel;
        if (parentModel_ != parent) revert ContributionLedgerWrongParent(parentModel_, parent);
        bytes32 digest = _digest(round, parent, worker, updateRoot, tokens, deadline);
        _commitOne(round, index, worker, updateRoot, tokens, deadline, digest);
    }

    /// @inheritdoc IContributionLedger
    function commitFor(
        uint32 round,
        uint256 index,
        bytes32 updateRoot,
        uint64 tokens,
        uint64 deadline,
        bytes calldata signature
    ) external override {
        (address worker, address signer) = _memberAt(index);
        bytes32 digest = _digest(round, parentModel, worker, updateRoot, tokens, deadline);
        // Before the signature: an ERC-1271 signer gets no call for a commitment that cannot count.
        RoundState current = _takingCommits(round, deadline);
        _refuseSecond(current, 1 << index);
        if (!SignatureChecker.isValidSignatureNowCalldata(signer, digest, signature)) {
            revert ContributionLedgerWrongSigner(index, signer, address(0));
        }
        _commitOne(round, index, worker, updateRoot, tokens, deadline, digest);
    }

    /// @inheritdoc IContributionLedger
    function commitBatch(uint32 round, uint64 deadline, uint256 members, bytes calldata items)
        external
        override
        onlyDirect
    {
        RoundState current = _takingCommits(round, deadline);
        if (members == 0) revert ContributionLedgerEmptyBatch();
        if (members & ~full != 0) revert ContributionLedgerUnknownMember(members, full);
        uint256 before = _refuseSecond(current, members);
        uint256 expected = Bits.count(members) * ContributionBatch.ITEM_BYTES;
        if (items.length != expected) revert ContributionLedgerWrongItemsLength(items.length, expected);

        bytes32 parent = parentModel;
        (bytes32 accumulator, ContributionBatch.Mismatch memory wrong) = ContributionBatch.append(
            ContributionBatch.Message(_domainSeparatorV4(), run, round, specDigest, parent, deadline),
            _accumulator(current, round, parent),
            members,
            Cohort.load(cohort),
            items
        );
        if (wrong.expected != address(0)) {
            revert ContributionLedgerWrongSigner(wrong.index, wrong.expected, wrong.recovered);
        }
        emit BatchCommitted(round, members, accumulator);
        _store(current, before | members, accumulator);
    }

    /// @inheritdoc IContributionLedger
    function seal(uint32 round) external override {
        RoundState current = _currentRound(round);
        if (current.stage() != Stage.Open) revert ContributionLedgerNotOpen(round, current.stage());
        uint256 deadline = current.commitDeadline();
        if (block.timestamp <= deadline) revert ContributionLedgerWindowOpen(uint64(deadline));
        uint256 present = _presenceIn(current);
        uint256 missing = CommitteeRules.quorum(guards);
        for (uint256 left = present >> _workers; left != 0 && missing != 0; left &= left - 1) {
            --missing;
        }
        if (missing != 0) {
            _void(current, NO_ANCHOR);
        } else {
            _state = _seal(current, present, recordOf[round]);
        }
    }

    /// @inheritdoc IContributionLedger
    function fixSeed(uint32 round) external override returns (bytes32 seed) {
        RoundState current = _sealedRound(round);
        if (current.isSeedFixed()) revert ContributionLedgerSeedAlreadyFixed(_seed);
        seed = _drawSeed(current, recordOf[round]);
        _seed = seed;
        _state = current.withSeed();
        emit SeedFixed(round, seed);
    }

    /// @inheritdoc IContributionLedger
    function settle(uint32 round, bytes calldata payload) external override onlyDirect {
        uint256 poster = guards == 1 ? 0 : Gate.posterIn(payload);
        address signer = guardSigner;
        if (poster != 0) (, signer) = _memberAt(_workers + poster);
        if (msg.sender != signer) revert ContributionLedgerNotGuard(msg.sender, signer);
        RoundState current = _sealedRound(round);
        if (current.hasAny(RoundStates.UNBONDED) && (bondedGuards >> poster) & 1 == 0) {
            revert ContributionLedgerGuardUnbonded(vault);
        }
        bytes32 accumulator = recordOf[round];
        RoundDigests.Settlement memory s;
        s.presence = _presenceIn(current);
        s.seed = current.isSeedFixed() ? _seed : _drawSeed(current, accumulator);
        s.payloadHash = keccak256(payload);
        s.yardstickBefore = current.yardstick();
        _requireGranted(round, payload);

        bytes memory words = _readLanes();
        s.lanesBeforeHash = keccak256(words);
        (s.approved, s.yardstickAfter, words) =
            IJudge(judge).judge(round, s.presence, payload, s.yardstickBefore, words);
        // The gate has checked the payload's length.
        bytes20 seedPrefix = bytes20(payload[140:160]);
        if (seedPrefix != bytes20(s.seed)) revert ContributionLedgerWrongSeed(seedPrefix, s.seed);
        // Without it nobody could show a false word.
        if (challenge != address(0) && bytes32(payload[32:64]) == 0) revert ContributionLedgerNoTraceRoot();
        s.lanesAfterHash = keccak256(words);

        bytes32 record = RoundDigests.settled(accumulator, s);
        recordOf[round] = record;
        _state = current.settledNow(s.yardstickAfter, s.approved != 0);
        _writeLanes(words);
        emit RoundSettled(round, s.approved, uint32(s.yardstickAfter), s.seed, record);
    }

    /// @inheritdoc IContributionLedger
    function finalize(uint32 round, bytes32 modelRoot, bytes32 weightsDigest, uint64 nextCommitDeadline)
        external
        override
    {
        _onlyAggregator();
        RoundState current = _currentRound(round);
        if (current.stage() != Stage.Settled) revert ContributionLedgerNotSettled(round, current.stage());
        uint256 finalizableAt = current.settledAt() + _challengeWindowS;
        if (block.timestamp < finalizableAt) revert ContributionLedgerWindowRunning(uint64(finalizableAt));
        if (current.anyApproved()) {
            parentModel = modelRoot;
        } else if (modelRoot != parentModel) {
            revert ContributionLedgerModelMoved(parentModel, modelRoot);
        }
        bytes32 record = RoundDigests.finalized(recordOf[round], modelRoot, weightsDigest);
        recordOf[round] = record;
        emit RoundFinalized(round, modelRoot, weightsDigest, record);
        _state = nextCommitDeadline == 0
            ? current.withStage(Stage.Idle)
            : _open(current, nextCommitDeadline, modelRoot);
    }

    /// @inheritdoc IContributionLedger
    function voidRound(uint32 round) external override {
        RoundState current = _sealedRound(round);
        uint256 lastSeedBlock = current.isSeedFixed() ? 0 : _lastSeedBlock(current);
        uint256 settleBy = current.sealedAt() + _settleWindowS;
        uint8 reason = SEED_MISSED;
        if (lastSeedBlock == 0 || block.number <= lastSeedBlock) {
            if (block.timestamp <= settleBy) {
                revert ContributionLedgerNotOverdue(uint64(lastSeedBlock), uint64(settleBy));
            }
            reason = SETTLE_OVERDUE;
        }
        _void(current, reason);
    }

    /// @inheritdoc IContributionLedger
    function overturn(uint32 round, uint256 index, uint256 approved, uint256 laneWordBefore) external override {
        _onlyChallenge();
        if (index >= _workers) _refuseIndex(index, full >> guards);
        (RoundState current, uint256 overturned) = _overturnable(round, 1 << index);
        overturned |= 1 << index;
        overturnedOf[round] = overturned;
        emit ContributionOverturned(round, index);
        if (_isFinal(current, round)) {
            _taint(current, round);
            return;
        }
        uint256 mask = Lanes.MASK << ((index % Lanes.PER_WORD) * 64);
        uint256 word = index / Lanes.PER_WORD;
        _lanes[word] = (_lanes[word] & ~mask) | (laneWordBefore & mask);
        _state = current.overturnedNow(approved & ~overturned != 0);
    }

    /// @inheritdoc IContributionLedger
    function overturnRound(uint32 round, uint256[] calldata lanesBefore, uint256 yardstickBefore) external override {
        _onlyChallenge();
        (RoundState current,) = _overturnable(round, 1 << (_members - 1));
        overturnedOf[round] = full;
        emit RoundOverturned(round);
        if (_isFinal(current, round)) {
            _taint(current, round);
            return;
        }
        if (lanesBefore.length != Lanes.wordsFor(_members)) {
            revert ContributionLedgerWrongLanes(lanesBefore.length, Lanes.wordsFor(_members));
        }
        if (yardstickBefore > type(uint32).max) revert ContributionLedgerWrongYardstick(yardstickBefore);
        _writeLanes(abi.encodePacked(lanesBefore));
        _void(current.withoutVerdicts(yardstickBefore), FALSE_ANCHOR);
    }

    /// @inheritdoc IContributionLedger
    function rollback(uint32 toRound, bytes32 settledDigest, bytes32 modelRoot, bytes32 weightsDigest)
        external
        override
    {
        _onlyAggregator();
        RoundState current = _state;
        if (current.stage() != Stage.Idle) revert ContributionLedgerNotIdle(current.round(), current.stage());
        uint32 from = taintedFrom();
        if (
            toRound >= from || _isUndone(toRound)
                || (toRound == 0
                    ? modelRoot != initialModel
                    : recordOf[toRound] != RoundDigests.finalized(settledDigest, modelRoot, weightsDigest))
        ) revert ContributionLedgerWrongRollback(toRound, from);
        parentModel = modelRoot;
        _rollbacks.push((uint256(current.round()) << 32) | toRound);
        _state = current.withFlag(RoundStates.TAINTED, false);
        emit ModelRolledBack(current.round(), toRound, modelRoot);
    }

    /// @inheritdoc IContributionLedger
    function pause(bool isPaused) external override {
        if (msg.sender != guardian) revert ContributionLedgerNotGuardian(msg.sender, guardian);
        _state = _state.withFlag(RoundStates.PAUSED, isPaused);
        emit PauseChanged(isPaused);
    }

    /// @inheritdoc IContributionLedger
    function stakeChanged(address holder, uint256 bonded) external override {
        if (msg.sender != vault) revert ContributionLedgerNotVault(msg.sender, vault);
        uint256 all = full >> _workers;
        for (uint256 k = 0; (all >> k) != 0; ++k) {
            (address guard,) = _memberAt(_workers + k);
            if (holder != guard) continue;
            uint256 others = bondedGuards & ~(1 << k);
            // At most once: no identity is in a cohort twice.
            // slither-disable-next-line calls-loop
            uint256 now_ = bonded < IStakeVault(vault).minStakeWei() ? others : others | (1 << k);
            bondedGuards = now_;
            _state = _state.withFlag(RoundStates.UNBONDED, now_ != all);
        }
    }

    /// @inheritdoc IContributionLedger
    function isApproved(uint32 round, uint256 index, bytes32 updateRoot, ApprovalProof calldata proof)
        external
        view
        override
        returns (bool)
    {
        if (index >= _members || ((proof.approved & ~overturnedOf[round]) >> index) & 1 == 0) return false;
        (address worker,) = _memberAt(index);
        bytes32 digest = RoundDigests.append(
            proof.accumulatorBefore,
            _digest(round, proof.parentModel, worker, updateRoot, proof.tokens, proof.deadline)
        );
        for (uint256 i = 0; i < proof.laterDigests.length; ++i) {
            digest = RoundDigests.append(digest, proof.laterDigests[i]);
        }
        digest = RoundDigests.settled(
            digest,
            RoundDigests.Settlement(
                proof.presence,
                proof.seed,
                proof.payloadHash,
                proof.approved,
                proof.yardstickBefore,
                proof.yardstickAfter,
                proof.lanesBeforeHash,
                proof.lanesAfterHash
            )
        );
        if (proof.isFinalized) digest = RoundDigests.finalized(digest, proof.modelRoot, proof.weightsDigest);
        return digest == recordOf[round];
    }

    /// @inheritdoc IContributionLedger
    function contributionDigest(
        uint32 round,
        uint256 index,
        bytes32 parentModel_,
        bytes32 updateRoot,
        uint64 tokens,
        uint64 deadline
    ) external view override returns (bytes32) {
        (address worker,) = _memberAt(index);
        return _digest(round, parentModel_, worker, updateRoot, tokens, deadline);
    }

    /// @inheritdoc IContributionLedger
    function currentSeed() external view override returns (bytes32) {
        RoundState current = _state;
        if (current.isSeedFixed()) return _seed;
        if (current.stage() != Stage.Sealed) return 0;
        uint256 source = current.sealBlock() + 1;
        if (block.number <= source || block.number > _lastSeedBlock(current)) return 0;
        return RoundDigests.seed(run, current.round(), recordOf[current.round()], blockhash(source));
    }

    /// @inheritdoc IContributionLedger
    function state() external view override returns (LedgerState memory) {
        RoundState current = _state;
        return LedgerState({
            round: current.round(),
            stage: current.stage(),
            commitDeadline: uint64(current.commitDeadline()),
            sealedAt: uint64(current.sealedAt()),
            sealBlock: uint64(current.sealBlock()),
            settledAt: uint64(current.settledAt()),
            isSeedFixed: current.isSeedFixed(),
            anyApproved: current.anyApproved(),
            yardstick: uint32(current.yardstick()),
            presence: _presenceIn(current),
            parentModel: parentModel,
            record: recordOf[current.round()],
            isUnbonded: current.hasAny(RoundStates.UNBONDED),
            isPaused: current.hasAny(RoundStates.PAUSED),
            taintedFrom: taintedFrom()
        });
    }

    /// @inheritdoc IContributionLedger
    function currentRound() external view override returns (uint32) {
        return _state.round();
    }

    /// @inheritdoc IContributionLedger
    function presence() external view override returns (uint256) {
        return _presenceIn(_state);
    }

    /// @inheritdoc IContributionLedger
    function taintedFrom() public view override returns (uint32) {
        return _state.hasAny(RoundStates.TAINTED) ? _taintedFrom : 0;
    }

    /// @inheritdoc IContributionLedger
    function laneWord(uint256 word) external view override returns (uint256) {
        return word < _lanes.length ? _lanes[word] : 0;
    }

    /// @inheritdoc IERC165
    function supportsInterface(bytes4 interfaceId) public view override(ERC165, IERC165) returns (bool) {
        return interfaceId == type(IContributionLedger).interfaceId || super.supportsInterface(interfaceId);
    }

    // ------------------------------------------------------------------ rounds

    /// @dev Gives the state with the next round open; the caller stores it.
    function _open(RoundState current, uint64 deadline, bytes32 parent) private returns (RoundState next) {
        if (deadline <= block.timestamp || deadline > RoundStates.MAX_TIME) {
            revert ContributionLedgerDeadlineOutOfRange(deadline, uint64(block.timestamp));
        }
        if (current.hasAny(RoundStates.PAUSED | RoundStates.TAINTED)) {
            if (current.hasAny(RoundStates.TAINTED)) revert ContributionLedgerTainted(_taintedFrom);
            revert ContributionLedgerPaused(guardian);
        }
        next = current.opened(deadline);
        emit RoundOpened(next.round(), deadline, parent);
    }

    /// @dev Gives the state sealed now; the caller stores it.
    function _seal(RoundState current, uint256 present, bytes32 accumulator) private returns (RoundState) {
        emit RoundSealed(current.round(), present, accumulator, uint64(block.number));
        return current.sealedNow();
    }

    function _void(RoundState current, uint8 reason) private {
        uint32 round = current.round();
        bytes32 record = RoundDigests.voided(_accumulator(current, round, parentModel), reason);
        recordOf[round] = record;
        _state = current.withStage(Stage.Idle).withFlag(RoundStates.VOID, true);
        emit RoundVoided(round, reason, record);
    }

    function _onlyAggregator() private view {
        if (msg.sender != aggregator) revert ContributionLedgerNotAggregator(msg.sender, aggregator);
    }

    function _currentRound(uint32 round) private view returns (RoundState current) {
        current = _state;
        if (round != current.round()) revert ContributionLedgerWrongRound(round, current.round());
    }

    function _sealedRound(uint32 round) private view returns (RoundState current) {
        current = _currentRound(round);
        if (current.stage() != Stage.Sealed) revert ContributionLedgerNotSealed(round, current.stage());
    }

    // -------------------------------------------------------------- overturned

    function _onlyChallenge() private view {
        if (msg.sender != challenge) revert ContributionLedgerNotChallenge(msg.sender, challenge);
    }

    /// @dev Gives state and overturned members of a round that is settled or over, if `member` is none of the latter. That a
    ///      round before the current one was not void is the challenge contract's to know: it has opened the record.
    function _overturnable(uint32 round, uint256 member) private view returns (RoundState current, uint256 overturned) {
        current = _state;
        uint32 last = current.round();
        Stage stage = current.stage();
        if (
            round == 0 || round > last
                || (round == last
                    && (stage == Stage.Open || stage == Stage.Sealed || current.hasAny(RoundStates.VOID)))
        ) revert ContributionLedgerNotOverturnable(round, last, stage);
        overturned = overturnedOf[round];
        if (overturned & member != 0) revert ContributionLedgerAlreadyOverturned(round, overturned);
    }

    function _isFinal(RoundState current, uint32 round) private pure returns (bool) {
        return round != current.round() || current.stage() == Stage.Idle;
    }

    /// @dev The model rests on a round that is overturned too late, unless a rollback has undone that round.
    function _taint(RoundState current, uint32 round) private {
        if (_isUndone(round)) return;
        bool isTainted = current.hasAny(RoundStates.TAINTED);
        if (isTainted && _taintedFrom <= round) return;
        _taintedFrom = round;
        _state = current.withFlag(RoundStates.TAINTED, true);
        emit ModelTainted(round);
    }

    function _isUndone(uint32 round) private view returns (bool) {
        for (uint256 i = 0; i < _rollbacks.length; ++i) {
            uint256 span = _rollbacks[i];
            if (round > uint32(span) && round <= span >> 32) return true;
        }
        return false;
    }

    // ------------------------------------------------------------- commitments

    function _takingCommits(uint32 round, uint64 deadline) private view returns (RoundState current) {
        current = _currentRound(round);
        if (current.stage() != Stage.Open) revert ContributionLedgerNotOpen(round, current.stage());
        if (block.timestamp > current.commitDeadline()) {
            revert ContributionLedgerWindowClosed(uint64(current.commitDeadline()));
        }
        if (block.timestamp > deadline) revert ContributionLedgerSignatureExpired(deadline);
    }

    /// @dev Gives the members that have committed, none of them in `members`.
    function _refuseSecond(RoundState current, uint256 members) private view returns (uint256 before) {
        before = _presenceIn(current);
        if (before & members != 0) revert ContributionLedgerAlreadyCommitted(before & members);
    }

    function _commitOne(
        uint32 round,
        uint256 index,
        address worker,
        bytes32 updateRoot,
        uint64 tokens,
        uint64 deadline,
        bytes32 digest
    ) private {
        RoundState current = _takingCommits(round, deadline);
        uint256 before = _refuseSecond(current, 1 << index);
        bytes32 accumulator = RoundDigests.append(_accumulator(current, round, parentModel), digest);
        emit ContributionCommitted(round, index, worker, updateRoot, tokens, deadline);
        _store(current, before | (1 << index), accumulator);
    }

    /// @dev Stores what a commitment changes; the one that completes the cohort seals.
    function _store(RoundState current, uint256 present, bytes32 accumulator) private {
        recordOf[current.round()] = accumulator;
        RoundState next = current.withCommits();
        if (present == full) {
            next = _seal(next.withFull(), present, accumulator);
        } else {
            _presence = present;
        }
        _state = next;
    }

    function _accumulator(RoundState current, uint32 round, bytes32 parent) private view returns (bytes32) {
        if (current.hasCommits()) return recordOf[round];
        return RoundDigests.start(run, round, specDigest, recordOf[round - 1], parent);
    }

    function _presenceIn(RoundState current) private view returns (uint256) {
        if (!current.hasCommits()) return 0;
        return current.isFull() ? full : _presence;
    }

    function _memberAt(uint256 index) private view returns (address worker, address signer) {
        if (index >= _members) _refuseIndex(index, full);
        return Cohort.memberAt(cohort, index);
    }

    function _refuseIndex(uint256 index, uint256 known) private pure {
        revert ContributionLedgerUnknownMember(index < 256 ? 1 << index : 0, known);
    }

    function _digest(
        uint32 round,
        bytes32 parent,
        address worker,
        bytes32 updateRoot,
        uint64 tokens,
        uint64 deadline
    ) private view returns (bytes32) {
        return ContributionBatch.digest(
            ContributionBatch.Message(_domainSeparatorV4(), run, round, specDigest, parent, deadline),
            worker,
            updateRoot,
            tokens
        );
    }

    // -------------------------------------------------------------- settlement

    /// @dev Last block in which BLOCKHASH still reaches the block after the seal.
    function _lastSeedBlock(RoundState current) private pure returns (uint256) {
        return current.sealBlock() + 1 + BLOCKHASH_REACH;
    }

    function _drawSeed(RoundState current, bytes32 accumulator) private view returns (bytes32) {
        uint256 source = current.sealBlock() + 1;
        if (block.number <= source) revert ContributionLedgerSeedTooEarly(uint64(source + 1));
        if (block.number > _lastSeedBlock(current)) {
            revert ContributionLedgerSeedMissed(uint64(_lastSeedBlock(current)));
        }
        return RoundDigests.seed(run, current.round(), accumulator, blockhash(source));
    }

    /// @dev All lane words, joined. Without bounds checks, as `_writeLanes`.
    function _readLanes() private view returns (bytes memory words) {
        words = new bytes(32 * Lanes.wordsFor(_members));
        uint256 count = _livingWords;
        assembly ("memory-safe") {
            for { let i := 0 } lt(i, count) { i := add(i, 1) } {
                mstore(add(add(words, 0x20), shl(5, i)), sload(add(_lanes.slot, i)))
            }
        }
    }

    /// @dev Writing a word that has not changed costs 100 gas; comparing first would cost more.
    function _writeLanes(bytes memory words) private {
        uint256 count = _livingWords;
        assembly ("memory-safe") {
            for { let i := 0 } lt(i, count) { i := add(i, 1) } {
                sstore(add(_lanes.slot, i), mload(add(add(words, 0x20), shl(5, i))))
            }
        }
    }

    /// @dev Refuses "unavailable" and "malformed" where the run has a data-request contract and it does not grant them.
    function _requireGranted(uint32 round, bytes calldata payload) private view {
        if (dataRequests == address(0)) return;
        (uint256 unavailable, uint256 malformed) = Gate.undeliveredIn(payload);
        if (unavailable | malformed == 0) return;
        uint256 refused = IDataRequests(dataRequests).ungranted(round, unavailable, malformed);
        if (refused != 0) revert ContributionLedgerNotGranted(refused);
    }
}
