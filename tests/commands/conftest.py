"""Runs of `parity compare` that several files of tests look at; each is done once."""

import shutil

import pytest
from program import HERE, PADDLE, SMALL, run, start


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """Paddle's trace of its network with random weights, and the run that kept it."""
    folder = tmp_path_factory.mktemp("recorded")
    model = f"{PADDLE}:net"
    done = run("compare", model, model, *SMALL, "--save-trace", ".", cwd=folder)
    return f"trace:{folder}/net.reference.trace.safetensors", done


@pytest.fixture(scope="session")
def own(tmp_path_factory):
    """A user's networks with their own weights: a module's callable against a file's, and what the run left."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copy(HERE / "torch_nets.py", folder)
    arguments = ("torch:torch_nets:net", f"{PADDLE}:net", *SMALL, "--weights", "own", "--save-trace", "traces")
    return folder, start("compare", *arguments, "--json", "out.json", cwd=folder)


@pytest.fixture(scope="session")
def zoo(tmp_path_factory):
    """ResNet-18's twins, and what the run left."""
    folder = tmp_path_factory.mktemp("zoo")
    arguments = ("resnet18", "--input", "1,3,64,64", "--save-trace", ".", "--json", "out.json", "--all-layers")
    return folder, run("compare", *arguments, cwd=folder)


@pytest.fixture(scope="session")
def traces(own):
    """Two traces: a comparison that starts no worker."""
    return [f"trace:{own[0]}/traces/net.{backend}.trace.safetensors" for backend in ("torch", "paddle")]
