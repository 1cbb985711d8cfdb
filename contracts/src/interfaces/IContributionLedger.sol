// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";

import {Stage} from "../libraries/RoundState.sol";

/// @notice What a ledger is told at its creation.
/// @param  registry            Registry that sealed the cohort.
/// @param  cohort              Data contract of the cohort.
/// @param  spec                Rules.
/// @param  dataRequests        Data-request contract, or zero.
/// @param  challenge           Contract that may overturn, or zero.
/// @param  vault               Where the guards' stakes are; zero iff `challenge` is.
/// @param  guardian            Account that may pause the opening of rounds, or zero.
/// @param  aggregator          Account that opens rounds and records merges.
/// @param  run                 Run id.
/// @param  initialModel        Model root that round 1 starts from.
/// @param  shapeDigest         Digest of the model's shape.
/// @param  length              Number of values of an update.
/// @param  firstCommitDeadline Commit deadline of round 1.
/// @param  guards              How many of the cohort's last members are guards: odd, 1..15, at least one worker is left.
struct RunArguments {
    address registry;
    address cohort;
    address spec;
    address dataRequests;
    address challenge;
    address vault;
    address guardian;
    address aggregator;
    uint64 run;
    bytes32 initialModel;
    bytes32 shapeDigest;
    uint64 length;
    uint64 firstCommitDeadline;
    uint8 guards;
}

/// @notice The ledger's current state; fields of stages that the round has not reached are 0.
/// @param  round          Current round, from 1.
/// @param  stage          Its stage.
/// @param  commitDeadline Last second in which commitments are taken.
/// @param  sealedAt       Second of the seal.
/// @param  sealBlock      Block of the seal; the seed is drawn from the block after it.
/// @param  settledAt      Second of the settlement.
/// @param  isSeedFixed    Whether the seed was stored.
/// @param  anyApproved    Whether anything is approved and not overturned.
/// @param  yardstick      Yardstick word: 0 = none yet, else m + 1.
/// @param  presence       Bit i is set iff member i has committed.
/// @param  parentModel    Model root that the round starts from; after `finalize`, the new one.
/// @param  record         Latest digest of the round, zero before the first commitment.
/// @param  isUnbonded     Whether some guard has too little in the vault to settle; false in a run without one.
/// @param  isPaused       Whether the guardian lets no round open.
/// @param  taintedFrom    First final round that was overturned since the last rollback; 0 if none was.
struct LedgerState {
    uint32 round;
    Stage stage;
    uint64 commitDeadline;
    uint64 sealedAt;
    uint64 sealBlock;
    uint64 settledAt;
    bool isSeedFixed;
    bool anyApproved;
    uint32 yardstick;
    uint256 presence;
    bytes32 parentModel;
    bytes32 record;
    bool isUnbonded;
    bool isPaused;
    uint32 taintedFrom;
}

/// @notice Opens a round's record down to one contribution; see `isApproved`.
/// @param  parentModel       Model root that the round started from.
/// @param  tokens            As committed.
/// @param  deadline          As committed.
/// @param  accumulatorBefore Accumulator just before this contribution (D0 for the first).
/// @param  laterDigests      Contribution digests that came after it, in order.
/// @param  presence          Members that had committed at the seal.
/// @param  seed              Seed of the round.
/// @param  payloadHash       keccak256 of the bytes posted to `settle`.
/// @param  approved          Bitmap of approved members.
/// @param  yardstickBefore   Yardstick word before the round.
/// @param  yardstickAfter    Yardstick word after the round.
/// @param  lanesBeforeHash   keccak256 of the lane words before the round.
/// @param  lanesAfterHash    keccak256 of the lane words after the round.
/// @param  isFinalized       Whether the next two count: the round was finalized.
/// @param  modelRoot         Model root after the merge.
/// @param  weightsDigest     Digest of the merge weights.
struct ApprovalProof {
    bytes32 parentModel;
    uint64 tokens;
    uint64 deadline;
    bytes32 accumulatorBefore;
    bytes32[] laterDigests;
    uint256 presence;
    bytes32 seed;
    bytes32 payloadHash;
    uint256 approved;
    uint32 yardstickBefore;
    uint32 yardstickAfter;
    bytes32 lanesBeforeHash;
    bytes32 lanesAfterHash;
    bool isFinalized;
    bytes32 modelRoot;
    bytes32 weightsDigest;
}

/// @title  The audit ledger of one run.
/// @notice Workers commit to their updates before anyone can know the seed; a guard posts one word for each; this contract
///         recomputes every verdict from the words and keeps them, with the reputations. docs/spec/ledger.md is the
///         specification, to the byte.
///
///         Stages of a round, and the only legal transitions:
///         idle -> open        openRound, by the aggregator (or the constructor, or the last round's finalize)
///         open -> sealed      seal after the deadline, by anyone; or the commitment that makes the cohort complete
///         open -> idle        seal without the commitments of more than half of the guards: the round is void
///         sealed -> settled   settle, by the signer of any guard; the first counts
///         sealed -> idle      voidRound, by anyone, when the seed was missed or the guards were too slow
///         settled -> idle     finalize, by the aggregator after the challenge window
///         settled -> open     the same, opening the next round
///         settled -> idle     overturnRound, by the challenge contract: the round is void
///
/// @dev    There is no owner, and no function by which anybody could write a verdict, a score or a reputation.
///         IMPORTANT: `finalize` takes the aggregator's word for `modelRoot`; every auditor finds a false one by replay, but
///         no contract does. IMPORTANT: on a chain whose blocks one party makes, that party can choose among seeds.
interface IContributionLedger is IERC165 {
    /// @notice Emitted once, at deployment.
    event RunOpened(
        uint64 indexed run,
        address indexed cohort,
        address indexed spec,
        address registry,
        address reputation,
        address dataRequests,
        address challenge,
        address vault,
        address guardian,
        address aggregator,
        bytes32 specDigest,
        bytes32 initialModel,
        bytes32 shapeDigest,
        uint64 length
    );
    /// @notice Emitted when a round began to take commitments.
    event RoundOpened(uint32 indexed round, uint64 commitDeadline, bytes32 parentModel);
    /// @notice Emitted for a commitment made alone. Those in batches are in the calldata of `commitBatch`.
    event ContributionCommitted(
        uint32 indexed round,
        uint256 indexed index,
        address worker,
        bytes32 updateRoot,
        uint64 tokens,
        uint64 deadline
    );
    /// @notice Emitted for a batch of commitments.
    /// @param  members     Bitmap of the batch's members.
    /// @param  accumulator Digest of all commitments so far.
    event BatchCommitted(uint32 indexed round, uint256 members, bytes32 accumulator);
    /// @notice Emitted when a round stopped taking commitments.
    event RoundSealed(uint32 indexed round, uint256 presence, bytes32 accumulator, uint64 sealBlock);
    /// @notice Emitted when somebody stored the seed.
    event SeedFixed(uint32 indexed round, bytes32 seed);
    /// @notice Emitted when a round's verdicts were recomputed from the posted words.
    /// @param  approved  Bit i is set iff member i's update is approved.
    /// @param  yardstick Yardstick word after the round.
    /// @param  seed      Seed with which the words were made.
    /// @param  record    Latest digest of the round.
    event RoundSettled(uint32 indexed round, uint256 approved, uint32 yardstick, bytes32 seed, bytes32 record);
    /// @notice Emitted when a round's merge was recorded.
    event RoundFinalized(uint32 indexed round, bytes32 modelRoot, bytes32 weightsDigest, bytes32 record);
    /// @notice Emitted when a round was given up. Model, yardstick and lanes stay as they were.
    /// @param  reason 1 no anchor, 2 seed missed, 3 settle overdue, 4 false anchor.
    event RoundVoided(uint32 indexed round, uint8 reason, bytes32 record);
    /// @notice Emitted when it was shown that something false was posted about a contribution.
    event ContributionOverturned(uint32 indexed round, uint256 indexed index);
    /// @notice Emitted when it was shown that something false was posted about the anchor of a guard.
    event RoundOverturned(uint32 indexed round);
    /// @notice Emitted when the model came to rest on an overturned round: from here on no round opens.
    event ModelTainted(uint32 indexed round);
    /// @notice Emitted when the model went back to that of an earlier round.
    /// @param  fromRound Last round; it and all after `toRound` are undone.
    /// @param  toRound   Round whose model is the current one again; 0 for the initial model.
    event ModelRolledBack(uint32 indexed fromRound, uint32 indexed toRound, bytes32 modelRoot);
    /// @notice Emitted when the guardian paused or resumed the opening of rounds.
    event PauseChanged(bool isPaused);

    /// @notice Thrown when a cohort was not sealed by the registry.
    error ContributionLedgerUnknownCohort(address cohort);
    /// @notice Thrown when a deployment argument is zero that may not be.
    error ContributionLedgerZeroArgument(string name);
    /// @notice Thrown when a guard's signer has code: it could never call `settle`.
    error ContributionLedgerGuardHasCode(address guardSigner);
    /// @notice Thrown when the spec contract's digest is not that of its parameters.
    error ContributionLedgerWrongSpec(bytes32 claimed, bytes32 computed);
    /// @notice Thrown when the caller is not the aggregator.
    error ContributionLedgerNotAggregator(address caller, address aggregator);
    /// @notice Thrown when the caller is not the signer of the guard that the payload names as its poster.
    error ContributionLedgerNotGuard(address caller, address guardSigner);
    /// @notice Thrown when the caller is neither identity nor signer of the member that it commits for.
    error ContributionLedgerNotMember(uint256 index, address caller);
    /// @notice Thrown when a call that auditors read from the transaction came through a contract.
    error ContributionLedgerNotDirect(address caller, address origin);
    /// @notice Thrown when a call is for another round than the current one.
    error ContributionLedgerWrongRound(uint32 given, uint32 current);
    /// @notice Thrown when a round is opened while another is under way.
    error ContributionLedgerNotIdle(uint32 round, Stage stage);
    /// @notice Thrown when a call needs an open round.
    error ContributionLedgerNotOpen(uint32 round, Stage stage);
    /// @notice Thrown when a call needs a sealed round.
    error ContributionLedgerNotSealed(uint32 round, Stage stage);
    /// @notice Thrown when a call needs a settled round.
    error ContributionLedgerNotSettled(uint32 round, Stage stage);
    /// @notice Thrown when a commit deadline is not in the future or does not fit.
    error ContributionLedgerDeadlineOutOfRange(uint64 deadline, uint64 now_);
    /// @notice Thrown when a commitment arrives after the window.
    /// @param  closedAt Last second (Unix) in which it would have been taken.
    error ContributionLedgerWindowClosed(uint64 closedAt);
    /// @notice Thrown when a round is sealed before its time.
    error ContributionLedgerWindowOpen(uint64 closesAt);
    /// @notice Thrown when a signature is used after its deadline.
    error ContributionLedgerSignatureExpired(uint64 deadline);
    /// @notice Thrown when a commitment is for another parent model.
    error ContributionLedgerWrongParent(bytes32 given, bytes32 parentModel);
    /// @notice Thrown when a bitmap names members that the cohort does not have.
    error ContributionLedgerUnknownMember(uint256 members, uint256 full);
    /// @notice Thrown when members commit a second time; the first commitment counts.
    /// @param  members Bitmap of those.
    error ContributionLedgerAlreadyCommitted(uint256 members);
    /// @notice Thrown when a batch has no member.
    error ContributionLedgerEmptyBatch();
    /// @notice Thrown when a batch does not have 104 bytes for each member.
    error ContributionLedgerWrongItemsLength(uint256 length, uint256 expected);
    /// @notice Thrown when a signature is not by the member's signer over this round's message.
    /// @param  recovered Whose it is for another message or key; zero if it is malleable, malformed or a contract's.
    error ContributionLedgerWrongSigner(uint256 index, address expected, address recovered);
    /// @notice Thrown when the seed cannot be drawn yet.
    /// @param  readyAt First block in which it can.
    error ContributionLedgerSeedTooEarly(uint64 readyAt);
    /// @notice Thrown when the block hash for the seed is out of reach; the round can only be voided.
    /// @param  lastBlock Last block in which it could be drawn.
    error ContributionLedgerSeedMissed(uint64 lastBlock);
    /// @notice Thrown when the seed was stored already.
    error ContributionLedgerSeedAlreadyFixed(bytes32 seed);
    /// @notice Thrown when members are posted as unavailable or malformed and the run's data-request contract does not grant it.
    /// @param  members Bitmap of those.
    error ContributionLedgerNotGranted(uint256 members);
    /// @notice Thrown when a round is finalized before its challenge window is over.
    error ContributionLedgerWindowRunning(uint64 finalizableAt);
    /// @notice Thrown when the model moved although nothing was approved.
    error ContributionLedgerModelMoved(bytes32 parentModel, bytes32 given);
    /// @notice Thrown when a sealed round has no reason to be void yet.
    /// @param  lastSeedBlock Last block in which the seed can be drawn; 0 if it is stored.
    /// @param  settleBy      Last second before anyone may void.
    error ContributionLedgerNotOverdue(uint64 lastSeedBlock, uint64 settleBy);

    /// @notice Thrown when a vault gives stakes back while a challenge may still come.
    /// @param  liableS Challenge window, and the time to answer a request where the run has them.
    error ContributionLedgerUnbondingTooShort(uint256 unbondingDelayS, uint256 liableS);
    /// @notice Thrown when the guard that posts has too little in the vault.
    error ContributionLedgerGuardUnbonded(address vault);
    /// @notice Thrown when a payload names another seed than the round's: the chain was reorganised.
    /// @param  posted First 20 bytes of the seed that the payload was made under.
    error ContributionLedgerWrongSeed(bytes20 posted, bytes32 seed);
    /// @notice Thrown when a run with a challenge contract is settled without a trace root.
    error ContributionLedgerNoTraceRoot();
    /// @notice Thrown when the caller is not the challenge contract.
    error ContributionLedgerNotChallenge(address caller, address challenge);
    /// @notice Thrown when the caller is not the vault.
    error ContributionLedgerNotVault(address caller, address vault);
    /// @notice Thrown when the caller is not the guardian.
    error ContributionLedgerNotGuardian(address caller, address guardian);
    /// @notice Thrown when a round has no verdicts that could be overturned: it is unknown, open, sealed or void.
    error ContributionLedgerNotOverturnable(uint32 round, uint32 current, Stage stage);
    /// @notice Thrown when something is overturned a second time.
    error ContributionLedgerAlreadyOverturned(uint32 round, uint256 overturned);
    /// @notice Thrown when there are not all lane words.
    error ContributionLedgerWrongLanes(uint256 words, uint256 expected);
    /// @notice Thrown when a yardstick word does not fit.
    error ContributionLedgerWrongYardstick(uint256 yardstick);
    /// @notice Thrown when a round is opened while the guardian lets none open.
    error ContributionLedgerPaused(address guardian);
    /// @notice Thrown when a round is opened while the model rests on an overturned round.
    error ContributionLedgerTainted(uint32 taintedFrom);
    /// @notice Thrown when the model cannot be rolled back to a round: it is not before the overturned one, was undone itself,
    ///         or did not end with that model.
    /// @param  taintedFrom 0 if the model is not tainted.
    error ContributionLedgerWrongRollback(uint32 toRound, uint32 taintedFrom);

    /// @notice Starts the next round.
    /// @param  commitDeadline Last second in which commitments are taken.
    function openRound(uint64 commitDeadline) external;

    /// @notice Commits the caller's update. Sent by the member's signer or identity; no signature needed.
    /// @param  round       Current round.
    /// @param  index       Cohort index.
    /// @param  parentModel Model root that the update was trained from; guards against a reorganised chain.
    /// @param  updateRoot  Root of the update file.
    /// @param  tokens      Tokens trained on; statistics only.
    /// @param  deadline    Last second in which this may be executed.
    function commit(
        uint32 round,
        uint256 index,
        bytes32 parentModel,
        bytes32 updateRoot,
        uint64 tokens,
        uint64 deadline
    ) external;

    /// @notice Commits a member's update with its signature, in any form that OpenZeppelin's `SignatureChecker` knows:
    ///         65 bytes r || s || v, or ERC-1271 if the signer is a contract.
    function commitFor(
        uint32 round,
        uint256 index,
        bytes32 updateRoot,
        uint64 tokens,
        uint64 deadline,
        bytes calldata signature
    ) external;

    /// @notice Commits several members' updates at once.
    /// @dev    Sent by an account without code straight to the ledger, so that the bytes are in the transaction that an
    ///         auditor reads.
    /// @param  deadline Shared by all signatures.
    /// @param  members  Bitmap of the members.
    /// @param  items    For each of them from the lowest: updateRoot (32) || tokens (8) || r (32) || yParityAndS (32).
    function commitBatch(uint32 round, uint64 deadline, uint256 members, bytes calldata items) external;

    /// @notice Ends the commitments of a round after its deadline; voids it if not more than half of the guards have committed their
    ///         anchors.
    function seal(uint32 round) external;

    /// @notice Stores the seed, so that the round can settle after the block hash has gone out of reach.
    function fixSeed(uint32 round) external returns (bytes32 seed);

    /// @notice Settles a round: every verdict is recomputed from the posted words.
    /// @dev    Sent straight to the ledger by the signer of the guard whose number is in the payload; what is false in it costs
    ///         that guard's stake. The payload names the seed, so that words made under another one are refused, not false.
    ///         Reverts with an error of `Gate` if the words are not well formed, and of `CommitteeRules` if the header is not
    ///         what several guards read together.
    /// @param  payload docs/spec/ledger.md, "Settle".
    function settle(uint32 round, bytes calldata payload) external;

    /// @notice Records the merge of a settled round, and opens the next one if told to.
    /// @param  modelRoot          Root of the merged model; the parent if nothing was approved.
    /// @param  weightsDigest      Digest of the merge weights.
    /// @param  nextCommitDeadline Commit deadline of the next round; 0 leaves the ledger idle.
    function finalize(uint32 round, bytes32 modelRoot, bytes32 weightsDigest, uint64 nextCommitDeadline) external;

    /// @notice Gives up a sealed round whose seed was missed or whose settlement is overdue.
    function voidRound(uint32 round) external;

    /// @notice Takes back a worker's contribution, because something false was posted about it. Only for the challenge
    ///         contract, which has opened the round's record.
    /// @dev    In a settled round the member's lane goes back and the challenge window starts anew, so that no merge that was
    ///         computed before can be recorded after it. In a final round the model is tainted.
    /// @param  round          Settled or final round.
    /// @param  index          Cohort index of a worker.
    /// @param  approved       Approved members of that round, as in its record.
    /// @param  laneWordBefore The member's lane word before that round, as in its record.
    function overturn(uint32 round, uint256 index, uint256 approved, uint256 laneWordBefore) external;

    /// @notice Takes back a whole round, because something false was posted about a guard's anchor. Only for the challenge
    ///         contract, which has opened the round's record.
    /// @dev    A settled round becomes void, with lanes and yardstick as before it. In a final round the model is tainted.
    /// @param  round           Settled or final round.
    /// @param  lanesBefore     All lane words before that round, as in its record.
    /// @param  yardstickBefore Yardstick word before that round, as in its record.
    function overturnRound(uint32 round, uint256[] calldata lanesBefore, uint256 yardstickBefore) external;

    /// @notice Sets a tainted model back to that of a round before the overturned one. By the aggregator, when idle.
    /// @param  toRound       Final round; 0 for the initial model.
    /// @param  settledDigest Its D2; any for round 0.
    /// @param  modelRoot     Model root that it ended with.
    /// @param  weightsDigest Digest of its merge weights; any for round 0.
    function rollback(uint32 toRound, bytes32 settledDigest, bytes32 modelRoot, bytes32 weightsDigest) external;

    /// @notice Stops the opening of rounds, or lets it go on. By the guardian. A round under way goes on to its end.
    function pause(bool isPaused) external;

    /// @notice Tells whether an update was approved in a settled or finalized round, and not overturned.
    /// @param  round      Any round.
    /// @param  index      Cohort index.
    /// @param  updateRoot Root of the update.
    /// @param  proof      Opens the round's record; anyone can build it from public data.
    function isApproved(uint32 round, uint256 index, bytes32 updateRoot, ApprovalProof calldata proof)
        external
        view
        returns (bool);

    /// @notice Gives the EIP-712 digest of a contribution, as it is signed and appended.
    function contributionDigest(
        uint32 round,
        uint256 index,
        bytes32 parentModel,
        bytes32 updateRoot,
        uint64 tokens,
        uint64 deadline
    ) external view returns (bytes32 digest);

    /// @notice Gives the latest digest of a round: accumulator, settled, final or void; zero before the first commitment.
    function recordOf(uint32 round) external view returns (bytes32 record);

    /// @notice Gives the seed of the current round, zero if there is none (yet, or any more).
    /// @dev    Not stored by a settlement; `RoundSettled` has it.
    function currentSeed() external view returns (bytes32 seed);

    /// @notice Gives the current state.
    function state() external view returns (LedgerState memory state_);

    /// @notice Gives the current round.
    function currentRound() external view returns (uint32 round);

    /// @notice Gives the bitmap of the members that have committed in the current round.
    function presence() external view returns (uint256 presence_);

    /// @notice Gives the last finalized model root.
    function parentModel() external view returns (bytes32 root);

    /// @notice Gives the bitmap with all members' bits set.
    function full() external view returns (uint256 bitmap);

    /// @notice Gives one word of reputation lanes, docs/spec/gate.md; `IReputation` reads them for people and contracts.
    /// @param  word Number of the word: member i has lane i mod 4 of word i div 4. Zero beyond the cohort.
    function laneWord(uint256 word) external view returns (uint256 lanes);

    /// @notice Run id, chosen by the operator.
    function run() external view returns (uint64);

    /// @notice The run's cohort, a data contract.
    function cohort() external view returns (address);

    /// @notice The run's rules.
    function spec() external view returns (address);

    /// @notice Digest of the run's rules.
    function specDigest() external view returns (bytes32);

    /// @notice Registry that sealed the cohort.
    function registry() external view returns (address);

    /// @notice Reputation of the cohort, created by this ledger.
    function reputation() external view returns (address);

    /// @notice Gives the members whose contribution to a round was overturned; all of them if the round was.
    function overturnedOf(uint32 round) external view returns (uint256 overturned);

    /// @notice Gives the first final round that was overturned since the last rollback; 0 if none was.
    function taintedFrom() external view returns (uint32 round);

    /// @notice Model root that round 1 started from.
    function initialModel() external view returns (bytes32);

    /// @notice As in `IStakeDomain`: tells how much a guard still has at stake; with too little it cannot settle. Only for the vault.
    function stakeChanged(address holder, uint256 bonded) external;

    /// @notice Contract that may overturn; zero if the run has none.
    function challenge() external view returns (address);

    /// @notice Where the guards' stakes are; zero if the run has no challenge contract.
    function vault() external view returns (address);

    /// @notice Account that may pause the opening of rounds; zero if there is none.
    function guardian() external view returns (address);

    /// @notice Data-request contract; zero if the run has none.
    function dataRequests() external view returns (address);

    /// @notice Account that opens rounds and records merges.
    function aggregator() external view returns (address);

    /// @notice How many of the cohort's last members are guards.
    function guards() external view returns (uint256);

    /// @notice Signer of guard number 0.
    function guardSigner() external view returns (address);

    /// @notice Guards that have enough in the vault to settle, as a bitmap by their numbers; zero in a run without a vault.
    function bondedGuards() external view returns (uint256 bitmap);

    /// @notice Contract that judges this ledger's rounds, created by this ledger: `IJudge`.
    function judge() external view returns (address);

    /// @notice Digest of the model's shape, docs/spec/update.md.
    function shapeDigest() external view returns (bytes32);

    /// @notice Number of values of an update.
    function length() external view returns (uint64);
}
