"""Damaged weight files: cut, with a bit flipped, or no weights at all; what is no damage is read."""

import importlib
from collections import Counter

import pytest
import safetensors.numpy
from weights.forged import claim, entry
from weights.weight_files import KINDS, READERS, TENSORS, bits_of, files, refused

from parity import ParityError, State
from parity.weights.checkpoint import open_weights, read_weights


@KINDS
def test_a_truncated_file_is_refused_wherever_it_was_cut(kind, tmp_path):
    path, whole = files(tmp_path)[kind]
    assert bits_of(READERS[path.suffix](path)) == bits_of(TENSORS)
    for cut in range(0, len(whole), max(1, len(whole) // 400)):
        path.write_bytes(whole[:cut])
        with pytest.raises(ParityError) as caught:
            READERS[path.suffix](path)
        assert len(str(caught.value).splitlines()) == 1


def flipped(path, whole, read):
    """Flip one bit in each byte, every bit within the numbers; yield whether each was in them, and whether it shows.

    That is True or False, or None where the file was refused.
    """
    starts = [(whole.index(array.tobytes()), array.nbytes) for array in TENSORS.values()]
    numbers = {byte for start, size in starts for byte in range(start, start + size)}
    for byte in range(len(whole)):
        for bit in range(8) if byte in numbers else (byte % 8,):
            content = bytearray(whole)
            content[byte] ^= 1 << bit
            path.write_bytes(content)
            shows, message = None, ""
            try:
                shows = bits_of(read(path)) != bits_of(TENSORS)
            except ParityError as error:
                message = str(error)
            assert len(message.splitlines()) == (shows is None)
            yield byte in numbers, shows


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["ours as Paddle's", "Paddle", "safetensors", "torch, legacy"])
def test_a_flipped_bit_in_a_file_without_a_sum_is_another_array_or_refused_or_harmless(kind, tmp_path):
    path, whole = files(tmp_path)[kind]
    found = Counter(flipped(path, whole, READERS[path.suffix]))
    assert {shows for inside, shows in found if inside} == {True}
    assert found[False, None] > 100


def test_a_flipped_bit_in_our_own_file_is_refused_or_harmless(tmp_path):
    path, whole = files(tmp_path)["State"]
    found = Counter(flipped(path, whole, State.load))
    assert {shows for inside, shows in found if inside} == {None}
    assert found[False, True] == 0
    assert found[False, None] > 100


def test_a_flipped_bit_in_a_torch_zip_is_refused_or_harmless(tmp_path):
    path, whole = files(tmp_path)["torch"]
    found = Counter(flipped(path, whole, read_weights))
    assert {shows for inside, shows in found if inside} == {None}
    assert found[False, True] == 0
    assert found[False, None] > 100


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("ending", READERS)
def test_what_is_no_weights_file_is_refused(ending, tmp_path):
    path = tmp_path / f"w{ending}"
    with pytest.raises(ParityError, match=r"[Nn]o such file"):
        READERS[ending](path)
    for content in (b"", b"\0", b"." * 100, b"\xff" * 8 + b"{}", b"PK\x03\x04" + bytes(100), b"\x80\x04N.", b"{}"):
        assert refused(path, content)
    path.unlink()
    path.mkdir()
    with pytest.raises(ParityError):
        READERS[ending](path)


@pytest.mark.parametrize("also", ["numpy", "ml_dtypes"])
def test_a_safetensors_type_that_numpy_lacks_is_refused(tmp_path, also):
    """Where something has imported ml_dtypes too, as onnx does, which brings such types."""
    importlib.import_module(also)
    for kind in ("F8_E4M3", "F8_E5M2"):
        header = entry([1], 1).replace(b"F32", kind.encode())
        assert "a dtype that numpy does not have" in refused(
            tmp_path / "w.safetensors", claim(len(header), header + bytes(1))
        )


def test_the_error_for_a_tensors_name_with_a_line_break_is_one_line(tmp_path):
    header = entry([1], 4).replace(b'"a"', b'"a\\nforged: line"').replace(b"[0,", b"[2,")
    assert "forged: line" in refused(tmp_path / "w.safetensors", claim(len(header), header + bytes(4)))


def test_another_programs_metadata_is_no_damage(tmp_path):
    for order in ("NCHW", "5", "[[]]", '["a.bias"]', "[" * 100_000):
        safetensors.numpy.save_file(TENSORS, tmp_path / "w.safetensors", metadata={"order": order, "format": "pt"})
        assert bits_of(State.load(tmp_path / "w.safetensors")) == bits_of(TENSORS)


def test_an_empty_file_and_a_missing_one_are_told_apart(tmp_path):
    (tmp_path / "w.bin").touch()
    with pytest.raises(ParityError, match=r"w\.bin: the file is empty\. Get it again\."):
        open_weights(tmp_path / "w.bin")
    with pytest.raises(ParityError, match=r"w\.pth: no such file"):
        open_weights(tmp_path / "w.pth")
