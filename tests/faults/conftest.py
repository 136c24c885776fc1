"""What the fault runs share: modules that their workers import too, a place for their counts."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

_TOLD = pytest.StashKey[list[str]]()


@pytest.fixture
def tell(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """``tell(text)``: show a line at the end of the test run, whether tests pass or not."""
    return pytestconfig.stash.setdefault(_TOLD, []).append


def pytest_terminal_summary(terminalreporter, config):
    lines = config.stash.get(_TOLD, [])
    if lines:
        terminalreporter.section("fault runs")
        for line in lines:
            terminalreporter.line(line)
