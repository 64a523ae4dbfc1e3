"""What the documents say is run: commands, Python and configurations of README and site; links and anchors."""

import ast
import contextlib
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import typer
from commands import stemwright

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NEEDS_WEIGHTS = ("stemwright models fetch htdemucs_ft", "stemwright balance SONG --model htdemucs_ft", "stemwright separate CORPUS")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands(page: Path) -> list[str]:
    return [line for block in blocks(page, "sh") for line in block.strip().splitlines()]


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def verbs() -> dict[str, typer.core.TyperCommand]:
    from stemwright.datagen.cli.app import app

    return dict(typer.main.get_command(app).commands)


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
    return subprocess.run(arguments, cwd=folder, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory):
    """A folder where `make demo` was run."""
    folder = tmp_path_factory.mktemp("demo")
    with contextlib.chdir(folder):
        done = stemwright("demo", "demo-corpus")
    (folder / "said").write_text(done.stdout)
    return folder


def test_the_demo_shows_its_results_and_the_next_steps(demo_folder):
    said = (demo_folder / "said").read_text()
    assert "Mix balance of" in said
    assert all(stem in said for stem in ("drums", "bass", "other", "vocals"))
    assert "check: 0 problems" in said
    assert "What to look at next" in said
    assert re.search(r"^demo: \d+ done, 0 skipped, 0 rejected$", said.rstrip().splitlines()[-1])


def test_every_verb_has_help_with_an_example():
    for name, verb in verbs().items():
        assert verb.help, name
        assert "Example: stemwright" in verb.help, name
        later = inspect.cleandoc(verb.help).split("\n\n")[1:]
        assert [paragraph for paragraph in later if "\n" in paragraph] == [], f"{name}: the terminal shows the line break of the source"


def test_every_command_on_a_page_has_a_verb_and_options_that_exist():
    shown = [path.read_text().splitlines()[0] for path in (ROOT / "docs" / "outputs").glob("*.txt")]
    lines = [line for page in PAGES for line in commands(page)] + [line[2:] for line in shown if line.startswith("$ ")]
    for line in lines:
        program, *words = shlex.split(line)
        if program == "make":
            assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line
            continue
        assert program == "stemwright", line
        verb = verbs()[words[0]]
        if len(words) > 1 and words[1] in getattr(verb, "commands", {}):
            verb = verb.commands[words[1]]
        options = {name for parameter in verb.params for name in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= options, line
    assert len(lines) >= 30


def test_the_recipes_for_clusters_call_verbs_and_options_that_exist():
    found = 0
    for page in PAGES:
        text = "\n".join(block for language in ("bash", "yaml", "py") for block in blocks(page, language))
        for words in re.findall(r"""stemwright["',\s]+([a-z]+\b.*)""", text):
            if (name := words.split()[0].strip("\"',")) in verbs():
                ours = re.split(r"[#|;&)]", words)[0]
                options = {option for parameter in verbs()[name].params for option in parameter.opts}
                assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", ours)) <= options, f"{page_name(page)}: {words}"
                found += 1
    assert found >= 16


def run_commands(page: Path, tmp_path: Path, multitrack_folder) -> int:
    songs = multitrack_folder(1, 1, duration_s=6.0)
    for toml in blocks(page, "toml"):
        if name := re.match(r"# (\w+\.toml)\n", toml):
            (tmp_path / name[1]).write_text(toml)
    for name in ("multitracks.toml", "restore.toml", "degradations.toml", "consoles.toml"):
        shutil.copy(ROOT / "docs" / "guides" / name, tmp_path)
    (tmp_path / "removal.toml").write_text(next(iter(blocks(ROOT / "README.md", "toml"))))
    places = {"SONGS": str(songs), "SONG": str(next(songs.glob("train/*/mixture.wav"))), "CORPUS": str(tmp_path / "corpus")}
    places["STEMS"] = str(Path(places["SONG"]).parent)
    ran = 0
    for line in commands(page):
        words = [re.sub(rf"^({'|'.join(places)})(?=/|$)", lambda found: places[found[0]], word) for word in shlex.split(line)]
        if "--jobs" in words:
            words[words.index("--jobs") + 1] = "1"  # processes have tests of their own, and start slowly
        if words[0] == "stemwright" and not line.startswith(NEEDS_WEIGHTS):
            with contextlib.chdir(tmp_path):
                stemwright(*words[1:])
            ran += 1
    return ran


def test_the_commands_of_the_readme_run(multitrack_folder, tmp_path):
    assert run_commands(ROOT / "README.md", tmp_path, multitrack_folder) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES[1:] if commands(page)], ids=page_name)
def test_the_commands_of_a_page_run(page, multitrack_folder, tmp_path):
    songs = multitrack_folder(1, 1, duration_s=6.0)
    stemwright("build", songs, tmp_path / "corpus")
    (tmp_path / "demo-corpus").symlink_to("corpus")
    wanted = [line for line in commands(page) if line.startswith("stemwright") and not line.startswith(NEEDS_WEIGHTS)]
    assert run_commands(page, tmp_path, multitrack_folder) == len(wanted)


RUN_PAGES = """
import sys
from pathlib import Path
for page in sorted(Path("pages").iterdir()):
    print("page", page.name, flush=True)
    exec(compile(page.read_text(), page.name, "exec"), {"__name__": "__main__"})
"""


def test_the_python_of_all_pages_runs_after_the_demo(demo_folder):
    (demo_folder / "pages").mkdir()
    (demo_folder / "removal-corpus").symlink_to("demo-corpus")
    scripts = {page_name(page): "\n".join(blocks(page, "python")) for page in PAGES if "contributing" not in page.name}
    scripts |= {page_name(path): path.read_text() for path in (ROOT / "docs" / "guides").glob("*.py")}
    for name, script in scripts.items():
        if script and not name.startswith("docs/extending"):  # tests/extensions run what those pages show
            (demo_folder / "pages" / name.replace("/", "_")).write_text(script)
    assert len([line for line in scripts["README.md"].splitlines() if line.strip()]) <= 24
    done = run([sys.executable, "-c", RUN_PAGES], demo_folder)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert "wet (4, 1, 2, 132300) dry (4, 1, 2, 132300)" in done.stdout
    assert re.search(r"vocals: -\d+\.\d LU", done.stdout)


def test_the_configurations_on_the_pages_are_configurations():
    from stemwright.datagen.run.configuration import parse

    texts = {page_name(page): blocks(page, "toml") for page in PAGES if not page_name(page).startswith("docs/extending")}
    texts |= {page_name(path): [path.read_text()] for path in (ROOT / "docs" / "guides").glob("*.toml")}
    for name, found in texts.items():
        for text in found:
            parse(text, where=name)
    assert sum(map(len, texts.values())) >= 6


def texts_of_the_program() -> set[str]:
    """Every text of the sources; what an f-string or a log message fills in is a NUL."""
    sources = [path for room in ("manifests", "separation", "datagen") for path in (ROOT / room).rglob("*.py")]
    nodes = [node for path in sources for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    texts = {node.value.replace("%s", "\0") for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    filled = [node.values for node in nodes if isinstance(node, ast.JoinedStr)]
    return texts | {"".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in parts) for parts in filled}


def test_every_message_in_the_tables_of_what_goes_wrong_is_one_of_the_program():
    """Each is a text of the program with names and numbers filled in, or several of them; an ellipsis stands for what was left out."""
    texts = {text.strip(" \0") for text in texts_of_the_program() if len(text.replace("\0", "").strip()) >= 12 and " " in text.strip()}
    patterns = [re.compile(".{1,80}?".join(map(re.escape, text.split("\0")))) for text in texts]
    tables = (ROOT / "docs" / "guides" / "machines.md").read_text(encoding="utf-8").split("## What goes wrong")[1]
    rows = [line.split(" | ")[0] for line in tables.splitlines() if line.startswith("| ")]
    messages = [message for row in rows for message in re.findall(r"`([^`]{20,})`", row)]
    unknown = []
    for message in messages:
        known = {place for pattern in patterns for found in pattern.finditer(message) for place in range(*found.span())}
        left = "".join("\0" if place in known else character for place, character in enumerate(message))
        for part in re.split(r"\0+|\.\.\.", left):
            words = re.sub(r"\S*[\d/(]\S*|[A-Z]{2,}", "", part).strip(" .:;,")  # without numbers, paths and placeholders
            if len(words) > 12 and not any(part.strip() in text for text in texts):
                unknown.append(f"{message}: {part}")
    assert unknown == []
    assert len(messages) >= 30


class Page(HTMLParser):
    """The links, the loaded files and the anchors of a page of HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in ("img", "script", "source") and "src" in values:
            self.loaded.append(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload"):
            self.loaded.append(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The documentation site, built with warnings as errors."""
    folder = tmp_path_factory.mktemp("site")
    done = run([sys.executable, str(ROOT / "docs" / "build.py"), str(folder)], ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path: Page(path.read_text(encoding="utf-8")) for path in (folder / "html").rglob("*.html")}


def test_every_link_and_anchor_of_the_site_leads_somewhere(site):
    dead = []
    for path, page in site.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target not in site or (parts.fragment and unquote(parts.fragment) not in site[target].anchors):
                dead.append(f"{path.name}: {link}")
    assert dead == []
    assert len(site) >= 30


def test_a_page_loads_nothing_from_a_network(site):
    for path, page in site.items():
        assert [name for name in page.loaded if urlsplit(name).scheme or name.startswith("//")] == [], path.name
        missing = [name for name in page.loaded if not (path.parent / unquote(urlsplit(name).path)).exists()]
        assert missing == [], path.name
    for style in next(iter(site)).parent.rglob("*.css"):
        assert not re.search(r"@import|url\(.?https?:", style.read_text(encoding="utf-8")), style.name


def test_the_reference_has_every_effect_verb_and_public_name(site):
    import stemwright
    from stemwright.datagen.effects import EFFECTS

    pages = {path.relative_to(path.parents[1]).as_posix(): page for path, page in site.items() if path.parent.name == "reference"}
    effects = {path.stem for path in site if path.parent.name == "effects"}
    own = {name for name, effect in EFFECTS.items() if effect.module.__name__.startswith("stemwright.")}
    assert own <= effects
    assert all({"settings", "conventions", "traits"} <= page.anchors for path, page in site.items() if path.stem in own)
    assert {f"command-{name}" for name in verbs()} <= pages["reference/commands.html"].anchors
    documented = pages["reference/api.html"].anchors
    assert {f"stemwright.{name}" for name in stemwright.__all__ if not name.startswith("_")} <= documented


def test_the_links_of_the_readme_lead_to_files():
    for link in re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        assert (ROOT / path).exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}, link


def test_every_effect_has_its_equation_and_its_picture():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from generate.effect_plots import PLOTS, SHOWS
        from generate.equations import EQUATIONS
    finally:
        sys.path.pop(0)
    from stemwright.datagen.effects import EFFECTS

    own = {name for name, effect in EFFECTS.items() if effect.module.__name__.startswith("stemwright.")}
    assert set(EQUATIONS) == set(PLOTS) == set(SHOWS) == own


def test_the_tests_named_as_proof_exist():
    text = (ROOT / "docs" / "proof.md").read_text(encoding="utf-8")
    assert [name for name in re.findall(r"`(tests/[^`]+)`", text) if not (ROOT / name).exists()] == []


def test_the_constraints_install_cpu_torch_and_the_packages_are_named():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text()
    folders = {"stemwright"} | {
        "stemwright." + str(path.parent.relative_to(ROOT)).replace("/", ".")
        for room in ("manifests", "separation", "datagen")
        for path in (ROOT / room).rglob("__init__.py")
    }
    assert set(project["tool"]["setuptools"]["packages"]) == folders
