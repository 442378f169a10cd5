"""Weight files that claim more than they hold: refused, without the memory that they claim."""

import io
import pickle
import re
import struct
import zipfile

import pytest
from weights.forged import ENTRY, GADGETS, calling, claim, entry, text
from weights.weight_files import TENSORS, WEIGHT, bits_of, files, refused, torch_file

from parity.weights.checkpoint import read_weights

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
    assert re.search("claims|damaged|states the shape|a dtype that numpy", line)
    assert "hostile" not in line


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


def test_files_of_torchs_that_attack_or_boast_take_no_memory(tmp_path):
    """For what they claim: zip entries, shapes, storages, lengths of text, bombs."""
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
    path.write_bytes(rezipped())
    assert bits_of(read_weights(path)) == bits_of(TENSORS)
    for content in contents:
        line = refused(path, content)
        assert re.search(r"w\.pth: (damaged|hostile|a\.weight: a tensor|a storage claims|its entries are comp)", line)
    assert not marker.exists()


def test_an_entry_of_a_torch_zip_that_is_marked_as_a_folder_is_refused(tmp_path):
    """Torch would return memory that nobody has written for its numbers, and no error."""
    path, whole = files(tmp_path)["torch"]
    content = bytearray(whole)
    content[whole.index(b"archive/data/0", whole.index(b"PK\x01\x02")) - 8] = 0x10
    assert "archive/data/0 is marked as a folder" in refused(path, bytes(content))
