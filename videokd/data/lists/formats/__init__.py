"""Readers of dataset formats: annotation lists and folders -> VideoIndex."""

from videokd.data.lists.formats.finding import name_first
from videokd.data.lists.formats.folder import count_folder, read_folder
from videokd.data.lists.formats.hmdb51 import count_hmdb51, read_hmdb51
from videokd.data.lists.formats.kinetics import count_kinetics, read_kinetics
from videokd.data.lists.formats.path_list import count_path_list, read_path_list
from videokd.data.lists.formats.ssv2 import count_ssv2, read_ssv2
from videokd.data.lists.formats.table import (
    FORMATS,
    DatasetSpec,
    Format,
    count_dataset,
    find_dataset,
    read_dataset,
)
from videokd.data.lists.formats.ucf101 import count_ucf101, read_ucf101

__all__ = [
    "FORMATS",
    "DatasetSpec",
    "Format",
    "count_dataset",
    "count_folder",
    "count_hmdb51",
    "count_kinetics",
    "count_path_list",
    "count_ssv2",
    "count_ucf101",
    "find_dataset",
    "name_first",
    "read_dataset",
    "read_folder",
    "read_hmdb51",
    "read_kinetics",
    "read_path_list",
    "read_ssv2",
    "read_ucf101",
]
