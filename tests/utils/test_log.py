import io
import logging

from rich.console import Console

from videokd.utils.log import setup_logging


def test_log_goes_to_console_and_file_once_however_often_it_is_set_up(tmp_path):
    console = Console(file=io.StringIO(), width=100)
    for _ in range(2):
        setup_logging(console, tmp_path / "out" / "run.log")
    logging.getLogger("videokd.engine").info("step %d", 7)
    logged = (tmp_path / "out" / "run.log").read_text()
    assert logged.count("step 7") == 1
    assert console.file.getvalue().count("step 7") == 1
    setup_logging(console)  # closes the file
