import pytest

from videokd.utils.errors import InputError
from videokd.utils.paths import escape_path, expand_path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", ""),
        ("data/ucf", "data/ucf"),
        ("/data/a~b", "/data/a~b"),
        ("~", "/home/me"),
        ("~/data", "/home/me/data"),
        ("./~", "./~"),
        ("$DISK/ucf", "/mnt/disk 1/ucf"),
        ("${DISK}s/$SET", "/mnt/disk 1s/ucf"),
        ("$TILDE/data", "/home/me/data"),
        ("a$$b", "a$b"),
        ("$$DISK", "$DISK"),
        ("/mnt/c$/x$1", "/mnt/c$/x$1"),
        ("hf:MCG-NJU/videomae-base", "hf:MCG-NJU/videomae-base"),
    ],
)
def test_home_and_variables_are_replaced(monkeypatch, text, path):
    for name, value in {"HOME": "/home/me", "DISK": "/mnt/disk 1", "SET": "ucf"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TILDE", "~")
    assert expand_path(text) == path
    assert expand_path(escape_path(path)) == path


@pytest.mark.parametrize("path", ["a$b", "$HOME", "${HOME}", "$$", "~/x"])
def test_an_escaped_path_stays_as_it_is(path):
    assert expand_path(escape_path(path)) in (path, f"./{path}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$NO_DISK/ucf", r"path '\$NO_DISK/ucf': the environment variable 'NO_DISK' is not set"),
        ("${NO_DISK}/ucf", "'NO_DISK' is not set or empty; set it, or write"),
        ("$EMPTY/ucf", "'EMPTY' is not set or empty"),
        ("${a b}", "'a b' is not set"),
        ("${}", "'' is not set"),
        ("~nobody-here/x", "there is no home folder ~nobody-here; write ./~nobody-here"),
    ],
)
def test_what_cannot_be_replaced_is_refused(monkeypatch, text, message):
    monkeypatch.delenv("NO_DISK", raising=False)
    monkeypatch.setenv("EMPTY", "")
    with pytest.raises(InputError, match=message):
        expand_path(text)
