"""Sentences that the check of the English must find, and sentences that it must not find."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools/check_english.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("check_english", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def check(tool, tmp_path, monkeypatch):
    """A function from a file's name and text to the faults that are found."""
    monkeypatch.setattr(tool, "ROOT", tmp_path)

    def check(text, name="file.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return list(tool.check_file(name))

    return check


def function(docstring, decorator=""):
    return f'{decorator}\ndef f():\n    """{docstring}"""\n'


@pytest.mark.parametrize(
    "docstring",
    [
        "The boxes of an image.",
        "Of one box with others: (K,).",
        "Whether training has ended.",
        "What a model says.",
        "Those of the decoder.",
        "Returns the boxes.",
        ":func:`read`, but in this process.",
        "",
    ],
)
def test_headless_docstrings_are_found(check, docstring):
    (fault,) = check(function(docstring))
    assert fault.startswith("file.py:2: f: the docstring begins with ") and fault.endswith("begin with a verb")


def test_headless_modules_classes_and_comments_are_found(check):
    text = '"""What a model says."""\n\n\nclass A:\n    """Those of the decoder."""\n\n'
    text += "    # Whether it trains.\n    x = 1\n"
    faults = check(text)
    assert [fault.split(":")[1] for fault in faults] == ["1", "4", "7"]
    assert all(fault.endswith("give the sentence a subject") for fault in faults)
    assert check("# The first line of a comment\n# What follows is its second.\n") == []


@pytest.mark.parametrize(
    "docstring", ["Return the boxes of an image.", "Read: a file.", "Tell whether training has ended.\n\n    More."]
)
def test_docstrings_that_begin_with_a_verb_are_not(check, docstring):
    assert check(function(docstring)) == []


def test_methods_and_coroutines_are_functions_and_properties_are_not(check):
    assert len(check('class A:\n    async def f(self):\n        """The boxes."""\n')) == 1
    for decorator in ("@property", "@cached_property", "@functools.cached_property"):
        assert check(function("The number of boxes.", decorator)) == []
    assert (
        check(
            '"""The boxes of an image."""\n\n\nclass A:\n    """The boxes of an image."""\n\n    def f(self): ...\n'
        )
        == []
    )


def test_docstrings_of_tests_say_what_holds(check):
    assert check(function("The boxes are those of the image."), "tests/test_file.py") == []


@pytest.mark.parametrize(
    ("sentence", "word"),
    [
        ("The file is made anew.", "anew"),
        ("It reads the names alone.", "names alone"),
        ("Whoever reads it", "Whoever"),
        ("so many steps", "so many"),
        ("nobody reads it", "nobody"),
        ("a Picture of a dog", "Picture"),
        ("two data sets", "data sets"),
    ],
)
@pytest.mark.parametrize("name", ["file.py", "tests/test_file.py", "docs/page.md"])
def test_refused_words_are_found_everywhere(check, sentence, word, name):
    text = f"\n{sentence}\n" if name.endswith(".md") else f"\n# {sentence}\n"
    (fault,) = check(text, name)
    assert fault.startswith(f"{name}:2: {word!r}: write ")


@pytest.mark.parametrize(
    "sentence", ["It is renewed.", "We leave it alone.", "A file that was left alone.", "an image of a dataset"]
)
def test_other_words_are_not(check, sentence):
    assert check(f"# {sentence}\n") == []


def test_verbs_are_sorted():
    text = TOOL.read_text()
    words = text[text.index('"""\n    Accept') : text.index('""".split()')].strip('" \n').split()
    assert words == sorted(set(words))


def test_exit_status(tool, capsys, tmp_path):
    assert tool.main(["tools/check_english.py", "Makefile"]) == 0
    assert capsys.readouterr().out == "plain English: nothing found\n"
    bad = tmp_path / "bad.md"
    bad.write_text("It is made anew.\n")
    assert tool.main([str(bad)]) == 1
    assert "1 sentence to rewrite" in capsys.readouterr().out


def test_help():
    done = subprocess.run([sys.executable, "-S", str(TOOL), "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "usage: check_english.py" in done.stdout
