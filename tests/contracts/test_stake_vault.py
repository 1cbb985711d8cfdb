"""StakeVault: every refusal, what the domain hears, and a machine that keeps the books."""

from typing import Any

import pytest
from eth_utils import to_checksum_address
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from web3.contract import Contract

from tests.contracts.support import DEPLOYER, OUTSIDER, RELAYER, Revert, TestChain, address

DELAY_S = 1000
MINIMUM = 5000
NOBODY = "0x" + "00" * 20
CHALLENGE, HOLDER, CHALLENGER = 5, 6, 7
NONE, REVERTS, BURNS_GAS, RETURNS_MUCH, REENTERS, REFUSES_PAYMENT = range(6)


class Vault:
    """A vault, and one domain with code."""

    def __init__(self) -> None:
        self.chain = TestChain(members=2)
        self.contract = self.chain.deploy("StakeVault", MINIMUM, DELAY_S)
        self.domain = self.chain.deploy("TestStakeDomain", self.contract.address, address(CHALLENGE))

    @property
    def f(self) -> Any:
        """The vault's functions."""
        return self.contract.functions

    def call(self, name: str, *arguments: Any) -> Any:
        """Read a view."""
        return getattr(self.f, name)(*arguments).call()

    def do(self, sender: int, name: str, *arguments: Any, value: int = 0) -> Any:
        """Send a transaction that must succeed."""
        return self.chain.send(getattr(self.f, name)(*arguments), sender, value)

    def error(self, sender: int, name: str, *arguments: Any, value: int = 0) -> Revert:
        """Give the error of a call."""
        return self.chain.error(getattr(self.f, name)(*arguments), sender, value)

    def set_vice(self, vice: int, reentry: bytes = b"") -> None:
        """Choose how the domain behaves."""
        self.chain.send(self.domain.functions.setVice(vice, reentry), DEPLOYER)

    def data(self, name: str, *arguments: Any) -> bytes:
        """Give calldata."""
        return bytes.fromhex(getattr(self.f, name)(*arguments)._encode_transaction_data()[2:])

    def paid_to(self, recipient: str) -> int:
        """Wei of an account."""
        return int(self.chain.web3.eth.get_balance(to_checksum_address(recipient)))

    def balance(self) -> int:
        """Wei in the vault."""
        return int(self.chain.web3.eth.get_balance(self.contract.address))

    def books(self) -> tuple[int, int, int]:
        """Give staked, credited and burned wei."""
        return self.call("totalStakedWei"), self.call("totalCreditedWei"), self.call("burnedWei")


@pytest.fixture(scope="module")
def _vault() -> Vault:
    return Vault()


@pytest.fixture
def vault(_vault: Vault) -> Any:
    snapshot = _vault.chain.tester.take_snapshot()
    yield _vault
    _vault.chain.tester.revert_to_snapshot(snapshot)


@pytest.fixture
def staked(vault: Vault) -> Vault:
    vault.do(HOLDER, "deposit", vault.domain.address, address(HOLDER), value=10_001)
    return vault


def refuse(error: Revert, name: str, *arguments: object) -> None:
    assert (error.name, error.arguments) == ("StakeVault" + name, arguments)


def low(number_or_contract: int | Contract) -> str:
    if isinstance(number_or_contract, int):
        return address(number_or_contract).lower()
    return str(number_or_contract.address).lower()


def heard(vault: Vault) -> tuple[str, int, int]:
    """Give whom the domain heard of last, how much is bonded, and how often it heard."""
    f = vault.domain.functions
    return f.lastHolder().call(), f.lastBonded().call(), f.notices().call()


def test_life_of_a_stake(vault: Vault) -> None:
    domain, holder = vault.domain.address, address(HOLDER)
    vault.do(HOLDER, "deposit", domain, holder, value=4000)
    vault.do(OUTSIDER, "deposit", domain, holder, value=2000)
    assert vault.call("stakeOf", domain, holder) == [6000, 0]
    assert heard(vault) == (holder, 6000, 2)
    vault.do(HOLDER, "startUnbonding", domain)
    assert heard(vault) == (holder, 0, 3)
    amount, at = vault.call("stakeOf", domain, holder)
    assert amount == 6000
    assert 0 <= vault.chain.now - (at - DELAY_S) <= 1
    refuse(vault.error(HOLDER, "withdraw", domain), "StillBonded", low(vault.domain), low(HOLDER), at)
    vault.do(HOLDER, "cancelUnbonding", domain)
    assert heard(vault) == (holder, 6000, 4)
    vault.do(HOLDER, "startUnbonding", domain)
    vault.chain.travel(DELAY_S)
    vault.do(HOLDER, "withdraw", domain)
    assert vault.call("stakeOf", domain, holder) == [0, 0]
    assert vault.call("creditOf", holder) == 6000
    assert vault.books() == (0, 6000, 0)
    fresh = to_checksum_address("0x" + "99" * 20)
    vault.do(HOLDER, "claim", fresh)
    assert vault.chain.web3.eth.get_balance(fresh) == 6000
    assert (vault.balance(), vault.books()) == (0, (0, 0, 0))


@pytest.mark.parametrize("is_unbonding", [False, True])
def test_slash_takes_all_and_halves_it_down(staked: Vault, is_unbonding: bool) -> None:
    domain, holder, winner = staked.domain.address, address(HOLDER), address(CHALLENGER)
    if is_unbonding:
        staked.do(HOLDER, "startUnbonding", domain)
        staked.chain.travel(2 * DELAY_S)
    assert staked.chain.web3.eth.call(
        {
            "to": staked.contract.address,
            "from": address(CHALLENGE),
            "data": staked.data("slash", domain, holder, winner),
        }
    ) == (10_001).to_bytes(32, "big")
    staked.do(CHALLENGE, "slash", domain, holder, winner)
    assert staked.books() == (0, 5000, 5001)
    assert staked.call("creditOf", winner) == 5000
    assert staked.call("stakeOf", domain, holder) == [0, 0]
    assert heard(staked)[:2] == (holder, 0)
    # What is gone cannot be taken again, and that is no error: the challenge must go on.
    staked.do(CHALLENGE, "slash", domain, holder, winner)
    assert staked.books() == (0, 5000, 5001)
    staked.do(CHALLENGER, "claim", winner)
    assert staked.balance() == 5001
    refuse(staked.error(HOLDER, "withdraw", domain), "NotUnbonding", low(staked.domain), low(HOLDER))


def test_deposit_refusals(staked: Vault) -> None:
    domain, holder = staked.domain.address, address(HOLDER)
    refuse(staked.error(HOLDER, "deposit", domain, holder), "ZeroDeposit", low(staked.domain), low(HOLDER))
    refuse(staked.error(HOLDER, "deposit", NOBODY, holder, value=1), "ZeroAddress", "domain")
    refuse(staked.error(HOLDER, "deposit", domain, NOBODY, value=1), "ZeroAddress", "holder")
    refuse(staked.error(HOLDER, "credit", NOBODY, value=1), "ZeroAddress", "to")
    staked.do(HOLDER, "startUnbonding", domain)
    at = staked.call("stakeOf", domain, holder)[1]
    for sender, name, arguments, value in (
        (OUTSIDER, "deposit", (domain, holder), 1),
        (HOLDER, "startUnbonding", (domain,), 0),
    ):
        error = staked.error(sender, name, *arguments, value=value)
        refuse(error, "Unbonding", low(staked.domain), low(HOLDER), at)


def test_what_is_not_there_cannot_be_moved(staked: Vault) -> None:
    domain = staked.domain.address
    refuse(staked.error(OUTSIDER, "startUnbonding", domain), "NoStake", low(staked.domain), low(OUTSIDER))
    for name in ("cancelUnbonding", "withdraw"):
        refuse(staked.error(HOLDER, name, domain), "NotUnbonding", low(staked.domain), low(HOLDER))
    refuse(staked.error(HOLDER, "claim", address(HOLDER)), "NoCredit", low(HOLDER))


def test_only_the_domains_challenge_slashes(staked: Vault) -> None:
    domain, holder = staked.domain.address, address(HOLDER)
    for sender in (OUTSIDER, HOLDER, DEPLOYER):
        error = staked.error(sender, "slash", domain, holder, address(OUTSIDER))
        refuse(error, "NotChallenge", low(staked.domain), low(sender), low(CHALLENGE))
    refuse(staked.error(CHALLENGE, "slash", domain, holder, NOBODY), "ZeroAddress", "challenger")
    # A domain without code has no challenge, and hears nothing.
    staked.do(HOLDER, "deposit", address(RELAYER), holder, value=7)
    error = staked.error(RELAYER, "slash", address(RELAYER), holder, holder)
    refuse(error, "NotChallenge", low(RELAYER), low(RELAYER), NOBODY)
    staked.chain.send(staked.domain.functions.setChallenge(NOBODY), DEPLOYER)
    error = staked.error(CHALLENGE, "slash", domain, holder, holder)
    refuse(error, "NotChallenge", low(staked.domain), low(CHALLENGE), NOBODY)


def test_stakes_of_domains_are_apart(staked: Vault) -> None:
    other = staked.chain.deploy("TestStakeDomain", staked.contract.address, address(OUTSIDER))
    staked.do(HOLDER, "deposit", other.address, address(HOLDER), value=70)
    staked.do(OUTSIDER, "slash", other.address, address(HOLDER), address(OUTSIDER))
    assert staked.call("stakeOf", staked.domain.address, address(HOLDER)) == [10_001, 0]
    assert staked.books() == (10_001, 35, 35)


@pytest.mark.parametrize("vice", [REVERTS, BURNS_GAS, RETURNS_MUCH])
def test_a_domain_cannot_keep_a_stake(staked: Vault, vice: int) -> None:
    domain = staked.domain.address
    staked.set_vice(vice)
    gas = staked.do(HOLDER, "startUnbonding", domain)["gasUsed"]
    assert gas < 250_000
    staked.chain.travel(DELAY_S)
    assert staked.do(HOLDER, "withdraw", domain)["gasUsed"] < 250_000
    assert staked.call("creditOf", address(HOLDER)) == 10_001


@pytest.mark.parametrize("vice", [REVERTS, BURNS_GAS, RETURNS_MUCH])
def test_a_domain_cannot_hinder_a_slash(staked: Vault, vice: int) -> None:
    staked.set_vice(vice)
    staked.do(CHALLENGE, "slash", staked.domain.address, address(HOLDER), address(CHALLENGER))
    assert staked.books() == (0, 5000, 5001)


def test_a_domain_may_refuse_what_is_bonded_to_it(staked: Vault) -> None:
    domain = staked.domain.address
    staked.do(HOLDER, "startUnbonding", domain)
    staked.set_vice(REVERTS)
    for name, arguments, value in (
        ("cancelUnbonding", (domain,), 0),
        ("deposit", (domain, address(OUTSIDER)), 1),
    ):
        with pytest.raises(Exception, match="no"):
            getattr(staked.f, name)(*arguments).call({"from": address(HOLDER), "value": value})
    assert staked.books() == (10_001, 0, 0)


def test_nobody_can_starve_the_notice_of_gas(staked: Vault) -> None:
    """With any gas limit, either nothing happens or the domain hears of it."""
    domain, data = staked.domain.address, staked.data("startUnbonding", staked.domain.address)
    outcomes = set()
    for gas in range(40_000, 260_000, 5_000):
        snapshot = staked.chain.tester.take_snapshot()
        sent = staked.chain.web3.eth.send_transaction(
            {"from": address(HOLDER), "to": staked.contract.address, "data": data, "gas": gas}
        )
        done = staked.chain.web3.eth.get_transaction_receipt(sent)["status"] == 1
        is_unbonding = staked.call("stakeOf", domain, address(HOLDER))[1] != 0
        assert done == is_unbonding == (heard(staked)[1] == 0)
        outcomes.add(done)
        staked.chain.tester.revert_to_snapshot(snapshot)
    assert outcomes == {False, True}


def reentries(vault: Vault) -> dict[str, bytes]:
    domain, holder = vault.domain.address, address(HOLDER)
    return {
        "withdraw": vault.data("withdraw", domain),
        "startUnbonding": vault.data("startUnbonding", domain),
        "cancelUnbonding": vault.data("cancelUnbonding", domain),
        "slash": vault.data("slash", domain, holder, domain),
        "claim": vault.data("claim", domain),
        "credit": vault.data("credit", domain),
        "deposit": vault.data("deposit", domain, domain),
    }


@pytest.mark.parametrize(
    "name", ["withdraw", "startUnbonding", "cancelUnbonding", "slash", "claim", "credit", "deposit"]
)
def test_no_way_back_into_the_vault(staked: Vault, name: str) -> None:
    """The domain is holder, challenge and recipient at once, and calls back at every chance."""
    vault, domain = staked, staked.domain
    act = domain.functions.act
    vault.chain.send(domain.functions.setChallenge(domain.address), DEPLOYER)
    vault.chain.send(act(vault.data("deposit", domain.address, domain.address)), DEPLOYER, 500)
    vault.do(OUTSIDER, "credit", domain.address, value=300)
    vault.set_vice(REENTERS, reentries(vault)[name])
    before = vault.paid_to(domain.address)
    vault.chain.send(act(vault.data("claim", domain.address)), DEPLOYER)
    vault.chain.send(act(vault.data("startUnbonding", domain.address)), DEPLOYER)
    vault.chain.send(act(vault.data("cancelUnbonding", domain.address)), DEPLOYER)
    vault.do(OUTSIDER, "deposit", domain.address, domain.address, value=1)
    vault.chain.send(act(vault.data("slash", domain.address, domain.address, address(CHALLENGER))), DEPLOYER)
    assert not domain.functions.hasReentered().call()
    # What the domain saw while it was told was the state after the change.
    assert domain.functions.stakeSeen().call() == 0
    assert vault.paid_to(domain.address) == before + 300
    assert vault.books() == (10_001, 250, 251)
    assert vault.balance() == sum(vault.books())


def test_payment_refused_leaves_the_credit(vault: Vault) -> None:
    vault.do(OUTSIDER, "credit", address(HOLDER), value=300)
    vault.set_vice(REFUSES_PAYMENT)
    error = vault.error(HOLDER, "claim", vault.domain.address)
    refuse(error, "PaymentRefused", low(vault.domain), 300)
    vault.do(HOLDER, "claim", to_checksum_address("0x" + "98" * 20))
    assert vault.chain.web3.eth.get_balance(to_checksum_address("0x" + "98" * 20)) == 300


class Books(RuleBasedStateMachine):
    """The vault next to a small model: nothing is lost or made, and every wei has one owner."""

    PEOPLE = (HOLDER, CHALLENGER, OUTSIDER)

    def __init__(self) -> None:
        super().__init__()
        self.vault = _shared()
        self.snapshot = self.vault.chain.tester.take_snapshot()
        self.stakes: dict[tuple[str, int], int] = {}
        self.unbonding: dict[tuple[str, int], int] = {}
        self.credits: dict[int, int] = {}
        self.burned = 0

    @initialize()
    def start(self) -> None:
        self.domains = (self.vault.domain.address, address(RELAYER))

    def attempt(self, may: bool, sender: int, name: str, *arguments: Any, value: int = 0) -> bool:
        if not may:
            assert self.vault.error(sender, name, *arguments, value=value).name.startswith("StakeVault")
            return False
        self.vault.do(sender, name, *arguments, value=value)
        return True

    @rule(place=st.integers(0, 1), who=st.sampled_from(PEOPLE), value=st.integers(0, 9))
    def deposit(self, place: int, who: int, value: int) -> None:
        key = (self.domains[place], who)
        may = value > 0 and key not in self.unbonding
        if self.attempt(may, OUTSIDER, "deposit", key[0], address(who), value=value):
            self.stakes[key] = self.stakes.get(key, 0) + value

    @rule(place=st.integers(0, 1), who=st.sampled_from(PEOPLE))
    def start_unbonding(self, place: int, who: int) -> None:
        key = (self.domains[place], who)
        may = key in self.stakes and key not in self.unbonding
        if self.attempt(may, who, "startUnbonding", key[0]):
            self.unbonding[key] = self.vault.call("stakeOf", key[0], address(who))[1]

    @rule(place=st.integers(0, 1), who=st.sampled_from(PEOPLE))
    def cancel(self, place: int, who: int) -> None:
        key = (self.domains[place], who)
        if self.attempt(key in self.unbonding, who, "cancelUnbonding", key[0]):
            del self.unbonding[key]

    @rule(place=st.integers(0, 1), who=st.sampled_from(PEOPLE), waits=st.booleans())
    def withdraw(self, place: int, who: int, waits: bool) -> None:
        key = (self.domains[place], who)
        if waits:
            self.vault.chain.travel(DELAY_S + 1)
        may = key in self.unbonding and self.vault.chain.now >= self.unbonding[key]
        if self.attempt(may, who, "withdraw", key[0]):
            del self.unbonding[key]
            self.credits[who] = self.credits.get(who, 0) + self.stakes.pop(key)

    @rule(place=st.integers(0, 1), who=st.sampled_from(PEOPLE), winner=st.sampled_from(PEOPLE))
    def slash(self, place: int, who: int, winner: int) -> None:
        key = (self.domains[place], who)
        if self.attempt(place == 0, CHALLENGE, "slash", key[0], address(who), address(winner)):
            taken = self.stakes.pop(key, 0)
            self.unbonding.pop(key, None)
            self.credits[winner] = self.credits.get(winner, 0) + taken // 2
            self.burned += taken - taken // 2

    @rule(who=st.sampled_from(PEOPLE), value=st.integers(0, 9))
    def credit(self, who: int, value: int) -> None:
        self.vault.do(OUTSIDER, "credit", address(who), value=value)
        self.credits[who] = self.credits.get(who, 0) + value

    @rule(who=st.sampled_from(PEOPLE))
    def claim(self, who: int) -> None:
        fresh = to_checksum_address("0x" + "97" * 20)
        before = self.vault.chain.web3.eth.get_balance(fresh)
        if self.attempt(self.credits.get(who, 0) > 0, who, "claim", fresh):
            assert self.vault.chain.web3.eth.get_balance(fresh) - before == self.credits.pop(who)

    @invariant()
    def every_wei_has_one_owner(self) -> None:
        staked, credited, burned = self.vault.books()
        assert staked == sum(self.stakes.values())
        assert credited == sum(self.credits.values())
        assert burned == self.burned
        assert self.vault.balance() == staked + credited + burned
        for (domain, who), amount in self.stakes.items():
            expected = [amount, self.unbonding.get((domain, who), 0)]
            assert self.vault.call("stakeOf", domain, address(who)) == expected
        for who in self.PEOPLE:
            assert self.vault.call("creditOf", address(who)) == self.credits.get(who, 0)

    def teardown(self) -> None:
        self.vault.chain.tester.revert_to_snapshot(self.snapshot)


_SHARED: list[Vault] = []


def _shared() -> Vault:
    if not _SHARED:
        _SHARED.append(Vault())
    return _SHARED[0]


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=12, stateful_step_count=20, deadline=None)
