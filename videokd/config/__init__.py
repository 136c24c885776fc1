"""Config as fvcore CfgNode: ``keys.py`` is the table of all keys, ``load.py`` reads files."""

from videokd.config.files import parse_config, read_config
from videokd.config.keys import default_config, named_node
from videokd.config.load import dump_config, load_config, override_config

__all__ = [
    "default_config",
    "dump_config",
    "load_config",
    "named_node",
    "override_config",
    "parse_config",
    "read_config",
]
