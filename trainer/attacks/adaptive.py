"""Attackers who know the whole gate and its constants, but not the seed that is yet to be drawn.

Both hand in `cos(t) h + sin(t) p` of the longest honest norm: h points along the honest mean, p along the
attackers' label-flip update without its part along h. Under a random projection the score of two updates at
an angle a is on average `256 (1 - 2 a / pi)`, so the angle t decides how much poison passes.

Source: our own; the optimisation follows Fang et al. 2020, "Local model poisoning attacks to Byzantine-robust
federated learning", section 4, with the gate of docs/spec/gate.md in the place of the aggregation rule.
"""

import math

import numpy as np

from trainer.attacks.base import Attack, AttackContext, FloatArray, Forged, Forgery, scaled

COALITION_SHARE = 0.03
"""coalitionThresholdQ16 / 65536: how much more than others two may agree without losing weight."""

MARGIN = 0.15
"""By how much the angle stays below the one at which evidence would begin to pile up, in radians."""


class Adaptive(Attack):
    """Computes in advance the largest angle at which the expected evidence does not grow.

    The gate's evidence stands still at a score of half the yardstick. Attackers take the median cosine of an
    honest update to the mean of the other honest ones for what honest workers have with the anchor, and their
    own noise keeps their likeness below the coalition threshold.
    """

    name = "adaptive"
    poisons = "labels"

    def act(self, context: AttackContext) -> Forgery:
        """Blend at the computed angle."""
        poison, honest = _poison(context), scaled(context.honest_mean(), 1.0)
        own = scaled(context.own - honest * np.float32(context.own @ honest), 1.0)
        hidden = math.sqrt(COALITION_SHARE) * poison + math.sqrt(1 - COALITION_SHARE) * own
        return Forged(_blend(context, scaled(hidden.astype(np.float32), 1.0), _safe_angle(context)))


class Threshold(Attack):
    """Feels its way: more poison while the recorded evidence is low, less when refusal is near.

    It starts at the angle of an honest worker and moves by 0.1 rad a round: on while its evidence is below a
    quarter nat, back by 0.2 rad when it is above. Where nothing is recorded it stays at a right angle less
    0.15 rad.
    """

    name = "threshold"
    poisons = "labels"

    def act(self, context: AttackContext) -> Forgery:
        """Blend at the angle that feedback has led to."""
        angle = math.pi / 2 - MARGIN
        if context.record is not None or context.round_number == 1:
            angle = float(context.memory.get("angle", np.full(1, 0.8, np.float32))[0])
        if context.record is not None:
            angle += 0.1 if context.record.llrs.get(context.worker, 0) < 256 else -0.2
            angle = min(max(angle, 0.2), math.pi - 0.2)
        context.memory["angle"] = np.full(1, angle, np.float32)
        return Forged(_blend(context, _poison(context), angle))


def _poison(context: AttackContext) -> FloatArray:
    """Give the unit vector of the shared label-flip update without its part along the honest mean."""
    honest, shared = scaled(context.honest_mean(), 1.0), context.peer_mean()
    return scaled(shared - honest * np.float32(shared @ honest), 1.0)


def _blend(context: AttackContext, poison: FloatArray, angle: float) -> FloatArray:
    honest = scaled(context.honest_mean(), 1.0)
    mixed = np.float32(math.cos(angle)) * honest + np.float32(math.sin(angle)) * poison
    return scaled(mixed, context.largest_honest_norm())


def _safe_angle(context: AttackContext) -> float:
    """Give the angle to the honest mean at which the expected score is half of an honest one's."""
    cosines = []
    for index, update in context.honest.items():
        others = [other for i, other in context.honest.items() if i != index]
        if others:
            mean = scaled(np.mean(others, axis=0, dtype=np.float32), 1.0)
            cosines.append(float(scaled(update, 1.0) @ mean))
    typical = max(0.0, float(np.median(cosines))) if cosines else 0.5
    # The honest mean lies nearer to the anchor than any honest worker; half the agreement is half the cosine.
    return max(0.0, math.acos(min(1.0, typical / 2)) - MARGIN)
