"""The documentation tells of everything there is, and what it says can be followed."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pluggy
import pytest

import aats_core
from aats_core import hookspecs
from aats_core.cli.commands import COMMANDS
from aats_core.layers import SECTIONS

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/*/README.md"))
PAGES = [
    ROOT / "README.md",
    *DOCS,
    *(path / "README.md" for path in PLUGINS),
    *sorted(ROOT.glob("examples/*/README.md")),
]

HOOKS = {name: found for name, found in vars(hookspecs).items() if hasattr(found, f"{hookspecs.PROJECT}_spec")}


def read(name: str) -> str:
    return (ROOT / name).read_text()


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def links(page: Path) -> list[str]:
    found = re.findall(r"\[[^]]*\]\(([^)\s]+)\)", without_code(page.read_text()))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_code(page.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks(*languages: str) -> list[tuple[str, str, str]]:
    """Return page, language and text of every code block in these languages."""
    return [
        (str(page.relative_to(ROOT)), language, text)
        for page in PAGES
        for language, text in re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
        if language in languages
    ]


def commands() -> set[tuple[str, str]]:
    """Return every `aats …` that a page tells the reader to type, with the page."""
    shown = re.compile(
        r"(?:^(?:\$ |    )?(?:uv run )?|`(?:uv run )?|&& )aats ((?:config |dlq |migrate )?[a-z][a-z-]+)", re.MULTILINE
    )
    return {(str(page.relative_to(ROOT)), command) for page in PAGES for command in shown.findall(page.read_text())}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
class TestPages:
    def test_every_link_leads_somewhere(self, page):
        for link in links(page):
            target, _, anchor = link.partition("#")
            file = (page.parent / target).resolve() if target else page
            assert file.exists(), f"{link}: there is no {file}"
            assert not anchor or anchor in anchors(file), f"{link}: {file.name} has no such heading"

    def test_it_begins_with_a_title_and_has_no_other(self, page):
        assert len(re.findall(r"^# .+$", without_code(page.read_text()), flags=re.MULTILINE)) == 1
        assert page.read_text().startswith("# ")


class TestWhatIsMentioned:
    @pytest.mark.parametrize("page", [page.name for page in DOCS if page.name != "README.md"])
    def test_every_page_in_the_index(self, page):
        assert f"]({page})" in read("docs/README.md")

    def test_the_index_in_the_readme(self):
        assert "](docs/README.md)" in read("README.md")

    @pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
    def test_every_plugin_in_the_index_and_in_the_concepts(self, plugin):
        assert f"](../{plugin.relative_to(ROOT)}/README.md)" in read("docs/README.md")
        assert f"`{plugin.name}`" in read("docs/concepts.md")

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command(self, command):
        assert re.search(rf"`aats {command}\b", read("docs/cli.md"))

    @pytest.mark.parametrize("hook", HOOKS)
    def test_every_hook_as_it_is_called(self, hook):
        signature = inspect.signature(HOOKS[hook])
        shown = ", ".join(f"{name}: {parameter.annotation}" for name, parameter in signature.parameters.items())

        assert f"`{hook}({shown})`" in read("docs/write-a-plugin.md")
        assert inspect.getdoc(HOOKS[hook])

    @pytest.mark.parametrize("name", aats_core.__all__)
    def test_every_public_name(self, name):
        assert f"`{name}`" in read("docs/write-a-plugin.md")

    @pytest.mark.parametrize("section", SECTIONS)
    def test_every_section_of_a_team_file(self, section):
        assert f"`[{section}" in read("docs/team-file.md")

    def test_every_session_of_nox_in_the_readme(self):
        sessions = [
            node.name
            for node in ast.parse(read("noxfile.py")).body
            if isinstance(node, ast.FunctionDef)
            and any(ast.unparse(decorator).startswith("nox.session") for decorator in node.decorator_list)
        ]

        assert sessions
        assert [name for name in sessions if f"`{name}`" not in read("README.md")] == []


class TestWhatIsShown:
    @pytest.mark.parametrize(("page", "command"), sorted(commands()))
    def test_a_command_exists(self, page, command):
        assert command in COMMANDS or command.partition(" ")[0] in COMMANDS

    @pytest.mark.parametrize(("page", "language", "text"), blocks("python"))
    def test_python_can_be_read_and_imports_what_there_is(self, page, language, text):
        tree = ast.parse(text)

        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "aats_core":
                module = importlib.import_module(node.module or "")
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []

    @pytest.mark.parametrize(("page", "language", "text"), blocks("toml"))
    def test_toml_can_be_read(self, page, language, text):
        assert tomllib.loads(text)

    def test_the_team_and_the_plan_in_the_readme_can_be_run(self, tmp_path):
        shown = {language: text for page, language, text in blocks("toml", "yaml") if page == "README.md"}
        (tmp_path / "team.toml").write_text(shown["toml"])
        (tmp_path / "plan.yaml").write_text(shown["yaml"])
        (tmp_path / "docs").mkdir()
        aats = Path(sys.executable).with_name("aats")

        done = subprocess.run(
            [aats, "run", "team.toml", "--plan", "plan.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=100
        )

        assert done.returncode == 0, done.stdout + done.stderr
        assert "3 done, 1 skipped of 4 tasks" in done.stdout + done.stderr


def test_every_hook_is_found():
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)

    assert HOOKS.keys() == manager.hook.__dict__.keys() - {"_call_history"}
