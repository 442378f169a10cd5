"""Write networks of one framework for the command line, and list the ONNX files of a folder."""


def spec(backend, tmp_path, code):
    """Write a file that builds a network of one framework, in words both share, and return its SPEC."""
    words = {
        "torch": "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n",
        "paddle": "import paddle\nfrom paddle import nn\nfrom paddle.nn import functional as F\n",
    }
    path = tmp_path / f"{backend}_net.py"
    path.write_text(words[backend] + code)
    return f"{backend}:{path}:build"


def files(folder):
    return sorted(each.name for each in folder.iterdir() if ".onnx" in each.name)
