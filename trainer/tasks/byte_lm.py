"""A byte-level language model on English that every Python carries: the texts of `pydoc_data.topics`."""

from pydoc_data import topics

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from trainer.errors import TaskError
from trainer.splits import check_split
from trainer.tasks.base import ROOT, Batch, Metric, TaskSetup

VOCABULARY = 256
CONTEXT = 64
WIDTH = 144
HEADS = 4
LAYERS = 4
TEST_SHARE = 0.05


class ByteLm:
    """Next-byte prediction; about 1.05 million parameters, 466 kB of text.

    The text is cut into consecutive pieces: the last 5 % are the test, before that come `root_samples`
    windows of 64 bytes for the guard, and the rest is divided evenly, each worker having its own stretch.
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
        root_start = test_start - setup.root_samples * CONTEXT
        share = root_start // setup.workers
        if setup.root_samples < 2 or share < 32 * CONTEXT:
            raise TaskError(
                f"{len(data)} bytes cannot give {setup.workers} workers and the guard enough text"
            )
        self._test = data[test_start:]
        self.shards = {ROOT: data[root_start:test_start]}
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
        """Shuffle the targets among all places of the batch."""
        if kind != "labels":
            raise TaskError(f"{self.name} cannot poison {kind!r}")
        flat = batch.targets.flatten()
        shuffled = flat[torch.randperm(len(flat), generator=generator)]
        return Batch(batch.inputs, shuffled.view_as(batch.targets))

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
