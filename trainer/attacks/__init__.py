"""Attacks by name: one small file each, with its source."""

from typing import cast

from trainer.attacks.adaptive import Adaptive, Threshold
from trainer.attacks.alie import Alie
from trainer.attacks.backdoor import (
    Backdoor,
    DecorrelatedBackdoorX1,
    DecorrelatedBackdoorX2,
    DecorrelatedBackdoorX4,
    ScaledBackdoor,
)
from trainer.attacks.base import (
    Attack,
    AttackContext,
    CopiedRoot,
    Forged,
    ForgedBytes,
    Forgery,
    PublicRecord,
    scaled,
)
from trainer.attacks.copycat import Copycat
from trainer.attacks.drift import Drift
from trainer.attacks.ipm import Ipm05, Ipm2
from trainer.attacks.label_flip import LabelFlip
from trainer.attacks.malformed import Malformed
from trainer.attacks.mimic import Mimic
from trainer.attacks.min_max import MinMax, MinMaxUnit, MinSum
from trainer.attacks.noise import NoiseX1, NoiseX10
from trainer.attacks.null_space import NullSpace, NullSpaceGuess, NullSpaceX20
from trainer.attacks.replay import Replay
from trainer.attacks.sign_flip import SignFlip, SignFlipX10
from trainer.attacks.sleeper import OnOff, Sleeper, Sleeper40
from trainer.attacks.stale_parent import StaleParent
from trainer.attacks.sybil import Sybil, SybilNoise05, SybilNoise1, SybilNoise2
from trainer.attacks.targeted_flip import TargetedFlip
from trainer.attacks.tiny import Tiny
from trainer.attacks.zero import Zero
from trainer.errors import ConfigError
from trainer.plugins import PluginError, find

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackContext",
    "CopiedRoot",
    "Forged",
    "ForgedBytes",
    "Forgery",
    "PublicRecord",
    "attack_named",
    "scaled",
]

ATTACKS: dict[str, type[Attack]] = {
    attack.name: attack
    for attack in (
        Adaptive,
        Alie,
        Backdoor,
        Copycat,
        DecorrelatedBackdoorX1,
        DecorrelatedBackdoorX2,
        DecorrelatedBackdoorX4,
        Drift,
        Ipm05,
        Ipm2,
        LabelFlip,
        Malformed,
        Mimic,
        MinMax,
        MinMaxUnit,
        MinSum,
        NoiseX1,
        NoiseX10,
        NullSpace,
        NullSpaceGuess,
        NullSpaceX20,
        OnOff,
        Replay,
        ScaledBackdoor,
        SignFlip,
        SignFlipX10,
        Sleeper,
        Sleeper40,
        StaleParent,
        Sybil,
        SybilNoise05,
        SybilNoise1,
        SybilNoise2,
        TargetedFlip,
        Threshold,
        Tiny,
        Zero,
    )
}


def attack_named(name: str) -> Attack | None:
    """Give the attack of this name, None for "none".

    Args:
        name: A key of ATTACKS, the name of an installed plug-in, or "module:class".

    Raises:
        ConfigError: No such attack; the hint names the nearest ones.
    """
    if name == "none":
        return None
    try:
        made = cast(type[Attack], find("attack", name, ATTACKS))()
    except PluginError as error:
        raise ConfigError(str(error), key="attack.name", hint=error.hint) from error
    if not isinstance(made, Attack):
        raise ConfigError(f"attack {name!r} is no trainer.attacks.Attack", key="attack.name")
    return made
