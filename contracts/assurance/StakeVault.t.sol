// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {StakeVault} from "../src/StakeVault.sol";
import {IStakeDomain} from "../src/interfaces/IStakeVault.sol";

interface Vm {
    function deal(address account, uint256 amount) external;
    function warp(uint256 time) external;
}

Vm constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

/// @dev A domain that names its challenge; one of the two calls back into the vault with whatever it hears.
contract Domain is IStakeDomain {
    StakeVault private immutable _vault;
    address public override challenge;
    bool private immutable _reenters;
    bool public hasReentered;

    constructor(StakeVault vault, bool reenters) {
        _vault = vault;
        _reenters = reenters;
    }

    function setChallenge(address challenge_) external {
        require(challenge == address(0));
        challenge = challenge_;
    }

    function stakeChanged(address holder, uint256) external override {
        if (!_reenters) return;
        try _vault.slash(address(this), holder, holder) returns (uint256) {
            hasReentered = true;
        } catch {}
        try _vault.startUnbonding(address(this)) {
            hasReentered = true;
        } catch {}
    }
}

/// @dev What all who deal with the vault have: money, and the books of what they paid and got.
abstract contract Party {
    StakeVault internal immutable _vault;
    address[2] internal _domains;
    address[] internal _holders;
    uint256 public paid;
    uint256 public received;
    /// @notice Set when the vault let somebody do what it may not.
    bool public hasCheated;

    constructor(StakeVault vault, address[2] memory domains) {
        _vault = vault;
        _domains = domains;
    }

    receive() external payable {
        received += msg.value;
        _onReceive();
    }

    function meet(address[] calldata holders) external {
        require(_holders.length == 0);
        _holders = holders;
    }

    function _onReceive() internal virtual {}
}

/// @dev Pays for itself and for others, and takes out what is its own, too early when it can.
contract Depositor is Party {
    constructor(StakeVault vault, address[2] memory domains) Party(vault, domains) {}

    function deposit(uint256 domain, uint256 holder, uint64 amount) external {
        _vault.deposit{value: amount}(_domains[domain % 2], _holders[holder % _holders.length]);
        paid += amount;
    }

    function credit(uint256 holder, uint64 amount) external {
        _vault.credit{value: amount}(_holders[holder % _holders.length]);
        paid += amount;
    }

    function startUnbonding(uint256 domain) external {
        _vault.startUnbonding(_domains[domain % 2]);
    }

    function cancelUnbonding(uint256 domain) external {
        _vault.cancelUnbonding(_domains[domain % 2]);
    }

    function withdraw(uint256 domain, bool waits) external {
        address of_ = _domains[domain % 2];
        (uint256 amount, uint40 withdrawableAt) = _vault.stakeOf(of_, address(this));
        if (waits && withdrawableAt > block.timestamp) VM.warp(withdrawableAt);
        uint256 creditBefore = _vault.creditOf(address(this));
        _vault.withdraw(of_);
        if (withdrawableAt == 0 || block.timestamp < withdrawableAt) hasCheated = true;
        if (_vault.creditOf(address(this)) != creditBefore + amount) hasCheated = true;
    }

    function claim() external {
        uint256 owed = _vault.creditOf(address(this));
        uint256 before = received;
        _vault.claim(payable(address(this)));
        if (received != before + owed || _vault.creditOf(address(this)) != 0) hasCheated = true;
    }
}

/// @dev Takes its payments by calling the vault again.
contract Reenterer is Depositor {
    constructor(StakeVault vault, address[2] memory domains) Depositor(vault, domains) {}

    function _onReceive() internal override {
        for (uint256 i = 0; i < 2; ++i) {
            try _vault.claim(payable(address(this))) {
                hasCheated = true;
            } catch {}
            try _vault.withdraw(_domains[i]) {
                hasCheated = true;
            } catch {}
            try _vault.startUnbonding(_domains[i]) {
                hasCheated = true;
            } catch {}
            try _vault.credit(address(this)) {
                hasCheated = true;
            } catch {}
        }
    }
}

/// @dev The challenge of domain 0, that slashes whomever it likes there and tries it elsewhere.
contract Slasher is Depositor {
    constructor(StakeVault vault, address[2] memory domains) Depositor(vault, domains) {}

    function slash(uint256 holder, uint256 challenger) external {
        address of_ = _holders[holder % _holders.length];
        address to = _holders[challenger % _holders.length];
        (uint256 amount,) = _vault.stakeOf(_domains[0], of_);
        uint256 creditBefore = _vault.creditOf(to);
        uint256 burnedBefore = _vault.burnedWei();
        uint256 slashed = _vault.slash(_domains[0], of_, to);
        bool isRight = slashed == amount && _vault.creditOf(to) == creditBefore + amount / 2
            && _vault.burnedWei() == burnedBefore + amount - amount / 2;
        if (!isRight) hasCheated = true;
    }

    function slashElsewhere(uint256 holder) external {
        _vault.slash(_domains[1], _holders[holder % _holders.length], address(this));
        hasCheated = true;
    }
}

/// @dev Owns nothing and tries to take something.
contract Thief is Party {
    constructor(StakeVault vault, address[2] memory domains) Party(vault, domains) {}

    function claim() external {
        _vault.claim(payable(address(this)));
        hasCheated = true;
    }

    function withdraw(uint256 domain) external {
        _vault.withdraw(_domains[domain % 2]);
        hasCheated = true;
    }

    function slash(uint256 domain, uint256 holder) external {
        _vault.slash(_domains[domain % 2], _holders[holder % _holders.length], address(this));
        hasCheated = true;
    }

    /// @dev As a domain of its own, whose challenge it is.
    function slashForItself(uint256 holder) external {
        if (_vault.slash(address(this), _holders[holder % _holders.length], address(this)) != 0) hasCheated = true;
    }

    function challenge() external view returns (address) {
        return address(this);
    }
}

contract Bomb {
    constructor(address payable target) payable {
        selfdestruct(target);
    }
}

/// @dev Forces ether upon the vault.
contract Forcer {
    StakeVault private immutable _vault;
    uint256 public forced;

    constructor(StakeVault vault) {
        _vault = vault;
    }

    function force(uint64 amount) external {
        new Bomb{value: amount}(payable(address(_vault)));
        forced += amount;
    }

    function send(uint64 amount) external {
        (bool taken,) = address(_vault).call{value: amount}("");
        require(taken);
        forced += amount;
    }
}

/// @dev Actors with one vice each, in any order: every wei has one owner, and only owners take money out.
contract StakeVaultTest {
    uint40 private constant DELAY_S = 1000;

    StakeVault private _vault;
    Domain[2] private _domains;
    Party[] private _parties;
    Depositor[] private _holders;
    Forcer private _forcer;
    Thief private _thief;

    function setUp() external {
        _vault = new StakeVault(5000, DELAY_S);
        _domains = [new Domain(_vault, false), new Domain(_vault, true)];
        address[2] memory domains = [address(_domains[0]), address(_domains[1])];
        Slasher slasher = new Slasher(_vault, domains);
        _holders = [
            new Depositor(_vault, domains),
            new Depositor(_vault, domains),
            new Reenterer(_vault, domains),
            Depositor(payable(address(slasher)))
        ];
        _thief = new Thief(_vault, domains);
        _forcer = new Forcer(_vault);
        _domains[0].setChallenge(address(slasher));
        _domains[1].setChallenge(address(_domains[1]));
        address[] memory holders = new address[](_holders.length);
        for (uint256 i = 0; i < holders.length; ++i) {
            holders[i] = address(_holders[i]);
            _parties.push(_holders[i]);
        }
        _parties.push(_thief);
        for (uint256 i = 0; i < _parties.length; ++i) {
            _parties[i].meet(holders);
            VM.deal(address(_parties[i]), 1e9 ether);
        }
        VM.deal(address(_forcer), 1e9 ether);
    }

    /// @dev Read by forge: who is called at random.
    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](_parties.length + 1);
        for (uint256 i = 0; i < _parties.length; ++i) {
            targets[i] = address(_parties[i]);
        }
        targets[_parties.length] = address(_forcer);
    }

    function invariant_everyWeiHasOneOwner() external view {
        uint256 staked;
        uint256 credited;
        uint256 paid;
        uint256 received;
        for (uint256 i = 0; i < _holders.length; ++i) {
            address holder = address(_holders[i]);
            for (uint256 d = 0; d < 2; ++d) {
                (uint256 amount, uint40 withdrawableAt) = _vault.stakeOf(address(_domains[d]), holder);
                staked += amount;
                assert(amount != 0 || withdrawableAt == 0);
            }
            credited += _vault.creditOf(holder);
            paid += _holders[i].paid();
            received += _holders[i].received();
        }
        assert(staked == _vault.totalStakedWei());
        assert(credited == _vault.totalCreditedWei());
        uint256 owned = staked + credited + _vault.burnedWei();
        assert(paid == received + owned);
        assert(address(_vault).balance == owned + _forcer.forced());
    }

    function invariant_onlyOwnersTakeMoneyOut() external view {
        for (uint256 i = 0; i < _parties.length; ++i) {
            assert(!_parties[i].hasCheated());
        }
        assert(_thief.received() == 0 && _vault.creditOf(address(_thief)) == 0);
        assert(!_domains[0].hasReentered() && !_domains[1].hasReentered());
    }
}
