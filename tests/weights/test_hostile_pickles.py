"""Weight files that would run code, or misuse what a reader admits: refused, and nothing runs."""

import contextlib
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from weights.forged import ENTRY, GADGETS, calling, text
from weights.weight_files import TENSORS, WEIGHT, bits_of, refused

from parity.weights.checkpoint import read_weights


class Call:
    """Reduces to a call, as an exploit does."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("name", GADGETS)
def test_a_pickle_that_names_anything_but_arrays_is_refused_by_that_name(name, tmp_path):
    marker = tmp_path / "ran"
    path = tmp_path / "w.pdparams"
    content = calling(*GADGETS[name](marker))
    line = refused(path, content)
    assert line == f"{path}: hostile: it asks for {name}, which weights do not need; nothing was run."
    assert refused(tmp_path / "w.pth", content) == line.replace("w.pdparams", "w.pth")
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
    assert refused(tmp_path / "w.pth", content) == line.replace("w.pdparams", "w.pth")
    assert not marker.exists()


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}], ids=["zip", "legacy"])
def test_a_call_in_a_file_of_torchs_own_form_is_refused(options, tmp_path):
    marker = tmp_path / "ran"
    path = tmp_path / "w.pth"
    torch.save({"a": torch.ones(3), "b": Call(os.system, f"touch '{marker}'")}, path, **options)
    assert refused(path, path.read_bytes()).startswith(f"{path}: hostile: it asks for posix.system")
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
    "it holds no mapping of names to tensors, but a list of 1": pickle.dumps([WEIGHT]),
    "it holds no mapping of names to tensors, but a: 1.5": pickle.dumps({"a": 1.5}),
    "c: an array without numbers": b"\x80\x02}" + text("c") + b"cnumpy\nndarray\n)Rs.",
    "it asks for builtins.getattr": ENTRY + b"cbuiltins\ngetattr\n" + text("a") + text("b") + b"\x86Rs.",
    "a: collections.Counter": calling("collections", "Counter"),
    "damaged, or no file of weights": calling("torch._utils", "_rebuild_tensor_v2"),
    "a: my.Class(path=/)": ENTRY + b"cmy\nClass\n)\x81}" + text("path") + text("/") + b"sbs.",
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
    assert bits_of(read_weights(path)) == bits_of(TENSORS)
    assert not marker.exists()
