"""The command line as a whole: its commands and options, and what their help imports."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from videokd.cli.main import COMMANDS, main
from videokd.utils.errors import InputError

SURFACE = Path(__file__).with_name("surface.txt")
PREPARE = ("demo", "count", "index", "check", "convert", "preview")
EVERY_COMMAND = [*([name] for name in COMMANDS), *(["prepare", name] for name in PREPARE)]


def usage(words, monkeypatch, capsys):
    """Return the usage line of a command: its arguments, options and choices."""
    monkeypatch.setenv("COLUMNS", "2000")  # argparse wraps to it
    monkeypatch.setattr(sys, "argv", ["videokd", *words, "--help"])
    with pytest.raises(SystemExit, match="^0$"):
        main([*words, "--help"])
    return capsys.readouterr().out.partition("\n")[0]


def test_commands_and_options_are_the_frozen_ones(monkeypatch, capsys):
    """Run with SURFACE=write after a change that is meant, and list it in CHANGELOG.md."""
    lines = [usage(words, monkeypatch, capsys) for words in EVERY_COMMAND]
    text = "".join(f"{line}\n" for line in lines)
    if os.environ.get("SURFACE") == "write":
        SURFACE.write_text(text)
    assert text == SURFACE.read_text()


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()[2:-2]] == list(COMMANDS)


def test_a_command_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(InputError, match="command must be one of train, test, .*, got 'trian'"):
        main(["trian"])


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "models"])
def test_help_does_not_import_torch(name):
    code = "import sys; from videokd.cli.main import run; run()"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code, name, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported
    assert imported.isdisjoint({"torch", "torchvision", "timm", "transformers"})


def test_a_reader_that_ends_early_is_no_error():
    code = (
        "from videokd.cli.common import run_tool; run_tool(lambda _: print('line\\n' * 10**6) or 0)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.read(5) == b"line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141  # 128 + SIGPIPE, as for programs in C
