import os
from importlib.util import find_spec

import pytest

# Two test processes on two cores, each its own: read once, when numpy and the frameworks are loaded.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

FRAMEWORKS = ("torch", "paddle", "onnx", "onnxruntime")


def pytest_addoption(parser):
    parser.addoption("--device", choices=("cpu", "gpu", "auto"), default="cpu", help="where the parity suite runs")
    parser.addoption("--core", action="store_true", help="only tests marked core, where no framework is installed")


def _seen():
    """Return which frameworks see no GPU, each with what is missing."""
    import paddle
    import torch

    missing = [] if torch.cuda.is_available() else [f"torch {torch.__version__} sees no GPU"]
    if not (paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count()):
        missing.append(f"paddle {paddle.__version__} sees no GPU")
    return missing


def pytest_configure(config):
    if config.getoption("--core") and (installed := [name for name in FRAMEWORKS if find_spec(name)]):
        raise pytest.UsageError(f"--core proves nothing where {', '.join(installed)} can be imported: make test-core")
    if config.getoption("--device") == "gpu" and (missing := _seen()):
        raise pytest.UsageError(f"--device gpu: {'; '.join(missing)}")


def pytest_ignore_collect(collection_path, config):
    """With --core, leave a file that has no core test unread: it may import a framework."""
    if (
        config.getoption("--core")
        and collection_path.suffix == ".py"
        and "mark.core" not in collection_path.read_text()
    ):
        return True
    return None  # as pytest has it: the next one decides


def pytest_collection_modifyitems(config, items):
    if config.getoption("--core"):
        others = [item for item in items if not item.get_closest_marker("core") or item.get_closest_marker("extras")]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked or config.getoption("--device") == "gpu":
        return
    missing = ["run with --device gpu or auto"] if config.getoption("--device") == "cpu" else _seen()
    for item in marked:
        if missing:
            item.add_marker(pytest.mark.skip(reason="; ".join(missing)))


@pytest.fixture(scope="session")
def device(request):
    """The device both frameworks run on: what --device says, "auto" settled."""
    asked = request.config.getoption("--device")
    return ("cpu" if _seen() else "gpu") if asked == "auto" else asked


@pytest.fixture(scope="session", autouse=True)
def _forked():
    from forked import forked_workers

    with forked_workers():
        yield
