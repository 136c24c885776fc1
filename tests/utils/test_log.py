import io
import logging
import re
from contextlib import suppress

from rich.console import Console
from rich.table import Table

from videokd.utils.log import log_duration, setup_logging, show


def test_log_goes_to_console_and_file_once_however_often_it_is_set_up(tmp_path):
    console = Console(file=io.StringIO(), width=100)
    for _ in range(2):
        setup_logging(console, tmp_path / "out" / "run.log")
    logging.getLogger("videokd.engine").info("step %d", 7)
    logged = (tmp_path / "out" / "run.log").read_text()
    assert logged.count("step 7") == 1
    assert console.file.getvalue().count("step 7") == 1
    setup_logging(console)  # closes the file


def test_what_is_shown_and_how_long_things_took_is_in_the_file(tmp_path):
    console = Console(file=io.StringIO(), width=20)
    setup_logging(console, tmp_path / "run.log")
    logger = logging.getLogger("videokd.test")
    table = Table(title="Top-1 on the test splits")
    table.add_column("a column that is wider than this terminal")
    table.add_row("12.5")
    with log_duration("stage test", logger=logger):
        show(console, table, logger=logger)
        show(console, "seed 0", logger=logger)
    with suppress(ValueError), log_duration("stage export", logger=logger):
        raise ValueError("no disk")
    with log_duration("stage report", logger=logger):
        pass
    setup_logging(console)  # closes the file
    text = (tmp_path / "run.log").read_text()
    assert "a column that is wider than this terminal" in text
    patterns = (
        *("stage test: started\n", ": seed 0\n", "12.5"),
        r"stage export: ended after 0\.\d s: ValueError: no disk\n",
        r"stage report: finished in 0\.\d s\n",
    )
    assert all(re.search(pattern, text) for pattern in patterns)
    shown = console.file.getvalue()
    assert "seed 0" in shown
    assert "12.5" in shown
    assert "stage" not in shown
