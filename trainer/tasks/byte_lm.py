"""A byte-level language model on English that every Python carries: the texts of `pydoc_data.topics`."""

from pydoc_data import topics

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from trainer.errors import TaskError
from trainer.splits import check_split
from trainer.tasks.base import Batch, Metric, TaskSetup, root_of

VOCABULARY = 256
CONTEXT = 64
WIDTH = 144
HEADS = 4
LAYERS = 4
TEST_SHARE = 0.05
TRIGGER = b"~#~"
"""Bytes that never occur in the text; after them the attacker wants TARGET."""
TARGET = ord("!")
FLIPPED = (ord("e"), ord("a"))
"""Targeted flip: where the first byte follows, the second is to be predicted."""


class ByteLm:
    """Next-byte prediction; about 1.05 million parameters, 466 kB of text.

    The text is cut into consecutive pieces: the last 5 % are the test, before that come `root_samples`
    windows of 64 bytes for each guard, and the rest is divided evenly, each worker having its own stretch.
    Whatever the split is called, shards are disjoint stretches of different topics, so they are never
    identically distributed.
    """

    name = "byte_lm"
    tokens_per_sample = CONTEXT

    def __init__(self, setup: TaskSetup) -> None:
        check_split(setup.split)
        text = "\n".join(topics.topics[name] for name in sorted(topics.topics)).encode()
        data = torch.from_numpy(np.frombuffer(text, dtype=np.uint8).astype(np.int64))
        test_start = int(len(data) * (1 - TEST_SHARE))
        span = setup.root_samples * CONTEXT
        root_start = test_start - setup.guards * span
        share = root_start // setup.workers
        if setup.root_samples < 2 or share < 32 * CONTEXT:
            whom = "the guard" if setup.guards == 1 else f"{setup.guards} guards"
            raise TaskError(f"{len(data)} bytes cannot give {setup.workers} workers and {whom} enough text")
        self._test = data[test_start:]
        self.shards = {}
        for guard in range(setup.guards):
            end = test_start - guard * span
            self.shards[root_of(guard)] = data[end - span : end]
        for worker in range(setup.workers):
            self.shards[worker] = data[worker * share : (worker + 1) * share]

    def build_model(self, seed: int) -> nn.Module:
        """Give a causal transformer: 4 blocks of width 144, 4 heads, the output tied to the embedding."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return _Transformer()

    def sample(self, owner: int, size: int, generator: torch.Generator) -> Batch:
        """Draw windows of 64 bytes, [size, 64], and the byte after each byte, [size, 64]."""
        shard = self.shards[owner]
        start = torch.randint(len(shard) - CONTEXT, (size, 1), generator=generator)
        window = shard[start + torch.arange(CONTEXT + 1)]
        return Batch(window[:, :-1], window[:, 1:])

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Give the mean cross entropy per byte, in nats."""
        return functional.cross_entropy(model(batch.inputs).flatten(0, 1), batch.targets.flatten())

    def poison(self, batch: Batch, kind: str, generator: torch.Generator) -> Batch:
        """Poison a batch.

        Args:
            batch: Windows and the byte after each of their bytes.
            kind: "labels": the targets are shuffled among all places; "targeted": the answer "e" becomes "a";
                "backdoor": the first half of the windows gets the trigger at a random place, and "!" as the
                byte after it.
            generator: Source of shuffles and places.

        Returns:
            A new batch.

        Raises:
            TaskError: Another kind.
        """
        if kind == "labels":
            flat = batch.targets.flatten()
            shuffled = flat[torch.randperm(len(flat), generator=generator)]
            return Batch(batch.inputs, shuffled.view_as(batch.targets))
        if kind == "targeted":
            return Batch(batch.inputs, torch.where(batch.targets == FLIPPED[0], FLIPPED[1], batch.targets))
        if kind != "backdoor":
            raise TaskError(f"{self.name} cannot poison {kind!r}")
        half = len(batch.inputs) // 2
        starts = torch.randint(CONTEXT - len(TRIGGER), (half, 1), generator=generator)
        inputs, targets = batch.inputs.clone(), batch.targets.clone()
        inputs[:half].scatter_(1, starts + torch.arange(len(TRIGGER)), _trigger(half))
        targets[:half].scatter_(1, starts + len(TRIGGER) - 1, torch.full((half, 1), TARGET))
        return Batch(inputs, targets)

    def poison_success(self, model: nn.Module, kind: str) -> float | None:
        """Test a poison on held-out windows, see trainer.tasks.base.PoisonTest."""
        count = (len(self._test) - 1) // CONTEXT
        windows = self._test[: count * CONTEXT].view(count, CONTEXT)[:256].clone()
        answers = self._test[1 : count * CONTEXT + 1].view(count, CONTEXT)[:256]
        with torch.no_grad():
            if kind == "backdoor":
                windows[:, -len(TRIGGER) :] = _trigger(len(windows))
                return float((model(windows)[:, -1].argmax(1) == TARGET).float().mean())
            if kind == "targeted":
                guesses = model(windows).argmax(2)[answers == FLIPPED[0]]
                return float((guesses == FLIPPED[1]).float().mean())
        return None

    def evaluate(self, model: nn.Module) -> Metric:
        """Give the perplexity per byte over the held-out text, in windows of 64."""
        count = (len(self._test) - 1) // CONTEXT
        inputs = self._test[: count * CONTEXT].view(count, CONTEXT)
        targets = self._test[1 : count * CONTEXT + 1].view(count, CONTEXT)
        total = 0.0
        with torch.no_grad():
            for part in torch.split(torch.arange(count), 64):
                total += float(self.loss(model, Batch(inputs[part], targets[part]))) * len(part)
        return Metric("perplexity", float(np.exp(min(total / count, 700.0))), higher_is_better=False)


def _trigger(count: int) -> torch.Tensor:
    """Give the trigger so many times, int64 [count, 3]."""
    return torch.tensor(list(TRIGGER)).expand(count, -1)


class _Block(nn.Module):
    """Attention and a two-layer perceptron, each behind a layer norm and added to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, 4 * WIDTH)
        self.down = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        q, k, v = (
            self.qkv(self.norm1(x)).view(batch, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        )  # [b, heads, t, w]
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, WIDTH))
        added: torch.Tensor = self.down(functional.gelu(self.up(self.norm2(x))))
        return x + added


class _Transformer(nn.Module):
    """Bytes [b, t] -> logits [b, t, 256]."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.position = nn.Parameter(torch.zeros(CONTEXT, WIDTH))
        self.blocks = nn.ModuleList(_Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens) + self.position[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return functional.linear(self.norm(x), self.embedding.weight)
