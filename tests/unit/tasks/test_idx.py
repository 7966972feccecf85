import gzip
import struct

import numpy as np
import pytest

from pdiff.common.errors import InputError
from pdiff.tasks.fashion_files import read_idx

VALUES = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)


def idx_bytes(values, magic=0x0803, dims=None):
    dims = values.shape if dims is None else dims
    return struct.pack(f">I{len(dims)}I", magic, *dims) + values.tobytes()


@pytest.fixture
def write(tmp_path):
    def _write(raw, compress=True):
        path = tmp_path / "images.gz"
        path.write_bytes(gzip.compress(raw) if compress else raw)
        return path

    return _write


def test_reads_values_in_their_shape(write):
    np.testing.assert_array_equal(read_idx(write(idx_bytes(VALUES)), (4, 3, 2)), VALUES)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not an idx file"),
        (idx_bytes(VALUES)[:9], "not an idx file"),
        (idx_bytes(VALUES, magic=0x0D03), "not an idx file of unsigned bytes with 3 dimensions"),
        (idx_bytes(VALUES.ravel(), magic=0x0801), "not an idx file of unsigned bytes with 3 dimensions"),
        (idx_bytes(VALUES, dims=(3, 4, 2)), r"holds 3×4×2 values, expected 4×3×2"),
        (idx_bytes(VALUES, dims=(2**32 - 1, 2**32 - 1, 2)), "holds 4294967295×4294967295×2 values"),
        (idx_bytes(VALUES)[:-1], "cut short at 39 bytes, expected 40"),
        (idx_bytes(VALUES) + b"\0", "longer, expected 40 bytes"),
    ],
)
def test_malformed_content_is_refused(write, raw, message):
    path = write(raw)
    with pytest.raises(InputError, match=message) as caught:
        read_idx(path, (4, 3, 2))
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_gzip_is_refused(write):
    with pytest.raises(InputError, match="not a whole gzip file"):
        read_idx(write(idx_bytes(VALUES), compress=False), (4, 3, 2))


def test_a_gzip_file_cut_short_or_damaged_is_refused(write):
    path = write(idx_bytes(VALUES))
    whole = path.read_bytes()
    path.write_bytes(whole[:-12])
    with pytest.raises(InputError, match="not a whole gzip file"):
        read_idx(path, (4, 3, 2))
    path.write_bytes(whole[:-8] + b"\0\0\0\0" + whole[-4:])
    with pytest.raises(InputError, match="not a whole gzip file"):
        read_idx(path, (4, 3, 2))


def test_a_bomb_is_unpacked_no_further_than_needed(write):
    path = write(idx_bytes(VALUES) + bytes(50_000_000))
    with pytest.raises(InputError, match="longer, expected 40 bytes"):
        read_idx(path, (4, 3, 2))
