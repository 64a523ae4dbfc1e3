"""The words of comments, docstrings, messages, pages and names of tests: those that readers of the field have to decode are not used.

A word is listed here only if it is nearly always wrong in this project. Where one is right, ``RIGHT`` says in which phrase.
"""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("manifests", "separation", "datagen", "benchmarks", "docs", "tests")
LEFT_OUT = ("docs/results.md", "datagen/inverse/")  # written by benchmarks; not yet reworded
INSTEAD = {  # what not to write -> what to write
    r"came": "got, was, became",
    r"told": "reported, stated; distinguished",
    r"anew": "again, from the start",
    r"nobody": "no one, no process, no user",
    r"whoever": "a user who, a process that",
    r"for good": "permanently",
    r"once more": "again",
    r"at hand": "available",
    r"the like": "name the things",
    r"in words": "as text, with a message that",
    r"as good as": "practically, almost",
    r"turns? out": "is, proves to be",
    r"lies|lay": "is",
    r"stands (?:in|on|at|there|alone|beside|apart|above|still)": "is",
    r"by heart": "leave it out",
    r"asked for": "requested, required, configured",
    r"what a person (?:should|wants|calls)": "a note; a readable name",
    r"middle half": "interquartile range",
}
RIGHT = (  # phrases in which such a word is right
    "for good separators",
    "by Nobody",  # a name
)
SEARCH = re.compile("|".join(rf"(?P<w{number}>\b(?:{word})\b)" for number, word in enumerate(INSTEAD)), re.IGNORECASE)


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that people read, with their numbers: all of a page; of Python, comments, texts and names of tests."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield from enumerate(text.splitlines(), 1)
        return
    strings = (tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT or token.type in strings:
            yield from enumerate(token.string.splitlines(), token.start[0])
        elif token.type == tokenize.NAME and token.string.startswith("test_"):
            yield token.start[0], token.string.replace("_", " ")


def poor_words(text: str) -> list[tuple[str, str]]:
    """(word, what to write instead) for each word of a line that is listed."""
    for phrase in RIGHT:
        text = text.replace(phrase, "")
    return [(found[0], list(INSTEAD.values())[int((found.lastgroup or "w0")[1:])]) for found in SEARCH.finditer(text)]


def pages() -> list[Path]:
    """Every page and Python file of the project but this one, and those left out."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md")]
    found += [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "stemwright").glob("*.py")]  # its folders are links
    return [path for path in sorted(found) if path != Path(__file__) and not name_of(path).startswith(LEFT_OUT)]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_words_are_those_of_the_field():
    found = [
        f"{name_of(page)}:{line}: {word!r}; write: {instead}"
        for page in pages()
        for line, text in prose(page)
        for word, instead in poor_words(text)
    ]
    assert not found, "\n".join(found)


def test_listed_words_are_found_in_comments_texts_and_names_of_tests(tmp_path):
    path = tmp_path / "example.py"
    path.write_text('"""Nobody is told."""\n\ndef test_it_came(): ...\n\nx = 1  # made anew\ntold = f"lies {x}"\n')
    assert [(line, word.lower()) for line, text in prose(path) for word, _ in poor_words(text)] == [
        (1, "nobody"),
        (1, "told"),
        (3, "came"),
        (5, "anew"),
        (6, "lies"),
    ]
    assert poor_words("valid for good separators") == []
