"""Files spelt by hand: pickles that call, headers that claim."""

import pickle
import struct


def text(word):
    return b"X" + struct.pack("<I", len(word)) + word.encode()


ENTRY = b"\x80\x02}" + text("a")


def calling(module, name, *arguments):
    """A pickle of {"a": module.name(*arguments)}, spelt by hand: what it names need not be importable here."""
    return ENTRY + f"c{module}\n{name}\n".encode() + pickle.dumps(arguments, 2)[2:-1] + b"Rs."


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
    "torch.load": lambda to: ("torch", "load", str(to)),
    "torch.hub.load": lambda to: ("torch.hub", "load", str(to)),
    "torch.serialization.load": lambda to: ("torch.serialization", "load", str(to)),
}


def claim(length, header=b""):
    return struct.pack("<Q", length) + header


def entry(shape, end):
    return f'{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}'.encode()
