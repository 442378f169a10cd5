"""Weight files: hostile, damaged and boastful ones are refused; real ones are read as the frameworks write them."""

import contextlib
import importlib
import io
import os
import pickle
import re
import resource
import signal
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import paddle
import pytest
import safetensors.numpy
import safetensors.torch
import torch
import torchvision

import paddle_cnn
import torch_cnn
from parity import ParityError, State
from parity.atomic import atomic
from parity.backends import paddle_backend, torch_backend
from parity.numerics.fixed_random import projection
from parity.processes import jobs
from parity.processes.workers import Worker, ask
from parity.weights import checkpoint
from parity.weights.hardened import hardened_state
from parity.weights.pdparams import read_pdparams, write_pdparams
from parity.weights.state import Slot

WEIGHT = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
BIAS = np.array([0.5, -0.25, 0.125])
TENSORS = {"a.weight": WEIGHT, "a.bias": BIAS}
MEGABYTE = 1 << 20


READERS = {".pdparams": read_pdparams, ".safetensors": State.load, ".pth": torch_backend.read_checkpoint}


def refused(path, content):
    """Return the one line with which a file of this content is refused; no code ran, no memory was taken."""
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    try:
        with pytest.raises(ParityError) as caught:
            READERS[path.suffix](path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * MEGABYTE + 100 * len(content)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # kilobytes
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path}: ")
    return line


def bits_of(tensors):
    return {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in tensors.items()}


def torch_file(tensors, **options):
    buffer = io.BytesIO()
    torch.save({name: torch.from_numpy(array.copy()) for name, array in tensors.items()}, buffer, **options)
    return buffer.getvalue()


def files(folder):
    """The same two tensors in every format, by what the format is called: path and content."""
    write_pdparams(TENSORS, folder / "a.pdparams")
    paddle.save({name: paddle.to_tensor(array) for name, array in TENSORS.items()}, str(folder / "b.pdparams"))
    State(TENSORS).save(folder / "a.safetensors")
    safetensors.numpy.save_file(TENSORS, folder / "b.safetensors")
    (folder / "a.pth").write_bytes(torch_file(TENSORS))
    (folder / "b.pth").write_bytes(torch_file(TENSORS, _use_new_zipfile_serialization=False))
    names = {
        "ours as Paddle's": "a.pdparams", "Paddle": "b.pdparams", "State": "a.safetensors",
        "safetensors": "b.safetensors", "torch": "a.pth", "torch, legacy": "b.pth",
    }  # fmt: skip
    return {label: (folder / name, (folder / name).read_bytes()) for label, name in names.items()}


KINDS = pytest.mark.parametrize(
    "kind", ["ours as Paddle's", "Paddle", "State", "safetensors", "torch", "torch, legacy"]
)


# Hostile files.


def text(word):
    return b"X" + struct.pack("<I", len(word)) + word.encode()


ENTRY = b"\x80\x02}" + text("a")


def calling(module, name, *arguments):
    """A pickle of {"a": module.name(*arguments)}, spelt by hand: what it names need not be importable here."""
    return ENTRY + f"c{module}\n{name}\n".encode() + pickle.dumps(arguments, 2)[2:-1] + b"Rs."


class Call:
    """Reduces to a call, as an exploit does."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


GADGETS = {
    "os.system": lambda to: ("os", "system", f"touch '{to}'"),
    "posix.system": lambda to: ("posix", "system", f"touch '{to}'"),
    "builtins.eval": lambda to: ("builtins", "eval", f"open({str(to)!r}, 'w')"),
    "builtins.exec": lambda to: ("builtins", "exec", f"open({str(to)!r}, 'w')"),
    "builtins.open": lambda to: ("builtins", "open", str(to), "w"),
    "__builtin__.eval": lambda to: ("__builtin__", "eval", f"open({str(to)!r}, 'w')"),
    "builtins.getattr": lambda to: ("builtins", "getattr", "x", "upper"),
    "builtins.bytearray": lambda to: ("builtins", "bytearray", 1 << 40),
    "subprocess.Popen": lambda to: ("subprocess", "Popen", ("touch", str(to))),
    "numpy.f2py.crackfortran.myeval": lambda to: ("numpy.f2py.crackfortran", "myeval", f"open({str(to)!r}, 'w')"),
    "numpy.memmap": lambda to: ("numpy", "memmap", str(to), "uint8", "w+", 0, (1,)),
    "numpy.zeros": lambda to: ("numpy", "zeros", 1 << 40),
    "numpy.load": lambda to: ("numpy", "load", str(to), None, True),
    "numpy.ndarray.tofile": lambda to: ("numpy", "ndarray.tofile", "x", str(to)),
    "numpy.core.multiarray.fromfile": lambda to: ("numpy.core.multiarray", "fromfile", str(to)),
    "_codecs.lookup": lambda to: ("_codecs", "lookup", "zlib"),
    "collections.Counter": lambda to: ("collections", "Counter"),
    "torch._utils._rebuild_tensor_v2": lambda to: ("torch._utils", "_rebuild_tensor_v2"),
}


@pytest.mark.parametrize("name", GADGETS)
def test_a_pickle_that_names_anything_but_arrays_is_refused_by_that_name(name, tmp_path):
    marker = tmp_path / "ran"
    path = tmp_path / "w.pdparams"
    content = calling(*GADGETS[name](marker))
    assert f"it asks for {name}, which weights do not need; nothing was run" in refused(path, content)
    (tmp_path / "w.pth").write_bytes(content)
    # torch makes a bytearray of any size for a file, or finds no memory for it; nothing else.
    with pytest.raises(ParityError, match=r"refused by torch\.load|damaged, or too large"):
        torch_backend.read_checkpoint(tmp_path / "w.pth")
    assert not marker.exists()


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "numpy.f2py.crackfortran.myeval", "numpy.memmap"])
def test_these_pickles_would_have_run(name, tmp_path):
    marker = tmp_path / "ran"
    with contextlib.suppress(ValueError):  # myeval, of what it got
        pickle.loads(calling(*GADGETS[name](marker)))
    assert marker.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("place", ["value", "name", "pair", "list", "argument", "state", "unread"])
def test_a_call_hidden_deep_in_a_pickle_is_refused(place, protocol, tmp_path):
    marker = tmp_path / "ran"
    evil = Call(os.system, f"touch '{marker}'")

    class Array:
        def __reduce__(self):
            rebuild, arguments, state = WEIGHT.__reduce__()
            return (rebuild, arguments, (*state[:4], evil)) if place == "state" else (rebuild, (evil,), state)

    hidden = {
        "value": {**TENSORS, "z": evil},
        "name": {evil: WEIGHT},
        "pair": OrderedDict(a=("a", evil)),
        "list": {"a": [[evil]]},
        "argument": {"a": Array()},
        "state": {"a": Array()},
        "unread": {**TENSORS, "StructuredToParameterName@@": {"a": evil}},
    }
    content = pickle.dumps(hidden[place], protocol)
    line = refused(tmp_path / "w.pdparams", content)
    # The older protocols spell text in instructions that Paddle's writer does not use.
    assert "it asks for posix.system" in line or (protocol < 2 and "it holds the instruction" in line)
    (tmp_path / "w.pth").write_bytes(content)
    # torch makes a bytearray of any size for a file, or finds no memory for it; nothing else.
    with pytest.raises(ParityError, match=r"refused by torch\.load|damaged, or too large"):
        torch_backend.read_checkpoint(tmp_path / "w.pth")
    assert not marker.exists()


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}], ids=["zip", "legacy"])
def test_a_call_in_a_file_of_torchs_own_form_is_refused(options, tmp_path):
    marker = tmp_path / "ran"
    path = tmp_path / "w.pth"
    torch.save({"a": torch.ones(3), "b": Call(os.system, f"touch '{marker}'")}, path, **options)
    assert "refused by torch.load(weights_only=True)" in refused(path, path.read_bytes())
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()


# A tuple that holds itself twice, twenty levels deep, and "h\x00" is it. At sixty its hash would take for ever.
SHARED = b"\x80\x02]()q\x00" + b"h\x00h\x00\x86q\x00" * 20 + b"e}" + text("a")
MISUSE = {
    "byte order '>' is refused": pickle.dumps({"a": WEIGHT.astype(">f4")}),
    "dtype 'O8' is refused": pickle.dumps({"a": np.array([None])}),
    "dtype 'V4' is refused": pickle.dumps({"a": np.zeros(2, "V4")}),
    "dtype 'c16' is refused": pickle.dumps({"a": np.zeros(2, complex)}),
    "dtype of type tuple is refused": SHARED + b"cnumpy\ndtype\nh\x00\x85Rs.",
    "encoding 'zlib' is refused": ENTRY + b"c_codecs\nencode\n" + text("a") + text("zlib") + b"\x86Rs.",
    "encoding of type tuple is refused": SHARED + b"c_codecs\nencode\n" + text("a") + b"h\x00\x86Rs.",
    "it makes a tuple of something 'abc'": ENTRY + b"cbuiltins\ntuple\n" + text("abc") + b"\x85Rs.",
    "it calls something 'abc'": ENTRY + text("abc") + b")Rs.",
    "it calls something of type type": ENTRY + b"cnumpy\nndarray\n" + text("abc") + b"Rs.",
    "it fills something of type dict": b"\x80\x02}}b.",
    "it fills something of type type": b"\x80\x02}cnumpy\nndarray\n}bs.",
    "it fills something of type function": b"\x80\x02}c_codecs\nencode\n}bs.",
    "it fills something of type tuple": b"\x80\x02))Ns.",
    "it holds a name of type tuple": SHARED + b"Nsh\x00Ns.",
    "it holds a name of type tuple.": b"\x80\x02})" + b"\x85" * 200_000 + b"Ns.",
    "it holds the instruction BINPERSID": ENTRY + b"NQs.",
    "it holds the instruction INST": ENTRY + b"(ios\nsystem\ns.",
    "it holds the instruction OBJ": ENTRY + b"(cnumpy\nndarray\nos.",
    "it holds the instruction EXT1": ENTRY + b"\x82\x01s.",
    "it holds the instruction NEWOBJ": ENTRY + b"cnumpy\nndarray\n)\x81s.",
    "it asks for a name of type tuple": b"\x80\x04\x8c\x02os)\x93.",
    r"it asks for 'os\nforged: line.system'": b"\x80\x04\x8c\x0fos\nforged: line\x8c\x06system\x93.",
    "it holds no mapping of names to arrays": pickle.dumps([WEIGHT]),
    "'a' is no array": pickle.dumps({"a": 1.5}),
    "'b' is no array": pickle.dumps({"b": {"a": WEIGHT}}),
    "'c' is no array": b"\x80\x02}" + text("c") + b"cnumpy\nndarray\n)Rs.",
    "states the shape (3, 5) of float32, and holds 48 bytes": pickle.dumps({"a": WEIGHT}, 3).replace(
        b"K\x03K\x04\x86", b"K\x03K\x05\x86"
    ),
    "shape is not made of lengths": pickle.dumps({"a": WEIGHT}, 3).replace(b"K\x03K\x04\x86", b"K\x03]\x86"),
    "it makes more bytes than": ENTRY
    + text("b" * 100_000)
    + b"q\x00"
    + (b"c_codecs\nencode\nh\x00" + text("latin1") + b"\x86R") * 2000
    + b"s.",
}


@pytest.mark.parametrize("words", MISUSE)
def test_admitted_names_cannot_be_misused(words, tmp_path):
    assert words in refused(tmp_path / "w.pdparams", MISUSE[words])


def test_what_follows_a_pickles_end_is_not_read(tmp_path):
    marker, path = tmp_path / "ran", tmp_path / "w.pdparams"
    path.write_bytes(pickle.dumps(TENSORS) + pickle.dumps(Call(os.system, f"touch '{marker}'")))
    assert bits_of(read_pdparams(path)) == bits_of(TENSORS)
    assert not marker.exists()


# Files that claim more than they hold.


def claim(length, header=b""):
    return struct.pack("<Q", length) + header


def entry(shape, end):
    return f'{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}'.encode()


CLAIMS = {
    "bytes of a terabyte": (".pdparams", ENTRY + b"\x8e" + claim(1 << 40) + b"xs."),
    "bytes of three gigabytes": (".pdparams", ENTRY + b"\x8e" + claim(3 << 30) + b"xs."),
    "bytes of 2^64 - 1": (".pdparams", ENTRY + b"\x8e" + claim(2**64 - 1) + b"xs."),
    "short bytes of 2^32 - 1": (".pdparams", ENTRY + b"B\xff\xff\xff\xff" + b"xs."),
    "text of a terabyte": (".pdparams", ENTRY + b"\x8d" + claim(1 << 40) + b"xs."),
    "text of 2^32 - 1": (".pdparams", ENTRY + b"X\xff\xff\xff\xff" + b"xs."),
    "a table of 2^32 - 1": (".pdparams", ENTRY + b"r\xff\xff\xff\xff" + b"."),
    "a table of 2^28": (".pdparams", ENTRY + b"r\x00\x00\x00\x10" + b"."),
    "a frame of a petabyte": (".pdparams", b"\x80\x04\x95" + claim(1 << 50) + b"}."),
    "a frame of three gigabytes": (".pdparams", b"\x80\x04\x95" + claim(3 << 30) + b"}."),
    "an empty array of 2^62": (
        ".pdparams",
        pickle.dumps({"a": WEIGHT[:0]}, 3).replace(b"K\x00K\x04\x86", b"K\x00\x8a\x08" + claim(1 << 62) + b"\x86"),
    ),
    "a header of a terabyte": (".safetensors", claim(1 << 40, b"{}")),
    "a header of three gigabytes": (".safetensors", claim(3 << 30, b"{}")),
    "a header of 99 megabytes": (".safetensors", claim(99_000_000, b"{}")),
    "a header of 2^64 - 1": (".safetensors", claim(2**64 - 1, b"{}")),
    "a tensor of four terabytes": (".safetensors", claim(len(entry([1 << 40], 1 << 42)), entry([1 << 40], 1 << 42))),
    "a tensor of four terabytes in eight bytes": (
        ".safetensors",
        claim(len(entry([1 << 40], 8)), entry([1 << 40], 8) + bytes(8)),
    ),
    "a tensor of 2^124": (
        ".safetensors",
        claim(len(entry([1 << 62, 1 << 62], 8)), entry([1 << 62, 1 << 62], 8) + bytes(8)),
    ),
}


@pytest.mark.parametrize("what", CLAIMS)
def test_a_file_that_claims_more_than_it_holds_takes_no_memory(what, tmp_path):
    ending, content = CLAIMS[what]
    line = refused(tmp_path / f"w{ending}", content)
    assert re.search("no (.pdparams|safetensors) file, or a (damaged|hostile) one: .|a dtype that numpy", line)


def rezipped(claimed=0, compression=zipfile.ZIP_STORED, edit=lambda content: content):
    """A torch zip whose pickle was edited and whose entry of numbers claims another size."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(torch_file(TENSORS))) as source,
        zipfile.ZipFile(buffer, "w", compression) as target,
    ):
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, edit(content) if name.endswith("data.pkl") else content)
        for info in target.filelist:
            if claimed and info.filename.endswith("data/0"):
                info.file_size = info.compress_size = claimed
    return buffer.getvalue()


def length(number):
    return b"\x8a\x06" + number.to_bytes(6, "little")


def stretched(content, number):
    """The pickle of a tensor of `number` elements that are all the same one."""
    return content.replace(b"K\x03K\x04\x86", length(number) + b"K\x01\x86").replace(b"K\x04K\x01", b"K\x00K\x00")


def test_the_torch_worker_outlives_files_that_attack_or_boast(tmp_path):
    """And takes no memory for what they claim: zip entries, shapes, storages, lengths of text, bombs."""
    legacy = torch_file(TENSORS, _use_new_zipfile_serialization=False)
    marker = tmp_path / "ran"
    contents = [calling(*GADGETS[name](marker)) for name in ("os.system", "builtins.eval", "numpy.memmap")]
    for claimed in (1 << 40, 3 << 30):
        contents += [
            rezipped(claimed),
            rezipped(edit=lambda content, n=claimed: content.replace(b"K\x0ct", length(n) + b"t")),
            rezipped(edit=lambda content, n=claimed: content.replace(b"K\x03K\x04\x86", length(n) * 2 + b"\x86")),
            rezipped(edit=lambda content, n=claimed: stretched(content, n)),
            legacy.replace(b"K\x0cNt", length(claimed) + b"Nt"),
            legacy.replace(struct.pack("<Q", 12) + WEIGHT.tobytes(), struct.pack("<Q", claimed) + WEIGHT.tobytes()),
        ]
    contents += [
        rezipped(compression=zipfile.ZIP_DEFLATED),
        legacy.replace(text("a.weight"), b"X\xff\xff\xff\xffa.weight"),
        ENTRY + b"\x8e" + claim(1 << 40) + b"s.",
    ]
    assert len({*contents, legacy, rezipped()}) == len(contents) + 2
    path = tmp_path / "w.pth"
    with Worker("torch", sys.executable, 1) as worker:
        path.write_bytes(torch_file(TENSORS))
        assert bits_of(read_by(worker, path)) == bits_of(TENSORS)
        before = peak_memory(worker)
        for content in contents:
            path.write_bytes(content)
            with pytest.raises(ParityError) as caught:
                read_by(worker, path)
            assert re.fullmatch(r".*w\.pth: (damaged|refused by torch\.load|a.weight claims).*", str(caught.value))
        assert peak_memory(worker) - before < 200 * MEGABYTE
        path.write_bytes(rezipped())
        assert bits_of(read_by(worker, path)) == bits_of(TENSORS)
    assert not marker.exists()


def test_an_entry_of_a_torch_zip_that_is_marked_as_a_folder_is_refused(tmp_path):
    """Torch would return memory that nobody has written for its numbers, and no error."""
    path, whole = files(tmp_path)["torch"]
    content = bytearray(whole)
    content[whole.index(b"archive/data/0", whole.index(b"PK\x01\x02")) - 8] = 0x10
    assert "archive/data/0 is marked as a folder" in refused(path, bytes(content))


def read_by(worker, path):
    """What the torch worker makes of a file."""
    plain = path.with_suffix(".plain.safetensors")
    plain.unlink(missing_ok=True)
    ask(worker, jobs.Read(path, plain), 120)
    return State.load(plain)


def peak_memory(worker):
    """Bytes that the worker's process held at most."""
    status = Path(f"/proc/{worker._process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


# Damaged files.


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
    found = Counter(flipped(path, whole, torch_backend.read_checkpoint))
    assert {shows for inside, shows in found if inside} == {None}
    assert found[False, True] == 0
    assert found[False, None] > 100


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("ending", READERS)
def test_what_is_no_weights_file_is_refused(ending, tmp_path):
    path = tmp_path / f"w{ending}"
    with pytest.raises(ParityError, match="No such file"):
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


def test_an_unknown_ending_and_a_missing_file_are_told_apart(tmp_path):
    (tmp_path / "w.onnx").touch()
    with pytest.raises(ParityError, match=r"unknown kind of weights file; .safetensors, .pth, .pt, .pdparams are read"):
        checkpoint.framework_of(tmp_path / "w.onnx")
    with pytest.raises(ParityError, match="no such file"):
        checkpoint.framework_of(tmp_path / "w.pth")


# Files that are whole or absent.


def half_written(target, error):
    with atomic(target) as part:
        part.write_text("half of the n")
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_a_failing_block_leaves_the_old_file_and_no_litter(error, tmp_path):
    target = tmp_path / "w.json"
    target.write_text("old")
    with pytest.raises(ParityError if error is OSError else error):
        half_written(target, error)
    assert [path.name for path in tmp_path.iterdir()] == ["w.json"]
    assert target.read_text() == "old"


def test_a_file_appears_whole_under_its_own_name_with_the_usual_mode(tmp_path):
    target = tmp_path / "w.json"
    with atomic(target) as part:
        part.write_text("new")
        assert part.parent == tmp_path
        assert not target.exists()
    (tmp_path / "plain").touch()
    assert target.read_text() == "new"
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_path_that_cannot_be_written_is_a_parity_error_before_the_work_is_done(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for target in ("missing/w.json", "file/w.json", "folder"):
        with pytest.raises(ParityError, match=r"cannot write: .*\. Name a file in a folder you may write"):
            State(TENSORS).save(tmp_path / target)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_a_full_disk_is_a_parity_error_and_leaves_the_old_file(tmp_path):
    target = tmp_path / "w.safetensors"
    State(TENSORS).save(target)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MEGABYTE, limits[1]))
    try:
        with pytest.raises(ParityError, match="cannot write"):
            State({"a": np.zeros(MEGABYTE)}).save(target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]
    assert bits_of(State.load(target)) == bits_of(TENSORS)


def killed(program, target, when):
    """Run a program, kill it at once after it has printed a line `when` times."""
    process = subprocess.Popen([sys.executable, "-c", program, str(target)], stdout=subprocess.PIPE)
    for _ in range(when):
        assert process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()


def test_a_kill_in_the_middle_of_a_file_leaves_the_old_one(tmp_path):
    target = tmp_path / "w.json"
    target.write_text("old")
    program = """
import sys, time
from parity.atomic import atomic
with atomic(sys.argv[1]) as part:
    part.write_text("half of the n")
    print(flush=True)
    time.sleep(100)
"""
    killed(program, target, 1)
    assert target.read_text() == "old"


def test_a_kill_at_any_moment_leaves_the_old_state_or_the_new(tmp_path):
    program = """
import sys
import numpy as np
from parity.weights.state import State
states = [State({"a": np.full(1 << 19, value, np.float32)}) for value in (1, 2)]
while True:
    for state in states:
        state.save(sys.argv[1])
        print(flush=True)
"""
    target = tmp_path / "w.safetensors"
    for when in (1, 2, 3, 6):
        killed(program, target, when)
        held = State.load(target)["a"]
        assert held.shape == (1 << 19,)
        assert held[0] in (1, 2)
        assert (held == held[0]).all()


# Files as the frameworks write them.


def read_any(path, slots, family=""):
    """What a session makes of a file: a .pth goes through the torch worker's `read` first."""
    framework = checkpoint.framework_of(path)
    if framework == "torch":
        plain = path.with_suffix(".plain.safetensors")
        State(torch_backend.read_checkpoint(path)).save(plain)
        path = plain
    return checkpoint.read(path, slots, family, framework)


def fill(twins, path):
    """Give both twins a file's weights; return the two states they hold then."""
    states = []
    for backend, twin in zip((torch_backend, paddle_backend), twins, strict=True):
        state = read_any(path, backend.slots(twin), "resnet")
        assert list(state) == list(backend.slots(twin))
        backend.set_state(twin, state)
        states.append(backend.get_state(twin))
    assert states[0].differences(states[1]) == []
    return states[0]


@pytest.fixture(scope="module")
def twins():
    return torch_backend.build("resnet18", num_classes=10), paddle_backend.build("resnet18", num_classes=10)


IMAGE = projection((2, 3, 64, 64))


def outputs(backend, network):
    network.eval()
    with backend.double(network), backend.autograd(False):
        return backend.to_numpy(network(backend.to_tensor(IMAGE, network)))


@pytest.mark.parametrize("ending", [".pth", ".pt", ".legacy.pth", ".wrapped.pth", ".safetensors"])
def test_torchvisions_weights_make_both_twins_torchvisions_network(ending, twins, tmp_path):
    theirs = torchvision.models.resnet18(num_classes=10)
    torch_backend.set_state(theirs, hardened_state(torch_backend.slots(theirs), 5))
    theirs.bn1.num_batches_tracked += 7
    path, content = tmp_path / f"w{ending}", theirs.state_dict()
    if ending == ".safetensors":
        safetensors.torch.save_file(content, path)
    else:
        whole = {"epoch": 3, "state_dict": content} if "wrapped" in ending else content
        torch.save(whole, path, _use_new_zipfile_serialization="legacy" not in ending)
    state = fill(twins, path)
    assert len(state) == len([name for name in content if "num_batches_tracked" not in name])
    for ours, name in (
        ("conv.conv.weight", "conv1.weight"),
        ("layer2.0.short.batch_norm.running_var", "layer2.0.downsample.1.running_var"),
        ("layer3.1.conv1.batch_norm.weight", "layer3.1.bn2.weight"),
        ("fc.weight", "fc.weight"),
    ):
        assert bits_of({"": state[ours]}) == bits_of({"": content[name].numpy()})
    if ending == ".pth":
        expected = outputs(torch_backend, theirs)
        assert np.array_equal(outputs(torch_backend, twins[0]), expected)
        np.testing.assert_allclose(outputs(paddle_backend, twins[1]), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("make", ["paddle.vision", "the twin"])
def test_paddles_weights_make_both_twins_that_network(make, twins, tmp_path):
    if make == "the twin":
        theirs = paddle_cnn.build("resnet18", num_classes=10)
    else:
        theirs = paddle.vision.models.resnet18(num_classes=10)
    given = hardened_state(paddle_backend.slots(theirs), 6)
    paddle_backend.set_state(theirs, given)
    path = tmp_path / "w.pdparams"
    paddle.save(theirs.state_dict(), str(path))
    state = fill(twins, path)
    assert len(state) == len(theirs.state_dict())
    assert sorted(array.tobytes() for array in state.values()) == sorted(array.tobytes() for array in given.values())
    expected = outputs(paddle_backend, theirs)
    assert np.array_equal(outputs(paddle_backend, twins[1]), expected)
    np.testing.assert_allclose(outputs(torch_backend, twins[0]), expected, rtol=1e-11, atol=1e-12)


def test_a_state_file_goes_from_either_twin_to_the_other(twins, tmp_path):
    for seed, (backend, twin) in enumerate(zip((torch_backend, paddle_backend), twins, strict=True)):
        backend.set_state(twin, hardened_state(backend.slots(twin), seed))
        given = backend.get_state(twin)
        given.save(tmp_path / "w.safetensors")
        assert fill(twins, tmp_path / "w.safetensors").digest() == given.digest()


def test_a_file_that_names_a_tensor_twice_is_refused(tmp_path):
    slots = torch_backend.slots(torch_cnn.build("resnet18"))
    for twice in ({"conv1.weight", "conv.conv.weight"}, {"fc.running_mean", "fc._mean"}):
        State(dict.fromkeys(sorted({"fc.bias", *twice}), BIAS)).save(tmp_path / "w.safetensors")
        with pytest.raises(ParityError, match=" and ".join(map(re.escape, sorted(twice))) + " are two tensors for"):
            checkpoint.read(tmp_path / "w.safetensors", slots, "resnet")


def test_another_networks_file_is_named_tensor_by_tensor_and_changes_nothing(twins, tmp_path):
    theirs = torchvision.models.resnet18(num_classes=5)
    torch.save({**theirs.state_dict(), "head.weight": torch.ones(2)}, tmp_path / "w.pth")
    for backend, twin in zip((torch_backend, paddle_backend), twins, strict=True):
        before = backend.get_state(twin)
        with pytest.raises(ParityError) as caught:
            backend.set_state(twin, read_any(tmp_path / "w.pth", backend.slots(twin), "resnet"), "resnet18")
        assert str(caught.value).split("\n  ")[1:] == [
            f"fc.bias: shape differs: {backend.NAME}=(10,), weights=(5,)",
            f"fc.weight: shape differs: {backend.NAME}=(10, 512), weights=(5, 512)",
            "head.weight: unexpected, the network has no such tensor",
        ]
        assert before.differences(backend.get_state(twin)) == []


def square(nn):
    return nn.Sequential(nn.Linear(4, 4), nn.Embedding(4, 4), nn.Linear(4, 2), nn.LayerNorm(4))


def test_every_format_of_one_network_is_one_state(tmp_path):
    """A square Linear is turned in Paddle's file because it is one; a square Embedding is not."""
    ours, theirs = square(torch.nn), square(paddle.nn)
    given = hardened_state(torch_backend.slots(ours))
    torch_backend.set_state(ours, given)
    paddle_backend.set_state(theirs, given)
    given.save(tmp_path / "a.safetensors")
    safetensors.torch.save_file(ours.state_dict(), tmp_path / "b.safetensors")
    torch.save(ours.state_dict(), tmp_path / "c.pth")
    torch.save(OrderedDict(reversed(ours.state_dict().items())), tmp_path / "d.pt")
    for protocol in (2, 3, 4):
        paddle.save(theirs.state_dict(), str(tmp_path / f"e{protocol}.pdparams"), protocol=protocol)
    paddle.save(dict(theirs.state_dict()), str(tmp_path / "f.pdparams"))
    paddle.save({"StructuredToParameterName@@": {}, **theirs.state_dict()}, str(tmp_path / "g.pdparams"))
    write_pdparams({name: value.numpy() for name, value in theirs.state_dict().items()}, tmp_path / "h.pdparams")
    read = {path.name: read_any(path, torch_backend.slots(ours)) for path in sorted(tmp_path.iterdir())}
    assert len(read) == 10
    for name, state in read.items():
        assert list(state) == list(given), name
        assert given.differences(state) == [], name


def test_what_we_write_for_paddle_paddle_loads(tmp_path):
    tensors = {
        "a": WEIGHT,
        "b": WEIGHT.astype(np.float16).T,
        "c": BIAS,
        "d": np.float32(3).reshape(()),
        "e": WEIGHT[:0],
    }
    write_pdparams(tensors, tmp_path / "w.pdparams")
    loaded = paddle.load(str(tmp_path / "w.pdparams"))
    assert bits_of({name: value.numpy() for name, value in loaded.items()}) == bits_of(tensors)
    assert bits_of(read_pdparams(tmp_path / "w.pdparams")) == bits_of(tensors)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_arrays_of_other_float_types_are_read_as_they_are(dtype, tmp_path):
    tensors = {name: array.astype(dtype) for name, array in TENSORS.items()}
    paddle.save({name: paddle.to_tensor(array) for name, array in tensors.items()}, str(tmp_path / "a.pdparams"))
    paddle.save(tensors, str(tmp_path / "b.pdparams"))
    (tmp_path / "c.pdparams").write_bytes(pickle.dumps({name: np.asfortranarray(a) for name, a in tensors.items()}, 4))
    (tmp_path / "d.pth").write_bytes(torch_file(tensors))
    safetensors.numpy.save_file(tensors, tmp_path / "e.safetensors")
    for path in sorted(tmp_path.iterdir()):
        assert bits_of(READERS[path.suffix](path)) == bits_of(tensors), path.name


def test_bfloat16_in_a_safetensors_file_is_widened(tmp_path):
    values = torch.tensor([[1.0, 3.14], [-0.0, float("inf")], [2.0**-133, 7.0]]).bfloat16()
    safetensors.torch.save_file({"a": values, "b": values[0, 0].clone()}, tmp_path / "w.safetensors")
    state = State.load(tmp_path / "w.safetensors")
    assert (state["a"].dtype, state["b"].shape) == (np.float32, ())
    assert state.differences({"a": values.float().numpy(), "b": np.ones((), np.float32)}) == []


def test_bfloat16_in_a_torch_file_is_widened(tmp_path):
    torch.save({"a": torch.tensor([1.0, 3.14]).bfloat16()}, tmp_path / "w.pth")
    assert bits_of(torch_backend.read_checkpoint(tmp_path / "w.pth")) == bits_of({"a": np.float32([1, 3.140625])})


def test_a_state_file_keeps_order_types_shapes_and_bits(tmp_path):
    """A number stays a number, an empty array keeps its shape, NaN its payload; the order is the layers'."""
    odd = np.array([0x7FC00001, 0xFFC12345, 0x80000000, 1], np.uint32).view(np.float32)
    given = State(
        {
            "z": odd,
            "count": np.array(3),
            "none": np.zeros((0, 3)),
            "f": np.asfortranarray(WEIGHT),
            "half": BIAS.astype("f2"),
        }
    )
    given.save(tmp_path / "w.safetensors")
    loaded = State.load(tmp_path / "w.safetensors")
    assert list(loaded) == list(given)
    assert given.differences(loaded) == []
    assert loaded.digest() == given.digest()


def test_batch_counts_are_left_out_and_other_integers_are_not(tmp_path):
    tensors = {"0.weight": np.ones((2, 2)), "0.num_batches_tracked": np.array(3), "num_batches_tracked": np.array(3)}
    State({**tensors, "steps": np.array(3)}).save(tmp_path / "w.safetensors")
    slots = {"0.weight": Slot((2, 2), "Conv2d", "weight")}
    assert list(checkpoint.read(tmp_path / "w.safetensors", slots, "")) == ["0.weight", "steps"]


def test_paddles_names_of_other_layers_tensors_are_neutral_ones(tmp_path):
    """PReLU's `_weight` and InstanceNorm's `scale`; a tensor of that name in a layer of the user's own keeps it."""
    network = paddle.nn.Sequential(paddle.nn.PReLU(4), paddle.nn.InstanceNorm2D(4))
    network.scale = network.create_parameter([4])
    slots = paddle_backend.slots(network)
    assert list(slots) == ["scale", "0.weight", "1.weight", "1.bias"]
    paddle.save(network.state_dict(), str(tmp_path / "w.pdparams"))
    state = checkpoint.read(tmp_path / "w.pdparams", slots, "")
    assert list(state) == list(slots)
    np.testing.assert_array_equal(state["0.weight"], network[0]._weight.numpy())


def test_statistics_under_paddles_names_are_batch_norms(tmp_path):
    norm = paddle.nn.Sequential(paddle.nn.BatchNorm2D(3))
    for network, prefix in ((norm, "0."), (norm[0], "")):
        given = hardened_state(paddle_backend.slots(network), 3)
        paddle_backend.set_state(network, given)
        paddle.save(network.state_dict(), str(tmp_path / "w.pdparams"))
        read = read_any(tmp_path / "w.pdparams", paddle_backend.slots(network))
        assert [f"{prefix}{role}" for role in ("weight", "bias", "running_mean", "running_var")] == list(read)
        assert given.differences(read) == []
