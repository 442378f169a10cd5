"""Workers and a function that exports, for the tests of exports."""

import pytest

from parity.errors import ParityError
from parity.processes.models import parse_export
from parity.processes.pool import Options, Workers


@pytest.fixture(scope="module")
def workers():
    with Workers(Options(device="cpu", timeout=300)) as alive:
        yield alive


@pytest.fixture
def export(workers, tmp_path):
    """A function that exports a model and returns its files."""
    from parity.deploy.export import Request, export_models  # onnx, which the core's tests lack

    def exported(model, shape, **wanted):
        name, models = parse_export(model, wanted.pop("only", None))
        try:
            return export_models(name, models, Request(tmp_path, shape, **wanted), workers.options, workers)
        except ParityError:
            workers.restart()
            raise

    return exported
