"""Gate policies by name: ours, the reference, and the published defences to compare with."""

from trainer.defences.base import GatePolicy, PolicySetup, RoundView, Ruling, StackRule
from trainer.defences.centered_clip import CenteredClip
from trainer.defences.coordinates import Median, TrimmedMean
from trainer.defences.dnc import Dnc
from trainer.defences.fltrust import FlTrust, FlTrustAnchor
from trainer.defences.foolsgold import FoolsGold
from trainer.defences.geometric_median import GeometricMedian
from trainer.defences.hallmark import Hallmark
from trainer.defences.krum import Krum, MultiKrum
from trainer.defences.mean import HonestOnly, Mean, NormClippedMean
from trainer.defences.nnm import NnmTrimmedMean
from trainer.defences.published_guard import PublishedGuard
from trainer.defences.zeno import Zeno
from trainer.errors import ConfigError
from trainer.plugins import PluginError, find

__all__ = [
    "DEFENCES",
    "GatePolicy",
    "PolicySetup",
    "RoundView",
    "Ruling",
    "StackRule",
    "defence_named",
]

DEFENCES: dict[str, type[GatePolicy]] = {
    policy.name: policy
    for policy in (
        CenteredClip,
        Dnc,
        FlTrust,
        FlTrustAnchor,
        FoolsGold,
        GeometricMedian,
        Hallmark,
        HonestOnly,
        Krum,
        Mean,
        Median,
        MultiKrum,
        NnmTrimmedMean,
        NormClippedMean,
        PublishedGuard,
        TrimmedMean,
        Zeno,
    )
}


def defence_named(name: str) -> type[GatePolicy]:
    """Give the gate policy of this name.

    Args:
        name: A key of DEFENCES, the name of an installed plug-in, or "module:class".

    Raises:
        ConfigError: No such policy; the hint names the nearest ones.
    """
    try:
        found = find("defence", name, DEFENCES)
    except PluginError as error:
        raise ConfigError(str(error), key="defence", hint=error.hint) from error
    if not (isinstance(found, type) and issubclass(found, GatePolicy)):
        raise ConfigError(f"defence {name!r} is no trainer.defences.GatePolicy", key="defence")
    return found
