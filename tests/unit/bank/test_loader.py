"""The loader against a slow, obvious reference; resuming, ranks, threads, forks, devices."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from pdiff.bank import Bank, Loader, Stream, collect
from pdiff.bank.manifest import StoreDtype
from pdiff.bank.upload import Upload
from pdiff.common.rng import numpy_generator
from tests.support import MEMBERS, checkpoint

STORED: dict[str, StoreDtype] = {"f32": "F32", "f16": "F16", "bf16": "BF16"}


@pytest.fixture(scope="module")
def banks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bank]:
    """The same bank, its rows stored in three ways."""
    folder = tmp_path_factory.mktemp("banks")
    (folder / "ckpts").mkdir()
    for index in range(MEMBERS):
        save_file(checkpoint(index), folder / "ckpts" / f"{index}.safetensors")
    return {
        name: collect(folder / "ckpts", out=folder / name, store_dtype=dtype)
        for name, dtype in STORED.items()
    }


def stored_rows(bank: Bank) -> np.ndarray:
    """The rows [K, D], by way of the plain safetensors library."""
    shards = [load_file(bank.path / shard.file)["rows"].double() for shard in bank.manifest.shards]
    return torch.cat(shards).numpy()


def normalised(bank: Bank) -> np.ndarray:
    """The rows [K, D], a mean and std a tensor, in f64."""
    rows = stored_rows(bank)
    for t, segment in enumerate(bank.layout.segments):
        part = rows[:, segment.begin : segment.end]
        if segment.log_variance:
            part[:] = np.log(np.maximum(part, 0) / float(bank.statistics["log_scale"][t]) + 0.05)
        part[:] = (part - float(bank.statistics["tensor_mean"][t])) / float(bank.statistics["tensor_std"][t])
    return rows


def shares(loader: Loader, epoch: int) -> list[list[int]]:
    """The members in each batch of an epoch, the slow way."""
    order = numpy_generator(loader.seed, "shuffle", epoch).permutation(len(loader.bank)).tolist()
    size, world = loader.batch_size * loader.world_size, loader.world_size
    batches = []
    while order:
        together, order = order[:size], order[size:]
        if len(together) == size or not loader.drop_last:
            ends = [len(together) * rank // world for rank in range(world + 1)]
            batches.append(together[ends[loader.rank] : ends[loader.rank + 1]])
    return batches


def copies(stream: Iterator[Tensor]) -> list[Tensor]:
    return [batch.clone() for batch in stream]


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.data())
def test_batches_are_those_of_the_reference(banks: dict[str, Bank], data: st.DataObject) -> None:
    bank = banks[data.draw(st.sampled_from(sorted(STORED)))]
    chosen = data.draw(st.lists(st.integers(0, MEMBERS - 1), min_size=1, max_size=20))
    size, world = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 4))
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16]))
    begin, end = sorted(data.draw(st.tuples(*[st.integers(0, bank.dim)] * 2)))
    loader = Loader(
        bank.view(chosen),
        batch_size=size,
        normalizer=bank.normalizer("tensor"),
        seed=9,
        rank=data.draw(st.integers(0, world - 1)),
        world_size=world,
        drop_last=data.draw(st.booleans()) and len(chosen) >= size * world,
        dtype=dtype,
        columns=(begin, end),
        ahead=data.draw(st.integers(1, 4)),
    )
    epoch = data.draw(st.integers(0, 3))
    rows = torch.from_numpy(normalised(bank)[chosen, begin:end]).float().to(dtype)
    expected = [rows[batch] for batch in shares(loader, epoch)]
    found = copies(loader.epoch(epoch))
    assert len(found) == len(loader) == len(expected)
    # Logarithms of two libraries may round differently.
    rtol = 2**-7 if dtype == torch.bfloat16 else 2**-22
    for batch, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(batch, wanted, rtol=rtol, atol=1e-7)
    start = data.draw(st.integers(0, len(expected) + 1))
    rest = copies(loader.epoch(epoch, start=start))
    assert len(rest) == max(len(expected) - start, 0)
    assert all(torch.equal(a, b) for a, b in zip(rest, found[start:], strict=True))


def test_batches_are_those_of_the_bank_to_the_bit(banks: dict[str, Bank]) -> None:
    for bank in banks.values():
        normalizer = bank.normalizer("element")
        order = numpy_generator(4, "shuffle", 1).permutation(MEMBERS)
        for dtype in (torch.float32, torch.bfloat16):
            batches = Loader(bank, batch_size=5, normalizer=normalizer, seed=4, dtype=dtype).epoch(1)
            for step, batch in enumerate(batches):
                rows = order[5 * step : 5 * step + 5]
                assert torch.equal(batch, bank.batch(rows, normalizer, dtype=dtype))


def test_the_ranks_divide_every_batch_whatever_their_number(bank: Bank) -> None:
    def batches(size: int, world: int) -> list[Tensor]:
        loaders = [Loader(bank, batch_size=size, seed=2, rank=r, world_size=world) for r in range(world)]
        return [torch.cat(parts) for parts in zip(*(copies(iter(each)) for each in loaders), strict=True)]

    alone = batches(8, 1)
    assert [len(batch) for batch in alone] == [8, 4]
    for size, world in ((4, 2), (2, 4), (1, 8)):
        assert all(torch.equal(a, b) for a, b in zip(alone, batches(size, world), strict=True))


def test_steps_go_through_the_epochs_from_any_step(bank: Bank) -> None:
    loader = Loader(bank, batch_size=5, seed=1)
    expected = [batch for epoch in range(4) for batch in copies(loader.epoch(epoch))]
    assert not torch.equal(expected[0], expected[3])
    for start in (0, 1, 3, 7):
        found = copies(islice(loader.steps(start), 12 - start))
        assert all(torch.equal(a, b) for a, b in zip(found, expected[start:], strict=True))
    assert torch.equal(torch.cat(expected[:3]).sort(dim=0)[0], bank.batch(range(MEMBERS)).sort(dim=0)[0])
    ordered = Loader(bank, batch_size=5, shuffle=False)
    assert torch.equal(torch.cat(copies(ordered.epoch(7))), bank.batch(range(MEMBERS)))


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_a_batch_is_a_view_of_one_of_few_buffers(bank: Bank, ahead: int) -> None:
    stream = Loader(bank, batch_size=2, ahead=ahead).steps()
    addresses = [next(stream).data_ptr() for _ in range(20)]
    assert len(set(addresses)) == ahead + 1
    assert addresses[: ahead + 1] == addresses[ahead + 1 : 2 * ahead + 2]
    assert stream.waited > 0


def test_the_schedule_is_asked_for_no_more_than_is_needed(bank: Bank) -> None:
    asked: list[int] = []

    def schedule() -> Iterator[np.ndarray]:
        for index in range(MEMBERS):
            asked.append(index)
            yield np.array([index])

    stream = Stream(bank, schedule(), 1, ahead=2)
    assert asked == [0, 1, 2]
    assert torch.equal(next(stream), bank.batch([0]))
    assert asked == [0, 1, 2]
    held = next(stream)
    assert asked == [0, 1, 2, 3]
    assert torch.equal(held, bank.batch([1]))
    assert len(list(stream)) == MEMBERS - 2
    assert list(stream) == []


def test_values_out_of_range_are_refused(bank: Bank) -> None:
    for options, message in (
        ({"batch_size": 0}, "batch_size 0, ahead 2; accepted: 1 or more"),
        ({"ahead": 0}, "ahead 0; accepted: 1 or more"),
        ({"rank": 2, "world_size": 2}, "rank 2 of 2; accepted: 0 <= rank < world_size"),
        ({"batch_size": 7, "world_size": 2, "drop_last": True}, "12 members, not one batch of 14"),
        ({"dtype": torch.float16}, "dtype torch.float16; accepted: torch.float32, torch.bfloat16"),
    ):
        with pytest.raises(ValueError, match=message):
            Loader(bank, **{"batch_size": 4, **options})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0 members, not one batch"):
        Loader(bank.view([]), batch_size=1)
    loader = Loader(bank, batch_size=4)
    for call in (lambda: loader.steps(-1), lambda: loader.epoch(-1), lambda: loader.epoch(0, -1)):
        with pytest.raises(ValueError, match="accepted: 0 or more"):
            call()
    with pytest.raises(ValueError, match=r"columns \[3, 99\)"):
        Loader(bank, batch_size=4, columns=(3, 99)).epoch(0)


def test_an_error_ends_the_stream(bank: Bank) -> None:
    stream = Stream(bank, iter([np.array([0]), np.array([MEMBERS]), np.array([1])]), 1)
    next(stream)
    with pytest.raises(IndexError, match="row 12 is out of range"):
        next(stream)
    assert list(stream) == []

    def broken() -> Iterator[np.ndarray]:
        yield from [np.array([0])] * 3
        raise RuntimeError("no more")

    stream = Stream(bank, broken(), 1)
    next(stream)
    with pytest.raises(RuntimeError, match="no more"):
        next(stream)
    assert list(stream) == []


def test_a_closed_stream_is_at_its_end_and_its_last_batch_stays(bank: Bank) -> None:
    stream = Loader(bank, batch_size=4, shuffle=False).steps()
    batch = next(stream)
    stream.close()
    assert list(stream) == []
    del stream
    assert torch.equal(batch, bank.batch(range(4)))


def test_several_streams_do_not_disturb_one_another(bank: Bank) -> None:
    loader = Loader(bank, batch_size=3)
    expected = [copies(loader.epoch(epoch)) for epoch in range(3)]
    for step, batches in enumerate(zip(*(loader.epoch(epoch) for epoch in range(3)), strict=True)):
        assert all(torch.equal(batch, expected[epoch][step]) for epoch, batch in enumerate(batches))


def test_a_fork_makes_its_own(bank: Bank) -> None:
    body = """
        import os, signal, sys
        from pdiff.bank import Bank, Loader
        from pdiff.common.errors import PdiffError
        loader = Loader(Bank.open(sys.argv[1]), batch_size=4)
        stream = loader.steps()
        first = next(stream).sum().item()
        child = os.fork()
        signal.alarm(30)
        if child == 0:
            try:
                next(stream)
            except PdiffError as error:
                print(error, flush=True)
            assert list(stream) == []
            assert next(loader.steps()).sum().item() == first
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        assert next(stream).sum().item() != first
    """
    command = [sys.executable, "-c", textwrap.dedent(body), str(bank.path)]
    found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert found == "this loader belongs to the process that was forked; make one after the fork\n7\n"


class FakeCuda:
    """What `Upload` asks of CUDA, written down."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def Stream(self, device: torch.device) -> "FakeCuda":  # noqa: N802
        self.device = torch.device(device.type, 0)
        return self

    def Event(self) -> "FakeCuda":  # noqa: N802
        return self

    def stream(self, stream: object) -> nullcontext[None]:
        return nullcontext()

    def current_stream(self, device: torch.device) -> "FakeCuda":
        assert device == self.device, "not that of another GPU"
        return self

    def record(self, stream: object) -> None:
        self.log.append("record")

    def wait_event(self, event: object) -> None:
        self.log.append("wait on the GPU")

    def synchronize(self) -> None:
        self.log.append("wait on the CPU")


def test_an_upload_copies_and_waits_before_the_buffer_is_overwritten(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = FakeCuda()
    for name in ("Stream", "Event", "stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, getattr(cuda, name))
    monkeypatch.setattr(Tensor, "record_stream", lambda tensor, stream: cuda.log.append("keep"))
    stream = Loader(bank, batch_size=4, shuffle=False, ahead=1).steps()
    upload = Upload(torch.device("cpu"), 2)
    assert upload.device == torch.device("cpu", 0)
    monkeypatch.setattr(stream, "_upload", upload)
    batches = [next(stream), next(stream)]
    assert cuda.log == ["record", "wait on the GPU", "keep", "wait on the CPU", *cuda.log[:3]]
    next(stream)
    assert torch.equal(torch.cat(batches), bank.batch(range(8))), "copies stay"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_on_a_gpu_are_those_on_the_cpu(bank: Bank) -> None:
    on_cpu = Loader(bank, batch_size=5).steps()
    on_gpu = Loader(bank, batch_size=5, device="cuda").steps()
    kept = [(next(on_cpu).clone(), next(on_gpu)) for _ in range(50)]
    assert all(torch.equal(a, b.cpu()) for a, b in kept)
