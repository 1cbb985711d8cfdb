"""One worker's side of DiLoCo: H inner AdamW steps, and the difference they made.

The parameters of a model live in one flat float32 vector here, in the model's parameter order, and the
module's tensors are views of it. So a pseudo-gradient is one subtraction, AdamW sees one tensor, and what is
hashed, merged and stored is what is trained.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trainer.errors import CheckpointError, InputError, NumericError, TaskError
from trainer.randomness import derive_seed, torch_generator
from trainer.tasks.base import Metric, Task

FloatArray = NDArray[np.float32]

ParameterShapes = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True)
class InnerConfig:
    """The inner optimiser: AdamW.

    Attributes:
        steps: H, inner steps per round, >= 1.
        batch_size: Samples per step, >= 1.
        lr: Learning rate, > 0.
        warmup_steps: Over so many of its first steps, a worker's learning rate rises linearly to lr; >= 0.
        beta1: Decay of the gradient's mean, in [0, 1).
        beta2: Decay of its square, in [0, 1). DiLoCo's 0.95, not torch's 0.999.
        weight_decay: Decoupled weight decay, >= 0.
        grad_clip: Largest norm of a step's gradient, > 0.
    """

    steps: int = 20
    batch_size: int = 32
    lr: float = 8e-3
    warmup_steps: int = 20
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.1
    grad_clip: float = 1.0


class FlatModel:
    """A module whose parameters, and their gradients, are views of two flat vectors.

    Attributes:
        module: The torch module.
        vector: All parameters, float32 [d]; writing to it changes the module.
        gradient: The gradients of all parameters, float32 [d].
        shapes: Name and dimensions of each parameter, in order.

    Raises:
        TaskError: The module has buffers, or parameters that are not float32.
    """

    def __init__(self, module: nn.Module) -> None:
        parameters = dict(module.named_parameters())
        if any(True for _ in module.buffers()):
            raise TaskError("a model may have no buffers: only parameters are merged and hashed")
        if not parameters or any(p.dtype != torch.float32 for p in parameters.values()):
            raise TaskError("every parameter must be float32, and there must be one")
        self.module = module
        self.shapes: ParameterShapes = tuple((name, tuple(p.shape)) for name, p in parameters.items())
        self.vector = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters.values()]))
        self.gradient = torch.zeros_like(self.vector, requires_grad=False)
        self.vector.grad = self.gradient
        start = 0
        for p in parameters.values():
            part = slice(start, start + p.numel())
            p.data = self.vector.data[part].view(p.shape)
            p.grad = self.gradient[part].view(p.shape)
            start += p.numel()

    def load(self, theta: FloatArray) -> None:
        """Overwrite the parameters.

        Raises:
            InputError: Not float32 of the right length.
        """
        if theta.dtype != np.float32 or theta.shape != tuple(self.vector.shape):
            raise InputError(f"need float32 {tuple(self.vector.shape)}, got {theta.dtype} {theta.shape}")
        with torch.no_grad():
            self.vector.copy_(torch.from_numpy(theta))

    def read(self) -> FloatArray:
        """Give a copy of the parameters, float32 [d]."""
        copied: FloatArray = self.vector.detach().numpy().copy()
        return copied


class Worker:
    """An honest trainer: a worker of the cohort, or (owner root_of(k)) guard k making its anchor.

    The inner optimiser's state belongs to the worker, stays with it over the rounds and is never averaged.

    Attributes:
        owner: Whose data it trains on.
        poison: None, or the kind of data poisoning that its batches go through.
    """

    def __init__(
        self,
        task: Task,
        model: FlatModel,
        inner: InnerConfig,
        owner: int,
        seed: int,
        poison: str | None = None,
    ) -> None:
        self.owner = owner
        self.poison = poison
        self._task, self._model, self._inner, self._seed = task, model, inner, seed
        self._restart()

    def train(self, round_number: int, theta: FloatArray) -> FloatArray:
        """Train H steps from theta and give the pseudo-gradient.

        The outcome depends on nothing but theta, this worker's state and (run seed, owner, round); the model
        object, which workers of one process share, is only a workbench.

        Args:
            round_number: The round, >= 1.
            theta: Parameters at the start of the round, float32 [d].

        Returns:
            `theta_before - theta_after`, float32 [d]: old minus new, a descent direction for the outer
            optimiser.

        Raises:
            NumericError: The outcome holds NaN or Inf; the inner optimiser starts afresh next time.

        Source:
            Douillard et al. 2023, "DiLoCo", algorithm 1.
        """
        generator = torch_generator("inner", self._seed, self.owner, round_number)
        self._model.load(theta)
        self._model.module.train()
        with single_thread(), torch.random.fork_rng(devices=[]):
            # For models that draw by themselves, as dropout does.
            torch.manual_seed(derive_seed("model draws", self._seed, self.owner, round_number))
            for _ in range(self._inner.steps):
                self._step(generator)
        gradient: FloatArray = theta - self._model.read()
        if not np.isfinite(gradient).all():
            self._restart()
            raise NumericError(f"worker {self.owner} diverged in round {round_number}")
        return gradient

    def state_tensors(self) -> dict[str, torch.Tensor]:
        """Give the inner optimiser's state: empty at first, then `exp_avg`, `exp_avg_sq` and `step`."""
        return self._optimiser.state()

    def load_state(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over a state that state_tensors() gave.

        Raises:
            CheckpointError: Names or shapes are not those of this model's optimiser.
        """
        self._restart()
        if not tensors:
            return
        shape = self._model.vector.shape
        expected = {"exp_avg": shape, "exp_avg_sq": shape, "step": torch.Size([])}
        if {name: value.shape for name, value in tensors.items()} != expected:
            raise CheckpointError(f"worker {self.owner}: the stored optimiser state does not fit the model")
        self._optimiser.load(tensors)

    def _step(self, generator: torch.Generator) -> None:
        batch = self._task.sample(self.owner, self._inner.batch_size, generator)
        if self.poison is not None:
            batch = self._task.poison(batch, self.poison, generator)
        self._model.gradient.zero_()
        self._task.loss(self._model.module, batch).backward()  # type: ignore[no-untyped-call]
        # Over the first steps the learning rate is still held back.
        warmth = min(1.0, (self._optimiser.steps + 1) / (self._inner.warmup_steps + 1))
        self._optimiser.step(self._inner.lr * warmth)

    def _restart(self) -> None:
        self._optimiser = _AdamW(self._model, self._inner)


class _AdamW:
    """AdamW with a clipped gradient, the same bytes as torch.optim.AdamW after clip_grad_norm_.

    Those two (foreach=False) spend more time on their generality than a small model needs for its whole step.
    """

    def __init__(self, model: FlatModel, inner: InnerConfig) -> None:
        self._model, self._inner = model, inner
        self.steps = 0
        self.mean = torch.zeros_like(model.gradient)
        self.square = torch.zeros_like(model.gradient)

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Clip the gradient and change the parameters."""
        inner, gradient, parameters = self._inner, self._model.gradient, self._model.vector
        norm = torch.linalg.vector_norm(gradient)
        gradient.mul_(torch.clamp(inner.grad_clip / (norm + 1e-6), max=1.0))
        self.steps += 1
        parameters.mul_(1 - lr * inner.weight_decay)
        self.mean.lerp_(gradient, 1 - inner.beta1)
        self.square.mul_(inner.beta2).addcmul_(gradient, gradient, value=1 - inner.beta2)
        bias1, bias2 = 1 - inner.beta1**self.steps, 1 - inner.beta2**self.steps
        denominator = (self.square.sqrt() / bias2**0.5).add_(1e-8)
        parameters.addcdiv_(self.mean, denominator, value=-(lr / bias1))

    def state(self) -> dict[str, torch.Tensor]:
        """Give a copy of the state under torch's names; nothing before the first step."""
        if not self.steps:
            return {}
        return {
            "step": torch.tensor(float(self.steps)),
            "exp_avg": self.mean.clone(),
            "exp_avg_sq": self.square.clone(),
        }

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over a state."""
        self.steps = int(state["step"])
        self.mean, self.square = state["exp_avg"].clone(), state["exp_avg_sq"].clone()


def evaluate(task: Task, model: FlatModel, theta: FloatArray) -> Metric:
    """Test parameters theta, float32 [d], with the task's held-out data."""
    model.load(theta)
    model.module.eval()
    with single_thread():
        return task.evaluate(model.module)


@contextmanager
def single_thread() -> Iterator[None]:
    """Run torch on one thread, so that sums inside it have one order; restore the setting afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
