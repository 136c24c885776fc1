"""What the tests of models share."""

import pytest

from videokd.models import precision


@pytest.fixture(autouse=True)
def forget_measured_convs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What bf16 was found to do in one test is not known in the next."""
    monkeypatch.setattr(precision, "_measured", {})
    precision._warn.cache_clear()
