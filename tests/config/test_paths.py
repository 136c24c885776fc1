import re

import pytest
import yaml

from videokd.config import dump_config, load_config
from videokd.config.schema import PATH_KEYS
from videokd.utils.errors import InputError

NODES = {"DATASETS": {"A": {}}, "EXPERTS": {"A": {}}, "STUDENTS": {"A": {}}}
PATHS = {
    "OUTPUT_DIR": "runs/x",
    "SYNTHETIC.ROOT": "data/x",
    "DATA.INDEX_DIR": "index",
    "DATA.FRAME_CACHE": "frames",
    "DATASETS.A.ROOT": "videos",
    "DATASETS.A.ANNOTATIONS": "lists/all.csv",
    "EXPERTS.A.WEIGHTS": "expert.pth",
    "STUDENTS.A.WEIGHTS": "student.pth",
}


def dotted(node, prefix=""):
    for key, value in node.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def nested(paths):
    values = {section: {"A": {}} for section in NODES}
    for key, path in paths.items():
        *names, last = key.split(".")
        node = values
        for name in names:
            node = node.setdefault(name, {})
        node[last] = path
    return yaml.safe_dump(values)


@pytest.mark.parametrize(("prefix", "folder"), [("~", "/home/me"), ("${DISK}", "/mnt/a$b")])
def test_home_and_variables_are_expanded_in_every_path(write, monkeypatch, prefix, folder):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DISK", "/mnt/a$b")
    wanted = {key: f"{folder}/{path}" for key, path in PATHS.items()}
    written = {key: f"{prefix}/{path}" for key, path in PATHS.items()}
    of_words = load_config(write(nested({})), [word for pair in written.items() for word in pair])
    of_file = load_config(write(nested(written)))
    again = load_config(write(dump_config(of_file), "dumped.yaml"))
    for cfg in (of_words, of_file, again):
        assert wanted.items() <= dict(dotted(cfg)).items()


def test_every_key_that_names_a_path_is_known_as_one(write):
    leaves = [key for key, _ in dotted(load_config(write(nested({}))))]
    assert {key for key in leaves if key.rsplit(".", 1)[-1] in PATH_KEYS} == set(PATHS)
    # Words that the name of a new path would hold.
    words = re.compile("DIR$|ROOT|(?<!PRO)FILE$|FOLDER|PATH|CACHE$|(?<!_)WEIGHTS$|ANNOTATIONS")
    assert {key.rsplit(".", 1)[-1] for key in leaves if words.search(key)} == set(PATH_KEYS)


def test_a_variable_that_is_not_set_is_named_with_its_key(write, monkeypatch):
    monkeypatch.delenv("NO_DISK", raising=False)
    message = r"config.yaml: OUTPUT_DIR: path '\$NO_DISK/runs': the environment variable 'NO_DISK'"
    with pytest.raises(InputError, match=message):
        load_config(write(nested({"OUTPUT_DIR": "$NO_DISK/runs"})))
    with pytest.raises(InputError, match=r"the command line: DATASETS.A.ROOT: path '~nobody-here'"):
        load_config(write(nested({})), ["DATASETS.A.ROOT", "~nobody-here"])


def test_a_base_may_lie_in_the_home_folder(write, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(nested({"OUTPUT_DIR": "runs/base"}), "base.yaml")
    (tmp_path / "sub").mkdir()
    assert load_config(write("_BASE_: ~/base.yaml\n", "sub/c.yaml")).OUTPUT_DIR == "runs/base"


def test_a_dollar_in_other_values_stays(write):
    cfg = load_config(write(nested({})), ["DATASETS.A.GROUP_PATTERN", "(a)$HOME$"])
    assert cfg.DATASETS.A.GROUP_PATTERN == "(a)$HOME$"
    assert load_config(write(dump_config(cfg), "dumped.yaml")) == cfg
