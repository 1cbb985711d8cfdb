"""Traces of whole rounds: roots, paths, files, and what bad hosts make of them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.settlement import decode_settlement
from guard.signs import SeedSigns
from guard.sketch import Sketch
from guard.spec import trace as spec
from guard.spec.update import tree
from guard.trace import Tracer, leaf_of, state_before
from ledger.blobs import (
    BlobCorruptError,
    BlobKind,
    BlobMissingError,
    BlobNameError,
    BlobStore,
    BlobStoreFault,
    BlobTooLargeError,
)
from ledger.merkle import TreeInputError, tree_depth
from tests.trainer.recorded import Recorded, record
from tests.trainer.toys import attacked, tiny_run
from tests.vectors.load import Case, name_of, raw, section
from trainer.errors import InputError
from trainer.traces import (
    NO_TRACE,
    RoundTraces,
    expected_root,
    load_leaves,
    load_roots,
    path_root,
    round_traces,
    segment_path,
)

digests = st.binary(min_size=32, max_size=32)


@pytest.mark.parametrize("case", section("roundTraces"), ids=name_of)
def test_round_trace_root_golden(case: Case) -> None:
    roots = [raw(root) for root in case["roots"]]
    assert RoundTraces(b"".join(roots), {}).root == raw(case["root"])
    known = {index: root for index, root in enumerate(roots) if root != NO_TRACE}
    assert expected_root(known, list(known), len(roots)) == raw(case["root"])


@pytest.mark.parametrize("case", section("traces"), ids=name_of)
def test_member_trace_root_golden(case: Case) -> None:
    leaves = b"".join(raw(leaf) for leaf in case["leaves"])
    assert round_traces({1: leaves}, 3).roots == NO_TRACE + raw(case["root"]) + NO_TRACE


@given(segments=st.integers(1, 9), members=st.integers(2, 9), data=st.data())
@settings(max_examples=60)
def test_every_leaf_has_a_path_to_the_root_and_no_other_leaf_has_it(
    segments: int, members: int, data: st.DataObject
) -> None:
    of_one = st.lists(digests, min_size=segments, max_size=segments)
    with_word = data.draw(st.sets(st.integers(0, members - 1), min_size=1))
    leaves = {index: data.draw(of_one) for index in sorted(with_word)}
    traces = round_traces({index: b"".join(own) for index, own in leaves.items()}, members)
    roots = [tree(leaves[index]) if index in leaves else NO_TRACE for index in range(members)]
    assert traces.roots == b"".join(roots)
    assert traces.root == spec.round_root(roots)

    index = data.draw(st.sampled_from(sorted(with_word)))
    segment = data.draw(st.integers(0, segments - 1))
    path = segment_path(traces.roots, b"".join(leaves[index]), index, segment)
    depth = tree_depth(segments)
    assert len(path) == depth + tree_depth(members)
    leaf, position = leaves[index][segment], index << depth | segment
    assert path_root(leaf, position, path) == traces.root
    assert path_root(bytes(31) + b"\x01", position, path) != traces.root or leaf == bytes(31) + b"\x01"


def test_path_of_what_is_not_there_is_refused() -> None:
    traces = round_traces({0: b"\x01" * 64, 2: b"\x02" * 64}, 3)
    for index, segment in ((0, 2), (0, -1), (3, 0), (-1, 0)):
        with pytest.raises(TreeInputError):
            segment_path(traces.roots, traces.leaves[0], index, segment)
    for index in (1, 2):
        with pytest.raises(InputError, match=f"member {index}"):
            segment_path(traces.roots, traces.leaves[0], index, 0)
    for outside in (3, -1):
        with pytest.raises(InputError):
            round_traces({outside: bytes(32)}, 3)
    with pytest.raises(TreeInputError):
        round_traces({0: b""}, 3)


def test_expected_root_is_unknown_without_the_bytes_of_one_that_counts() -> None:
    roots = {0: b"\x01" * 32, 2: b"\x02" * 32}
    assert expected_root(roots, [0, 1, 2], 3) is None
    # A root that was derived of one that the settlement has no word of counts for nothing.
    assert expected_root(roots, [2], 3) == spec.round_root([NO_TRACE, NO_TRACE, roots[2]])


class TestFiles:
    @pytest.fixture
    def store(self, tmp_path: Path) -> BlobStore:
        return BlobStore(tmp_path / "blobs")

    @pytest.fixture
    def traces(self, store: BlobStore) -> RoundTraces:
        drawn = np.random.default_rng(1)
        traces = round_traces({0: drawn.bytes(160), 2: drawn.bytes(160)}, 3)
        traces.store(store)
        return traces

    def path(self, store: BlobStore, root: bytes) -> Path:
        return Path(store.location(root, BlobKind.TRACE))

    def test_what_was_stored_is_read(self, store: BlobStore, traces: RoundTraces) -> None:
        roots = load_roots(store, traces.root, 3)
        assert roots == traces.roots
        for index in (0, 2):
            assert load_leaves(store, roots[32 * index :][:32], 5) == traces.leaves[index]

    def test_storing_again_writes_nothing(self, store: BlobStore, traces: RoundTraces) -> None:
        files = sorted(Path(store.url).iterdir())
        before = [(path.name, path.stat().st_mtime_ns, path.stat().st_ino) for path in files]
        traces.store(store)
        after = [(path.name, path.stat().st_mtime_ns, path.stat().st_ino) for path in files]
        assert (len(before), before) == (3, after)

    @pytest.mark.parametrize("keep", [0, 31, 32, 128, 159])
    def test_truncated(self, store: BlobStore, traces: RoundTraces, keep: int) -> None:
        path = self.path(store, traces.roots[:32])
        path.write_bytes(traces.leaves[0][:keep])
        with pytest.raises(BlobCorruptError):
            load_leaves(store, traces.roots[:32], 5)

    def test_longer_is_not_read(self, store: BlobStore, traces: RoundTraces) -> None:
        self.path(store, traces.root).write_bytes(traces.roots + bytes(32))
        with pytest.raises(BlobTooLargeError):
            load_roots(store, traces.root, 3)

    def test_another_root(self, store: BlobStore, traces: RoundTraces) -> None:
        changed = bytearray(traces.leaves[2])
        changed[70] ^= 1
        self.path(store, traces.roots[64:]).write_bytes(changed)
        with pytest.raises(BlobCorruptError) as error:
            load_leaves(store, traces.roots[64:], 5)
        assert error.value.expected_root == traces.roots[64:]
        assert error.value.actual_root == round_traces({0: bytes(changed)}, 2).roots[:32]

    def test_shorter_with_the_same_root(self, store: BlobStore) -> None:
        """Leaves that are zero stand for missing ones: the root alone does not say how many there are."""
        traces = round_traces({0: b"\x07" * 32 + bytes(32), 1: b"\x08" * 64}, 2)
        short = round_traces({0: b"\x07" * 96}, 2)
        padded = round_traces({0: b"\x07" * 96 + bytes(32)}, 2)
        assert short.roots == padded.roots
        traces.store(store)
        self.path(store, padded.roots[:32]).write_bytes(b"\x07" * 96)
        with pytest.raises(BlobCorruptError):
            load_leaves(store, padded.roots[:32], 4)
        assert load_leaves(store, short.roots[:32], 3) == b"\x07" * 96

    def test_missing(self, store: BlobStore, traces: RoundTraces) -> None:
        self.path(store, traces.root).unlink()
        with pytest.raises(BlobMissingError):
            load_roots(store, traces.root, 3)

    def test_link_is_not_followed(self, store: BlobStore, traces: RoundTraces, tmp_path: Path) -> None:
        path = self.path(store, traces.root)
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(BlobStoreFault):
            load_roots(store, traces.root, 3)

    def test_no_trace_is_not_looked_for(self, store: BlobStore) -> None:
        with pytest.raises(InputError, match="no trace"):
            load_roots(store, NO_TRACE, 3)
        with pytest.raises(InputError, match="no trace"):
            load_leaves(store, NO_TRACE, 3)
        with pytest.raises(BlobNameError):
            load_leaves(store, bytes(31), 3)

    def test_disk_that_fails_is_a_fault(self, tmp_path: Path, traces: RoundTraces) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(BlobStoreFault):
            traces.store(BlobStore(tmp_path / "file" / "blobs"))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """Two rounds of an attack with malformed files, of a model that needs several segments."""
    folder = tmp_path_factory.mktemp("traces")
    config = attacked("malformed", out=str(folder / "run"), rounds=2, task="digits_cnn")
    with record(config) as recorded:
        yield recorded


def test_run_posts_and_stores_its_traces(recorded: Recorded) -> None:
    segments, members = -(-recorded.facts.length // 8192), len(recorded.facts.members)
    assert segments > 1
    store = BlobStore(recorded.folder.blobs)
    for history in recorded.histories:
        assert history.verdicts is not None
        assert history.seal is not None
        posted = decode_settlement(history.verdicts.payload, history.seal.presence, members - 1)
        assert [int(worker.status) for worker in posted.workers] == [1, 1, 3, 3]
        assert posted.trace_root == recorded.spec_trace_root(history.round, without=[2, 3])
        roots = load_roots(store, posted.trace_root, members)
        assert roots[64:128] == NO_TRACE * 2
        signs = SeedSigns(history.verdicts.seed)
        for index in (0, 1, members - 1):
            leaves = load_leaves(store, roots[32 * index :][:32], segments)
            update = Path(store.location(recorded.root(history.round, index))).read_bytes()
            last = state_before(update[96:], signs, segments)
            assert leaf_of(last) == leaves[-32:]
            sketch = Sketch(signs)
            Tracer(sketch).update(update[96:])
            reading = posted.anchor if index == members - 1 else posted.workers[index].reading
            assert reading is not None
            assert (sketch.code(), sketch.norm2) == (reading.code, reading.norm2)
    assert recorded.audit().ok


def test_audit_needs_no_trace_files(recorded: Recorded, tmp_path: Path) -> None:
    blobs = recorded.copied_blobs(tmp_path / "blobs")
    for path in blobs.glob("*.hmtr"):
        path.unlink()
    assert recorded.audit(blobs=blobs).ok


def test_audit_without_the_bytes_of_one_member_says_so_once(recorded: Recorded, tmp_path: Path) -> None:
    blobs = recorded.copied_blobs(tmp_path / "blobs")
    Path(BlobStore(blobs).location(recorded.root(1, 0))).unlink()
    found = {(d.round, d.field) for d in recorded.audit(blobs=blobs).differences}
    assert (1, "blob") in found
    assert (1, "trace_root") not in found


def test_run_refuses_to_settle_without_its_traces_in_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full when the traces come: nothing is posted, and the next call goes on."""
    put = BlobStore.put

    def full(self: BlobStore, root: bytes, data: bytes, kind: BlobKind = BlobKind.UPDATE) -> bool:
        if kind == BlobKind.TRACE:
            raise BlobStoreFault("disk full", location=self.url)
        return put(self, root, data, kind)

    config = replace(tiny_run(workers=2, rounds=1), out=str(tmp_path / "run"))
    monkeypatch.setattr(BlobStore, "put", full)
    with pytest.raises(BlobStoreFault), record(config):
        pass
    monkeypatch.setattr(BlobStore, "put", put)
    with record(config) as recorded:
        assert recorded.audit().ok
        assert len(list(recorded.folder.blobs.glob("*.hmtr"))) == 4
