"""The registry: who may join, leave and be sealed into a cohort."""

import pytest
from eth_utils import keccak
from web3.logs import DISCARD

from tests.contracts.support import (
    BOND_WEI,
    DEPLOYER,
    OUTSIDER,
    UNBONDING_S,
    Actor,
    Registry,
    Revert,
    actor,
    address,
    canonical,
    sign_compact,
)

NONE, ACTIVE, EXITING = 0, 1, 2
ZERO = "0x" + "00" * 20
NEW = actor(7)


def refuse(error: Revert, name: str, *arguments: object) -> None:
    assert (error.name, error.arguments) == (name, arguments)


def test_join_and_views(registry: Registry) -> None:
    functions = registry.contract.functions
    assert functions.memberOf(NEW.identity).call() == (ZERO, NONE, 0, 0)
    registry.join(NEW)
    assert functions.memberOf(NEW.identity).call() == (NEW.signer, ACTIVE, 0, BOND_WEI)
    assert functions.identityOf(NEW.signer).call() == NEW.identity
    assert functions.isActive(NEW.identity).call()
    assert not functions.isActive(address(OUTSIDER)).call()
    assert functions.minBondWei().call() == BOND_WEI
    assert functions.unbondingDelayS().call() == UNBONDING_S


def test_join_refusals(registry: Registry) -> None:
    chain, functions = registry.chain, registry.contract.functions
    proof = registry.proof(NEW.identity, NEW.signer, NEW.signer_key)
    refuse(
        chain.error(functions.join(NEW.signer, proof), NEW.identity_key, BOND_WEI - 1),
        "WorkerRegistryBondTooSmall",
        BOND_WEI - 1,
        BOND_WEI,
    )
    # Another identity's proof, another key's, another domain's, none.
    other = Registry.deploy(chain)
    for bad in (
        registry.proof(address(OUTSIDER), NEW.signer, NEW.signer_key),
        registry.proof(NEW.identity, NEW.signer, NEW.identity_key),
        other.proof(NEW.identity, NEW.signer, NEW.signer_key),
        b"",
        bytes(65),
        sign_compact(keccak(b""), NEW.signer_key),
    ):
        refuse(
            chain.error(functions.join(NEW.signer, bad), NEW.identity_key, BOND_WEI),
            "WorkerRegistryWrongProof",
            NEW.identity.lower(),
            NEW.signer.lower(),
        )
    assert chain.error(functions.join(ZERO, bytes(65)), NEW.identity_key, BOND_WEI).name == (
        "WorkerRegistryWrongProof"
    )
    taken = registry.proof(NEW.identity, actor(0).signer, actor(0).signer_key)
    refuse(
        chain.error(functions.join(actor(0).signer, taken), NEW.identity_key, BOND_WEI),
        "WorkerRegistrySignerTaken",
        actor(0).signer.lower(),
        actor(0).identity.lower(),
    )
    again = registry.proof(actor(0).identity, actor(0).signer, actor(0).signer_key)
    refuse(
        chain.error(functions.join(actor(0).signer, again), actor(0).identity_key, BOND_WEI),
        "WorkerRegistryWrongStatus",
        actor(0).identity.lower(),
        ACTIVE,
        NONE,
    )


def test_rotation_keeps_the_old_key_bound(registry: Registry) -> None:
    chain, functions = registry.chain, registry.contract.functions
    member = actor(0)
    cohort = registry.seal_cohort([actor(0), actor(1)])
    proof = registry.proof(member.identity, NEW.signer, NEW.signer_key)
    receipt = chain.send(functions.rotateSigner(NEW.signer, proof), member.identity_key)
    [event] = registry.contract.events.SignerRotated().process_receipt(receipt, errors=DISCARD)
    assert (event["args"]["oldSigner"], event["args"]["newSigner"]) == (member.signer, NEW.signer)
    assert functions.memberOf(member.identity).call()[0] == NEW.signer
    assert functions.identityOf(member.signer).call() == member.identity
    # The sealed cohort keeps the old key, a new one has the new.
    assert entries(registry, cohort)[0] == (member.identity, member.signer)
    assert entries(registry, registry.seal_cohort([actor(0), actor(1)]))[0] == (member.identity, NEW.signer)
    stolen = registry.proof(actor(8).identity, member.signer, member.signer_key)
    error = chain.error(functions.join(member.signer, stolen), actor(8).identity_key, BOND_WEI)
    assert error.name == "WorkerRegistrySignerTaken"
    back = registry.proof(member.identity, member.signer, member.signer_key)
    chain.send(functions.rotateSigner(member.signer, back), member.identity_key)
    refuse(
        chain.error(functions.rotateSigner(NEW.signer, proof)),
        "WorkerRegistryWrongStatus",
        address(OUTSIDER).lower(),
        NONE,
        ACTIVE,
    )


def test_exit_pays_after_the_delay_and_allows_a_new_start(registry: Registry) -> None:
    chain, functions, member = registry.chain, registry.contract.functions, actor(1)
    withdraw = functions.withdraw(address(OUTSIDER))
    refuse(
        chain.error(withdraw, member.identity_key),
        "WorkerRegistryWrongStatus",
        member.identity.lower(),
        ACTIVE,
        EXITING,
    )
    chain.send(functions.startExit(), member.identity_key)
    at = functions.memberOf(member.identity).call()[2]
    assert not functions.isActive(member.identity).call()
    refuse(
        chain.error(functions.sealCohort([member.identity], [actor(2).identity])),
        "WorkerRegistryWrongStatus",
        member.identity.lower(),
        EXITING,
        ACTIVE,
    )
    assert chain.error(functions.startExit(), member.identity_key).name == "WorkerRegistryWrongStatus"
    refuse(
        chain.error(withdraw, member.identity_key), "WorkerRegistryStillBonded", member.identity.lower(), at
    )
    chain.travel(at - chain.now)
    before = chain.web3.eth.get_balance(address(OUTSIDER))
    chain.send(withdraw, member.identity_key)
    assert chain.web3.eth.get_balance(address(OUTSIDER)) == before + BOND_WEI
    assert functions.memberOf(member.identity).call() == (ZERO, NONE, 0, 0)
    assert chain.error(withdraw, member.identity_key).name == "WorkerRegistryWrongStatus"
    registry.join(member)
    assert functions.isActive(member.identity).call()


def test_a_contract_may_own_and_sign(registry: Registry) -> None:
    chain, functions = registry.chain, registry.contract.functions
    wallet = chain.deploy("TestWallet", address(OUTSIDER), value=0)
    # The wallet is identity and, by ERC-1271 with its owner's key, signer.
    proof = registry.proof(wallet.address, wallet.address, OUTSIDER)
    data = registry.contract.encode_abi("join", args=[wallet.address, proof])
    chain.send(wallet.functions.forward(registry.contract.address, data), DEPLOYER, BOND_WEI)
    assert functions.isActive(wallet.address).call()
    exit_data = registry.contract.encode_abi("startExit", args=[])
    chain.send(wallet.functions.forward(registry.contract.address, exit_data), DEPLOYER)
    chain.travel(UNBONDING_S + 1)
    chain.send(wallet.functions.setRefusesMoney(True), DEPLOYER)
    refund = registry.contract.encode_abi("withdraw", args=[wallet.address])
    refuse(
        chain.error(wallet.functions.forward(registry.contract.address, refund)),
        "WorkerRegistryPaymentRefused",
        wallet.address.lower(),
        BOND_WEI,
    )
    chain.send(wallet.functions.setRefusesMoney(False), DEPLOYER)
    chain.send(wallet.functions.forward(registry.contract.address, refund), DEPLOYER)
    assert chain.web3.eth.get_balance(wallet.address) == BOND_WEI


def entries(registry: Registry, cohort: str) -> list[tuple[str, str]]:
    code = bytes(registry.chain.web3.eth.get_code(registry.chain.web3.to_checksum_address(cohort)))
    assert code[0] == 0
    cut = [code[i : i + 20] for i in range(1, len(code), 20)]
    checksum = registry.chain.web3.to_checksum_address
    return [(checksum(cut[i]), checksum(cut[i + 1])) for i in range(0, len(cut), 2)]


@pytest.mark.parametrize(("count", "guards"), [(2, 1), (3, 1), (4, 1), (3, 2), (4, 3)])
def test_cohort_code(registry: Registry, count: int, guards: int) -> None:
    members: list[Actor] = [actor(i) for i in reversed(range(count))]
    functions = registry.contract.functions
    receipt = registry.chain.send(
        functions.sealCohort(
            [m.identity for m in members[:-guards]], [m.identity for m in members[-guards:]]
        ),
        OUTSIDER,
    )
    [event] = registry.contract.events.CohortSealed().process_receipt(receipt, errors=DISCARD)
    cohort = event["args"]["cohort"]
    assert entries(registry, cohort) == [(m.identity, m.signer) for m in members]
    packed = b"".join(canonical(m.identity) + canonical(m.signer) for m in members)
    assert event["args"] == {
        "cohort": cohort,
        "workers": count - guards,
        "guards": guards,
        "members": keccak(packed),
    }
    assert functions.isCohort(cohort).call()
    assert not functions.isCohort(registry.contract.address).call()


def test_cohort_refusals(registry: Registry) -> None:
    chain, functions = registry.chain, registry.contract.functions
    a, b = actor(0).identity, actor(1).identity
    c = actor(2).identity
    for workers, guards in (([a, a], [b]), ([a, b], [a]), ([a, b, a], [c]), ([b], [a, a]), ([b], [a, c, a])):
        refuse(chain.error(functions.sealCohort(workers, guards)), "WorkerRegistryDuplicateMember", a.lower())
    for workers, guards in (([], [a]), ([a], []), ([a] * 256, [b]), ([a] * 242, [b] * 15), ([a], [b] * 256)):
        refuse(
            chain.error(functions.sealCohort(workers, guards)),
            "WorkerRegistryWrongCohortSize",
            len(workers),
            len(guards),
        )
    stranger = address(OUTSIDER)
    for workers, guards in (([stranger], [a]), ([a], [stranger]), ([a], [b, stranger])):
        refuse(
            chain.error(functions.sealCohort(workers, guards)),
            "WorkerRegistryWrongStatus",
            stranger.lower(),
            NONE,
            ACTIVE,
        )
