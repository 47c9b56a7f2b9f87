"""What `aats` answers by itself, how it finds a command, and what becomes of errors."""

import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from aats_core.cli import main
from aats_core.cli.commands import COMMANDS, GROUPS, overview
from aats_core.cli.invoke import app_of
from aats_core.version import VERSION

FORBIDDEN = (
    "dependency_injector",
    "pydantic",
    "pydantic_settings",
    "pydantic_core",
    "fastapi",
    "apsw",
    "sqlite3",
    "httpx",
    "aiohttp",
    "urllib.request",
    "http.client",
    "aats_broker_memory",
    "aats_store_sqlite",
    "acme_toys",
)


def imported(place: Any, arguments: Sequence[str]) -> set[str]:
    result = place.python(
        f"""
        import sys, atexit
        sys.argv = ["aats", *{list(arguments)!r}]
        atexit.register(lambda: print("MODULES", *sys.modules, file=sys.stderr))
        from aats_core.cli import main
        sys.exit(main())
        """
    )
    assert result.returncode == 0, result.stderr
    return set(result.stderr.partition("MODULES ")[2].split())


class TestQuickAnswers:
    def test_the_version_is_that_of_the_distribution(self, place: Any) -> None:
        result = place.aats("--version")
        assert (result.returncode, result.stdout) == (0, f"aats {version('aats-core')}\n")
        assert version("aats-core") == VERSION

    @pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
    def test_the_help_lists_every_command_with_what_it_does(self, place: Any, arguments: tuple[str, ...]) -> None:
        result = place.aats(*arguments)
        assert result.returncode == 0
        for command in COMMANDS.values():
            line = next(line for line in result.stdout.splitlines() if line.startswith(f"  {command.name} "))
            assert line.split() == [*command.name.split(), *command.usage.split(), *command.summary.split()]

    def test_the_help_fits_a_terminal_of_80_columns(self) -> None:
        assert max(map(len, overview().splitlines())) <= 80

    def test_an_encoding_without_our_signs_is_no_error(self, place: Any) -> None:
        place.environ["PYTHONIOENCODING"] = "latin-1"
        result = place.aats("--help")
        assert result.returncode == 0
        assert result.stdout.startswith("Usage: aats COMMAND ?")

    @pytest.mark.parametrize("arguments", [("--help",), ("--version",)])
    def test_quick_answers_import_nothing_that_takes_time(self, place: Any, arguments: tuple[str, ...]) -> None:
        modules = imported(place, arguments)
        heavy = {
            "cyclopts",
            "rich",
            "msgspec",
            "asyncio",
            "inspect",
            "importlib.metadata",
            "aats_core.errors",
            *FORBIDDEN,
        }
        assert not modules & heavy
        assert {name for name in modules if name.startswith("aats_core.")} == {
            "aats_core.cli",
            "aats_core.cli.commands",
            "aats_core.cli.entry",
            "aats_core.version",
        }

    @pytest.mark.parametrize(
        "arguments",
        [
            ("plugins",),
            ("--show-completion", "bash"),
            ("--show-completion=fish",),
            ("run", "--help"),
        ],
    )
    def test_plugins_completion_and_help_import_no_injector_backend_or_web_library(
        self, place: Any, arguments: tuple[str, ...]
    ) -> None:
        assert not imported(place, arguments) & set(FORBIDDEN)


class TestTable:
    def test_every_command_has_a_function_whose_help_begins_with_a_sentence(self, place: Any) -> None:
        for command in COMMANDS.values():
            module = __import__(command.module, fromlist=[command.function])
            function = getattr(module, command.function)
            assert (function.__doc__ or "").splitlines()[0].endswith((".", ":")), command.name

    def test_the_documentation_names_every_command_and_every_option(self) -> None:
        text = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
        for command in COMMANDS.values():
            assert f"aats {command.name}" in text
            for argument in app_of(command, command.name).assemble_argument_collection():
                option = next((name for name in argument.names if name.startswith("--")), "")
                assert option in text, f"{command.name} {option}"

    def test_no_two_commands_share_a_name(self) -> None:
        names = [command.name for _, commands in GROUPS for command in commands]
        assert len(names) == len(set(names))


class TestHelpOfACommand:
    def test_it_says_what_the_command_takes(self, place: Any) -> None:
        result = place.aats("run", "--help")
        assert result.returncode == 0
        for word in ("Usage: aats run", "--plan", "--set", "--input", "--again", "--json", "exit code"):
            assert word in result.stdout

    def test_it_fits_a_narrow_terminal(self, place: Any) -> None:
        place.environ["COLUMNS"] = "40"
        result = place.aats("tasks", "--help")
        assert max(map(len, result.stdout.splitlines())) <= 40

    def test_a_command_of_two_words_has_its_own(self, place: Any) -> None:
        assert "Usage: aats config show" in place.aats("config", "show", "--help").stdout

    @pytest.mark.parametrize("flag", ["--help", "-h"])
    @pytest.mark.parametrize("word", sorted({name.split()[0] for name in COMMANDS if " " in name}))
    def test_the_first_of_two_words_has_that_of_all_that_follow_it(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], word: str, flag: str
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["aats", word, flag])
        assert main() == 0
        out, err = capsys.readouterr()
        commands = [command for command in COMMANDS.values() if command.name.split()[0] == word]
        assert err == ""
        assert out.startswith(f"Usage: aats {word} COMMAND …\n")
        assert [line.split() for line in out.splitlines() if line.startswith("  ")] == [
            [*command.name.split(), *command.usage.split(), *command.summary.split()] for command in commands
        ]


class TestBadCommandLines:
    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (("pluginz",), "there is no command 'pluginz'; did you mean plugins?"),
            (("--verion",), "there is no option '--verion'; did you mean --version?"),
            (("zzz",), "`aats --help` lists the commands"),
            (("config",), "say which: aats config schema, aats config show"),
            (("plugins", "--jso"), "Unknown option: --jso"),
            (("plugins", "more"), "more"),
            (("task",), "ID"),
            (("tasks", "--state", "odd"), "odd"),
            (("plans", "--limit", "many"), "many"),
            (("tasks", "--limit", "-1"), "--limit"),
            (("settle", "x/y", "perhaps"), "perhaps"),
            (("settle", "x/y", "done", "--output", "{"), "--output: not JSON"),
            (("tasks", "--team", "a.toml", "--state-dir", "b"), "either --team or --state-dir"),
            (("tasks", "--team", "nowhere.toml"), "nowhere.toml: it cannot be read: No such file or directory"),
            (("--install-completion", "nosh"), "there is no shell 'nosh' here, but bash"),
            (("run", "nowhere.toml"), "nowhere.toml: there is no such file"),
            (("run", "nowhere.toml", "--json"), "it needs --plan"),
            (("check", "nowhere.toml"), "nowhere.toml: there is no such file"),
            (("config", "show", "nowhere.toml"), "nowhere.toml: there is no such file"),
            (("simulate", "nowhere.yaml", "--workers", "2"), "nowhere.yaml: cannot be read"),
            (("submit", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
        ],
    )
    def test_one_message_says_what_is_wrong_and_the_exit_code_is_2(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        arguments: tuple[str, ...],
        says: str,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["aats", *arguments])
        assert main() == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("aats: ")
        assert says in err
        assert "Traceback" not in err

    def test_so_it_is_where_aats_is_a_process_of_its_own(self, place: Any) -> None:
        result = place.aats("pluginz")
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr == "aats: there is no command 'pluginz'; did you mean plugins?\n"

    def test_where_no_team_runs_it_says_how_to_start_one_and_the_exit_code_is_3(self, place: Any) -> None:
        result = place.aats("plans")
        assert result.returncode == 3
        assert result.stderr.startswith("aats: no team is running in .aats: start one with `aats run TEAM.toml`")


class TestErrors:
    @pytest.mark.parametrize(
        ("raised", "code", "says"),
        [
            ("SettingsError('the file is wrong')", 2, "aats: the file is wrong"),
            ("Refused(['a: b', 'c: d'], 'p.yaml')", 2, "aats: p.yaml: refused, 2 problems\n  a: b\n  c: d"),
            ("NotFound()", 2, "aats: There is nothing with that id."),
            ("StateLocked('held by process 7')", 3, "aats: held by process 7"),
            ("KeyboardInterrupt()", 130, "aats: interrupted"),
            ("BrokenPipeError()", 141, ""),
            ("ExceptionGroup('', [TeamUnavailable('gone'), TeamUnavailable('gone')])", 3, "aats: gone"),
            ("BaseExceptionGroup('', [ExceptionGroup('', [SettingsError('deep')])])", 2, "aats: deep"),
            ("SystemExit(5)", 5, ""),
        ],
    )
    def test_an_error_is_a_message_and_an_exit_code(self, place: Any, raised: str, code: int, says: str) -> None:
        result = fail(place, raised)
        assert (result.returncode, result.stderr.strip()) == (code, says)

    @pytest.mark.parametrize("raised", ["ValueError('oops')", "ExceptionGroup('', [ValueError('oops'), NotFound()])"])
    def test_of_an_unexpected_error_the_traceback_goes_to_a_file_that_is_named(self, place: Any, raised: str) -> None:
        result = fail(place, raised)
        assert result.returncode == 3
        assert result.stderr.startswith("aats: this should not have happened: ValueError: oops\nits traceback is in ")
        kept = Path(result.stderr.split()[-1])
        assert "Traceback (most recent call last)" in kept.read_text()
        assert kept.stat().st_mode & 0o077 == 0
        kept.unlink()

    def test_secrets_are_in_neither_the_message_nor_the_file(self, place: Any) -> None:
        result = fail(
            place, "(__import__('aats_core.secrets').secrets.remember('hunter2222'), ValueError('hunter2222'))[1]"
        )
        kept = Path(result.stderr.split()[-1])
        assert "hunter2222" not in result.stderr
        assert "ValueError: **********" in kept.read_text()
        kept.unlink()


def fail(place: Any, raised: str) -> subprocess.CompletedProcess[str]:
    result: subprocess.CompletedProcess[str] = place.python(
        f"""
        import sys
        from aats_core.cli import entry
        from aats_core.errors import *

        def fail(arguments):
            raise {raised}

        entry._answer = fail
        sys.exit(entry.main())
        """
    )
    return result


class TestPipes:
    @pytest.mark.parametrize(
        "arguments", [["--help"], ["config", "schema"], ["plugins"], ["--show-completion", "bash"]]
    )
    def test_a_pipe_that_is_closed_early_is_no_error(self, place: Any, arguments: list[str]) -> None:
        process = place.start(*arguments)
        process.stdout.close()
        assert process.stderr.read() == ""
        process.stderr.close()
        assert process.wait(30) in (0, 141)

    @pytest.mark.parametrize("arguments", [["--help"], ["config", "schema"], ["plugins"]])
    def test_a_full_disk_is_an_error_with_a_message(self, place: Any, arguments: list[str]) -> None:
        with Path("/dev/full").open("w") as full:
            process = place.start(*arguments, stdout=full)
            _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (3, "aats: what it prints cannot be written: No space left on device\n")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory, make_place: Any) -> Path:
    place = make_place(tmp_path_factory.mktemp("completion"))
    path: Path = place.path / "aats.bash"
    path.write_text(place.aats("--show-completion", "bash").stdout)
    return path


class TestCompletion:
    @pytest.mark.parametrize(
        ("line", "offers"),
        [
            ("aats pl", ["plugins", "plans"]),
            ("aats config ", ["schema", "show"]),
            ("aats run --p", ["--plan"]),
            ("aats config show --s", ["--set"]),
            ("aats tasks --state d", ["done"]),
            ("aats simulate --estimates ", ["known", "learned", "none"]),
            ("aats settle a/b ", ["done", "failed"]),
            ("aats --v", ["--version"]),
            ("aats run aa", ["aats.bash"]),
        ],
    )
    def test_bash_completes_commands_options_values_and_files(self, script: Path, line: str, offers: list[str]) -> None:
        code = f"""
            source {script}; cd {script.parent}
            COMP_LINE="$1"; COMP_WORDS=($1); [[ "$1" == *" " ]] && COMP_WORDS+=("")
            COMP_CWORD=$((${{#COMP_WORDS[@]}}-1)); _aats; printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        result = subprocess.run(["bash", "-c", code, "bash", line], text=True, capture_output=True, check=True)
        assert result.stdout.split() == offers

    def test_it_is_installed_for_the_shell_that_is_named(self, place: Any) -> None:
        result = place.aats("--install-completion", "bash")
        assert result.returncode == 0
        path = Path(re.search(r"is in (\S+)\.", result.stdout)[1])  # type: ignore[index]
        assert path.is_relative_to(place.path)
        assert "complete -F _aats aats" in path.read_text()
