from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path):
    def write_yaml(text: str, name: str = "config.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_yaml
