import re

import pytest

from videokd.config import load_config
from videokd.config.hints import _FOREIGN
from videokd.config.keys import KEYS, NAMED_SECTIONS
from videokd.utils.errors import InputError

NODES = "DATASETS: {A: {}}\nEXPERTS: {A: {}}\nSTUDENTS: {A: {}}\n"


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        (
            "TRAIN.AUTO_RESUME",
            "not needed: the same command resumes from the last checkpoint",
        ),
        ("NUM_GPUS", "start it with `torchrun --nproc-per-node N tools/train_net.py`"),
        ("MODEL.ARCH", "networks are set in EXPERTS.<NAME> and STUDENTS.<NAME>"),
        ("TRAIN.CHECKPOINT_PERIOD", "here TRAIN.CHECKPOINT_PERIOD_SEC, in seconds"),
        ("DATA.PATH_TO_DATA_DIR", "here DATASETS.<NAME>.ANNOTATIONS"),
        ("work_dir", "here OUTPUT_DIR"),
    ],
)
@pytest.mark.parametrize("is_override", [False, True])
def test_a_key_of_another_tool_is_answered_with_ours(write, key, answer, is_override):
    *node, leaf = key.split(".")
    line = f"{node[0]}: {{{leaf}: 1}}\n" if node else f"{leaf}: 1\n"
    path = write(NODES if is_override else NODES + line)
    with pytest.raises(InputError, match=re.escape(f"unknown key {key}; {answer}")) as error:
        load_config(path, [key, "1"] if is_override else [])
    assert "\n" not in str(error.value)


def test_answers_name_keys_that_there_are():
    known = {*KEYS, *(f"{section}.<NAME>" for section in NAMED_SECTIONS)}
    for key, answer in _FOREIGN.items():
        named = re.findall(r"[A-Z_]+\.(?:<NAME>(?:\.[A-Z_]+)?|[A-Z_]+)", answer)
        assert set(named) <= known, key
        assert key not in known
