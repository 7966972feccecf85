"""Streams against a slow, obvious reference; buffers, errors, threads, forks, devices."""

import textwrap
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from itertools import count

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from pdiff.bank import Bank, Stream, collect
from pdiff.bank.manifest import StoreDtype
from pdiff.bank.stream import Upload
from pdiff.common.rng import numpy_generator
from tests import forks
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


def copies(stream: Iterable[Tensor]) -> list[Tensor]:
    return [batch.clone() for batch in stream]


def parts(size: int) -> list[np.ndarray]:
    """The members in their order, cut into batches."""
    return [np.arange(begin, min(begin + size, MEMBERS)) for begin in range(0, MEMBERS, size)]


def endless(size: int) -> Iterator[np.ndarray]:
    """Batches without an end, each of them another."""
    for step in count():
        yield (size * step + np.arange(size)) % MEMBERS


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.data())
def test_batches_are_those_of_the_reference(banks: dict[str, Bank], data: st.DataObject) -> None:
    bank = banks[data.draw(st.sampled_from(sorted(STORED)))]
    size = data.draw(st.integers(1, 7))
    batches = st.lists(st.integers(0, MEMBERS - 1), max_size=size)
    schedule = [np.array(each, dtype=np.int64) for each in data.draw(st.lists(batches, max_size=8))]
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16]))
    begin, end = sorted(data.draw(st.tuples(*[st.integers(0, bank.dim)] * 2)))
    stream = Stream(
        bank,
        schedule,
        size,
        normalizer=bank.normalizer("tensor"),
        dtype=dtype,
        columns=(begin, end),
        ahead=data.draw(st.integers(1, 4)),
    )
    rows = torch.from_numpy(normalised(bank)[:, begin:end]).float().to(dtype)
    # Logarithms of two libraries may round differently.
    rtol = 2**-7 if dtype == torch.bfloat16 else 2**-22
    for batch, indices in zip(copies(stream), schedule, strict=True):
        torch.testing.assert_close(batch, rows[torch.from_numpy(indices)], rtol=rtol, atol=1e-7)


def test_batches_are_those_of_the_bank_to_the_bit(banks: dict[str, Bank]) -> None:
    order = numpy_generator(4, "shuffle", 1).permutation(MEMBERS)
    schedule = [order[begin : begin + 5] for begin in range(0, MEMBERS, 5)]
    for bank in banks.values():
        normalizer = bank.normalizer("element")
        for dtype in (torch.float32, torch.bfloat16):
            batches = Stream(bank, schedule, 5, normalizer=normalizer, dtype=dtype)
            for batch, rows in zip(batches, schedule, strict=True):
                assert torch.equal(batch, bank.batch(rows, normalizer, dtype=dtype))


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_a_batch_is_a_view_of_one_of_few_buffers(bank: Bank, ahead: int) -> None:
    stream = Stream(bank, endless(2), 2, ahead=ahead)
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
    for size, options, message in (
        (0, {}, "size 0, ahead 2; accepted: 1 or more"),
        (4, {"ahead": 0}, "ahead 0; accepted: 1 or more"),
        (4, {"dtype": torch.float16}, "dtype torch.float16; accepted: torch.float32, torch.bfloat16"),
        (4, {"columns": (3, 99)}, r"columns \[3, 99\)"),
    ):
        with pytest.raises(ValueError, match=message):
            Stream(bank, parts(4), size, **options)  # type: ignore[arg-type]


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
    stream = Stream(bank, endless(4), 4)
    batch = next(stream)
    stream.close()
    assert list(stream) == []
    del stream
    assert torch.equal(batch, bank.batch(range(4)))


def test_several_streams_do_not_disturb_one_another(bank: Bank) -> None:
    schedules = [[(indices + offset) % MEMBERS for indices in parts(3)] for offset in range(3)]
    expected = [copies(Stream(bank, schedule, 3)) for schedule in schedules]
    streams = [Stream(bank, schedule, 3) for schedule in schedules]
    for step, batches in enumerate(zip(*streams, strict=True)):
        assert all(torch.equal(batch, expected[which][step]) for which, batch in enumerate(batches))


def test_a_fork_makes_its_own(bank: Bank) -> None:
    body = """
        import os, signal, sys
        import numpy as np
        from pdiff.bank import Bank, Stream
        from pdiff.common.errors import PdiffError
        bank = Bank.open(sys.argv[1])
        schedule = [np.arange(4), *[np.arange(4, 8)] * 9]
        stream = Stream(bank, schedule, 4)
        first = next(stream).sum().item()
        child = os.fork()
        signal.alarm(30)
        if child == 0:
            try:
                next(stream)
            except PdiffError as error:
                print(error, flush=True)
            assert list(stream) == []
            assert next(Stream(bank, schedule, 4)).sum().item() == first
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        assert next(stream).sum().item() != first
    """
    done = forks.run(textwrap.dedent(body), bank.path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "this loader belongs to the process that was forked; make one after the fork\n7\n"


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
    stream = Stream(bank, endless(4), 4, ahead=1)
    upload = Upload(torch.device("cpu"), 2)
    assert upload.device == torch.device("cpu", 0)
    monkeypatch.setattr(stream, "_upload", upload)
    batches = [next(stream), next(stream)]
    assert cuda.log == ["record", "wait on the GPU", "keep", "wait on the CPU", *cuda.log[:3]]
    next(stream)
    assert torch.equal(torch.cat(batches), bank.batch(range(8))), "copies stay"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_on_a_gpu_are_those_on_the_cpu(bank: Bank) -> None:
    on_cpu = Stream(bank, endless(5), 5)
    on_gpu = Stream(bank, endless(5), 5, device="cuda")
    kept = [(next(on_cpu).clone(), next(on_gpu)) for _ in range(50)]
    assert all(torch.equal(a, b.cpu()) for a, b in kept)
