"""Attacks by name: one small file each, with its source."""

import difflib

from trainer.attacks.alie import Alie
from trainer.attacks.base import Attack, AttackContext, CopiedRoot, Forged, ForgedBytes, Forgery
from trainer.attacks.copycat import Copycat
from trainer.attacks.ipm import Ipm05
from trainer.attacks.label_flip import LabelFlip
from trainer.attacks.malformed import Malformed
from trainer.attacks.noise_x10 import NoiseX10
from trainer.attacks.null_space import NullSpace
from trainer.attacks.replay import Replay
from trainer.attacks.sign_flip import SignFlip, SignFlipX10
from trainer.attacks.zero import Zero
from trainer.errors import ConfigError

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackContext",
    "CopiedRoot",
    "Forged",
    "ForgedBytes",
    "Forgery",
    "attack_named",
]

ATTACKS: dict[str, type[Attack]] = {
    attack.name: attack
    for attack in (
        Alie,
        Copycat,
        Ipm05,
        LabelFlip,
        Malformed,
        NoiseX10,
        NullSpace,
        Replay,
        SignFlip,
        SignFlipX10,
        Zero,
    )
}


def attack_named(name: str) -> Attack | None:
    """Give the attack of this name, None for "none".

    Raises:
        ConfigError: No such attack; the hint names the nearest ones.
    """
    if name == "none":
        return None
    if name not in ATTACKS:
        near = difflib.get_close_matches(name, ATTACKS, n=3, cutoff=0.4) or sorted(ATTACKS)
        raise ConfigError(
            f"unknown attack {name!r}", key="attack.name", hint="known: none, " + ", ".join(near)
        )
    return ATTACKS[name]()
