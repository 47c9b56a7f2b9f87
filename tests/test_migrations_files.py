"""What is wrong with the files of steps is said before anything is changed, with the file and what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from tests.conftest import Site
from tests.migrating import HEAD, NOTHING, Project, project_at

TWO_STORES = """
[stores.primary]
path = "primary.db"

[stores.archive]
path = "archive.db"
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with project_at(tmp_path, TWO_STORES) as project:
        yield project


def touching(*stores: str, after: tuple[str, ...] = ()) -> str:
    lines = f"    stores = {stores!r}\n    after = {after!r}\n"
    return NOTHING.replace("    async", f"{lines}\n    async", 1)


class TestWrongFiles:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("def up(:", "0001_bad.py:13: it cannot be imported: invalid syntax"),
            ("raise SystemExit(1)", "0001_bad.py:13: it cannot be imported: SystemExit: 1"),
            ("import nothing_like_it", "0001_bad.py:13: it cannot be imported: ModuleNotFoundError"),
            ("x = 1", "0001_bad.py: it has to define one subclass of aats_core.Migration, not 0"),
            (NOTHING * 2 + "class Other(Nothing): ...", "one subclass of aats_core.Migration, not 2"),
            ("class Bad(Migration): ...", "0001_bad.py: Bad does not define up"),
            (NOTHING.replace("down", "dawn"), "Nothing has neither a `down` nor says why it is `irreversible`"),
            (NOTHING + "    irreversible = 'so'", "Nothing has a `down` and is `irreversible`: it is one or the other"),
            (NOTHING + "    stores = 'primary'", "Nothing names its `stores` as a tuple of text"),
            (NOTHING + "    stores = ()", "Nothing names its `stores` as a tuple of text"),
            (NOTHING + "    after = '0000'", "Nothing names what it comes `after` as a tuple of text"),
            (
                touching("nowhere"),
                "0001_bad.py: it touches store 'nowhere', but the team's stores are primary, archive",
            ),
            (touching("primary", after=("0009_no",)), "0001_bad.py: it comes after '0009_no', which is no step"),
            (touching("primary", after=("0001_bad",)), "these steps come after each other: 0001_bad"),
        ],
    )
    def test_a_step_that_cannot_be_used(self, project, text, message):
        project.step("0001_bad", text)

        for command in ("status", "plan", "up"):
            answer = project.migrate(command)
            assert answer.returncode == 2
            assert message in answer.stderr
            assert "Traceback" not in answer.stderr

    def test_every_problem_is_named_at_once(self, project):
        for name in ("0001_a", "0001_b", "Bad-Name"):
            project.step(name, NOTHING)
        project.step("0002_c", "x =")

        errors = project.migrate("up").stderr

        assert "0001_b.py: 0001_a.py has the same number; give one of them another" in errors
        assert "Bad-Name.py: a step is named by a number and small letters, such as 0001_add_owner.py" in errors
        assert "0002_c.py:13: it cannot be imported" in errors

    def test_a_directory_that_the_team_file_names_has_to_be_there(self, project):
        answer = project.migrate("status", "--set", "team.migrations=elsewhere")

        assert answer.returncode == 2
        assert "team.toml: [team] migrations: there is no directory" in answer.stderr


class TestFilesAndLedgers:
    def test_a_file_that_was_changed_is_refused_until_it_is_accepted(self, project):
        path = project.step("0001_nothing", NOTHING)
        assert project.migrate("up").returncode == 0
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        assert project.migrate("status").returncode == 0, "other ends of lines are no change"
        path.write_text(path.read_text() + "# a remark\n")

        refused = project.migrate("up")

        assert refused.returncode == 2
        assert "0001_nothing.py: its content is not what was applied to primary" in refused.stderr
        assert "its file was changed" in project.migrate("status").stdout
        assert project.migrate("down", "--all", "--yes").returncode == 2
        accepted = project.migrate("up", "--accept", "0001")
        assert (accepted.returncode, accepted.stdout) == (0, "0001_nothing: its file is accepted as it is now\n")
        assert project.migrate("status").returncode == 0

    def test_a_step_that_was_applied_and_is_gone_is_refused(self, project):
        project.step("0001_nothing", NOTHING).rename(project.path / "kept")
        (project.path / "kept").rename(project.path / "migrations/0001_nothing.py")
        assert project.migrate("up").returncode == 0
        (project.path / "migrations/0001_nothing.py").unlink()

        answer = project.migrate("up")

        assert answer.returncode == 2
        assert "0001_nothing: it was applied to store primary, but there is no such step here" in answer.stderr

    def test_a_step_that_another_has_overtaken_is_refused(self, project):
        project.step("0002_late", NOTHING)
        assert project.migrate("up").returncode == 0
        project.step("0001_early", NOTHING)

        answer = project.migrate("up")

        assert answer.returncode == 2
        assert "0001_early.py: 0002_late was applied without it; give it a number above" in answer.stderr

    def test_a_store_that_was_lost_is_migrated_again_and_the_other_is_not(self, project):
        project.step("0001_fill", FILL_BOTH)
        project.step("0002_more", touching("archive"))
        assert project.migrate("up").returncode == 0
        (project.path / ".aats/archive.db").unlink()

        assert project.states() == {"0001_fill": "unfinished", "0002_more": "pending"}
        assert project.migrate("up").returncode == 0

        assert [thing["n"] for thing in project.find("things")] == [1]
        assert [thing["n"] for thing in project.find("things", "archive")] == [1]

    def test_an_id_may_be_shortened_but_not_to_what_could_be_two(self, project):
        project.step("0001_a", NOTHING)
        project.step("0002_b", NOTHING)

        assert "'000' could be 0001_a, 0002_b" in project.migrate("up", "--to", "000").stderr
        assert "there is no step '3'" in project.migrate("plan", "--to", "3").stderr
        assert project.migrate("up", "--to", "0001").returncode == 0
        assert project.states() == {"0001_a": "applied", "0002_b": "pending"}


FILL_BOTH = """
class Both(Migration):
    stores = ("primary", "archive")
    irreversible = "it is a test"

    async def up(self, ctx: MigrationContext) -> None:
        for store in self.stores:
            if not await ctx.position(store=store):
                await ctx.advance(True, Update("things", {"_id": 1}, {"$inc": {"n": 1}}, upsert=True), store=store)
"""

REACHING = """
class Reaching(Migration):
    irreversible = "it is a test"

    async def up(self, ctx: MigrationContext) -> None:
        {what}
"""


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("ctx.records('archive')", "it touches store 'archive', which its `stores` do not name"),
        ("ctx.store()", "a step in a transaction has the records of its transaction only; set `atomic = False`"),
        ("await ctx.position()", "a step in a transaction is done as a whole or not at all; set `atomic = False`"),
    ],
)
def test_what_a_step_may_not_do_says_why(project, what, message):
    project.step("0001_reaching", REACHING.format(what=what))

    answer = project.migrate("up")

    assert answer.returncode == 1
    assert message in answer.stderr


AGENT = """
from aats_core import Agent

class Registry(Agent):
    '''Does nothing.'''
"""


class TestStepsOfPlugins:
    @pytest.fixture
    def registry(self, site: Site) -> Path:
        """A plugin with steps of its own; returns their directory."""
        package = site.path / "acme_registry"
        steps = package / "migrations"
        steps.mkdir(parents=True)
        (package / "__init__.py").write_text(dedent(AGENT))
        (steps / "__init__.py").write_text("raise RuntimeError('nobody asked for this')")
        (steps / "0001_shelves.py").write_text(HEAD + NOTHING)
        (steps / "0002_labels.py").write_text(HEAD + NOTHING)
        points = {"aats.agents": {"registry": "acme_registry:Registry"}}
        site.add("acme-registry", {**points, "aats.migrations": {"registry": "acme_registry.migrations"}})
        return steps

    def test_they_come_before_the_projects_own_where_the_team_has_the_plugin(self, project, registry):
        project.step("0001_own", NOTHING)
        assert list(project.states()) == ["0001_own"]
        assert "acme_registry" not in sys.modules

        project.write("team.toml", TWO_STORES + "[agents.registry]\n")

        order = ["acme-registry/0001_shelves", "acme-registry/0002_labels", "0001_own"]
        assert list(project.states()) == order
        answer = project.migrate("up")
        assert [line.split(":")[0] for line in answer.stdout.splitlines() if "applied" in line] == order

    def test_a_plugin_that_goes_leaves_its_steps_behind_and_one_that_comes_back_finds_them(self, project, registry):
        project.write("team.toml", TWO_STORES + "[agents.registry]\n")
        assert project.migrate("up").returncode == 0

        project.write("team.toml", TWO_STORES)
        assert project.migrate("up").returncode == 0
        project.write("team.toml", TWO_STORES + "[agents.registry]\n")

        assert set(project.states().values()) == {"applied"}

    def test_a_step_may_come_after_one_from_elsewhere(self, project, registry):
        project.write("team.toml", TWO_STORES + "[agents.registry]\n")
        project.step("0001_own", NOTHING)
        (registry / "0002_labels.py").write_text(HEAD + touching("primary", after=("0001_own",)))

        assert list(project.states()) == ["acme-registry/0001_shelves", "0001_own", "acme-registry/0002_labels"]

    def test_a_package_of_steps_that_is_not_there_is_named(self, project, site):
        site.add(
            "acme-registry",
            {"aats.agents": {"registry": "acme_lone:Registry"}, "aats.migrations": {"registry": "acme_lone.steps"}},
            modules={"acme_lone": AGENT},
        )
        project.write("team.toml", TWO_STORES + "[agents.registry]\n")

        answer = project.migrate("up")

        assert answer.returncode == 2
        assert "acme-registry: its steps, acme_lone.steps, cannot be found" in answer.stderr
