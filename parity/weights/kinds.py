"""Recognise what is no file of weights, and say the way out: programs, whole models, other frameworks' files."""

from __future__ import annotations

import zipfile
from pathlib import Path

_TABLE_MAGIC = bytes.fromhex("57fb808b247547db")  # of LevelDB's tables, at their end: an index of TensorFlow's

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes them; convert it with Keras or h5py, to .safetensors"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; run `git lfs pull`, or download the file"),
    (b"GGUF", "a GGUF file, whose weights are quantised; take the .safetensors or .pth file of the same model"),
    (b"\x1f\x8b", "compressed by gzip; unpack it first (gunzip, or tar xzf)"),
    (b"\xfd7zXZ", "compressed by xz; unpack it first"),
    (b"BZh", "compressed by bzip2; unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"Rar!", "a rar archive; unpack it first"),
    (b"\x93NUMPY", "a single numpy array; weights are a mapping of names to arrays"),
    (
        bytes(16),
        "the weights of a static program of Paddle's, a .pdiparams file, which has no names; "
        "save the network's own: paddle.save(network.state_dict(), 'NAME.pdparams')",
    ),
)
_PAGE = ("<!doctype", "<html", "<?xml", "<head")
_TORCHSCRIPT = (
    "a TorchScript archive, a program; save its weights: torch.save(torch.jit.load({path!r}).state_dict(), {new!r})"
)
_PROGRAM = (
    "an ONNX model or a Paddle program (.pdmodel), no file of weights; compare a model as onnx:{name}; of a program's "
    "network, save the weights: paddle.save(network.state_dict(), 'NAME.pdparams')"
)


def other_kind(path: Path) -> str | None:
    """Return what a file is and the way out, in a phrase, if it is known and holds no weights that can be read.

    Only its beginning and end are read.
    """
    with path.open("rb") as file:
        start = file.read(4096)
        _ = file.seek(max(0, path.stat().st_size - 8))
        end = file.read(8)
    for beginning, words in _BEGINNINGS:
        if start.startswith(beginning):
            return words
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].decode("latin1").lower()
    if text.startswith(_PAGE):
        return "a web page, not the file itself: the download asked for a login or a click; download it again"
    if start.startswith(b'{"base_code":{"magic":"pir"'):
        return "a static program of Paddle's; save its network's weights: paddle.save(network.state_dict(), ...)"
    if text.startswith(("{", "[")):
        return "JSON text, no weights; an index of shards ends in .index.json"
    if end == _TABLE_MAGIC or ".data-0000" in path.name or path.suffix in (".pb", ".meta"):
        return "a checkpoint of TensorFlow's; convert it with TensorFlow: tf.train.load_checkpoint(...)"
    if start[257:262] == b"ustar":
        return "a tar archive; unpack it first (tar xf)"
    if path.suffix in (".onnx", ".pdmodel") or _is_model(start):
        return _PROGRAM.format(name=path.name)
    return None


def _is_model(start: bytes) -> bool:
    """Return whether an ONNX model begins so (its version, its maker), or a Paddle program (its first block)."""
    onnx = len(start) > 3 and start[0] == 8 and start[1] < 32 and start[2] in (0x12, 0x3A, 0x42)
    return onnx or (start[:1] == b"\x0a" and b"\x08\x00\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" in start[:32])


def other_zip(archive: zipfile.ZipFile, path: Path) -> str | None:
    """Return the same for a zip file."""
    names = archive.namelist()
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return _TORCHSCRIPT.format(path=path.name, new=f"{path.stem}.weights.pth")
    if "data.pkl" in inner:
        return None
    if names and all(name.endswith(".npy") for name in names):
        return "an .npz file of numpy; save its arrays with safetensors.numpy.save_file"
    if "model.weights.h5" in names:
        return "a model of Keras's; convert its weights with Keras"
    return f"a zip archive of other files ({', '.join(names[:3]) or 'none'}); unpack it first"
