import warnings

import pytest


def pytest_addoption(parser):
    parser.addoption("--device", choices=("cpu", "gpu", "auto"), default="cpu", help="where the parity suite runs")


def _seen():
    """Return which frameworks see no GPU, each with what is missing."""
    import paddle
    import torch

    missing = [] if torch.cuda.is_available() else [f"torch {torch.__version__} sees no GPU"]
    if not (paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count()):
        missing.append(f"paddle {paddle.__version__} sees no GPU")
    return missing


def pytest_configure(config):
    if config.getoption("--device") == "gpu" and (missing := _seen()):
        raise pytest.UsageError(f"--device gpu: {'; '.join(missing)}")


def pytest_collection_modifyitems(config, items):
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
def _one_thread():
    """Two test processes on two cores: each its own."""
    import torch

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*ccache.*")
