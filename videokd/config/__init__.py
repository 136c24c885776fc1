"""Config as fvcore CfgNode: defaults, loading and checks."""

from videokd.config.files import parse_config, read_config
from videokd.config.load import dump_config, load_config, override_config

__all__ = ["dump_config", "load_config", "override_config", "parse_config", "read_config"]
