import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aats_core import log
from aats_core.errors import StateError
from aats_core.log import Logging

SECRET = "hunter2222"
logger = logging.getLogger("aats.test")


def mask(text: str) -> str:
    return text.replace(SECRET, "***")


def logs(*, level: int = logging.INFO, console_level: int = logging.INFO) -> Logging:
    return Logging(level=level, console_level=console_level, redact=mask)


def kept(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "aats.log").read_text().splitlines()]


@pytest.fixture(autouse=True)
def _root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.level, root.handlers[:])
    yield
    assert (root.level, root.handlers) == before


class TestFile:
    def test_a_record_is_one_json_object_a_line(self, tmp_path: Path) -> None:
        with logs() as logging_:
            assert logging_.write_to(tmp_path) == tmp_path / "aats.log"
            logger.info("%d tasks\nof %s", 3, "plan", extra={"plan": "p1", "seconds": 1.5})
        [line] = kept(tmp_path)
        assert line.pop("time").endswith("+00:00")
        assert line == {
            "level": "info",
            "logger": "aats.test",
            "message": "3 tasks\nof plan",
            "plan": "p1",
            "seconds": 1.5,
        }

    def test_what_was_logged_before_the_file_was_open_is_in_it(self, tmp_path: Path) -> None:
        with logs() as logging_:
            logger.info("early")
            logging_.write_to(tmp_path)
            logger.info("late")
        assert [line["message"] for line in kept(tmp_path)] == ["early", "late"]

    def test_what_was_logged_is_in_it_also_where_nothing_follows(self, tmp_path: Path) -> None:
        with logs() as logging_:
            logger.info("only")
            logging_.write_to(tmp_path)
        assert [line["message"] for line in kept(tmp_path)] == ["only"]

    def test_a_second_run_adds_to_it(self, tmp_path: Path) -> None:
        for _ in range(2):
            with logs() as logging_:
                logging_.write_to(tmp_path)
                logger.info("run")
        assert len(kept(tmp_path)) == 2

    def test_only_its_user_can_read_it(self, tmp_path: Path) -> None:
        with logs() as logging_:
            path = logging_.write_to(tmp_path)
            assert path.stat().st_mode & 0o777 == 0o600

    def test_a_traceback_is_kept_whole(self, tmp_path: Path) -> None:
        with logs() as logging_:
            logging_.write_to(tmp_path)
            try:
                raise ValueError("oops")
            except ValueError:
                logger.exception("it failed")
        [line] = kept(tmp_path)
        assert line["message"] == "it failed"
        assert line["trace"].startswith("Traceback (most recent call last)")
        assert line["trace"].endswith("ValueError: oops")

    def test_it_is_set_aside_when_it_has_grown_and_never_grows_beyond_a_bound(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(log, "FILE_BYTES", 2000)
        with logs(console_level=logging.ERROR) as logging_:
            logging_.write_to(tmp_path)
            for number in range(200):
                logger.info("record %d", number)
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == ["aats.log", "aats.log.1", "aats.log.2", "aats.log.3"]
        assert all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())

    def test_a_message_that_is_too_long_is_cut(self, tmp_path: Path) -> None:
        with logs(console_level=logging.ERROR) as logging_:
            logging_.write_to(tmp_path)
            logger.info("x" * (log.TEXT_LIMIT + 7))
        [line] = kept(tmp_path)
        assert line["message"].endswith("x… (7 characters more)")

    def test_text_that_is_not_unicode_is_no_problem(self, tmp_path: Path) -> None:
        with logs(console_level=logging.ERROR) as logging_:
            logging_.write_to(tmp_path)
            logger.info("name \udcff", extra={"odd": {"a": object}})
        [line] = kept(tmp_path)
        assert line["message"].startswith("name ")

    def test_a_file_that_cannot_be_opened_is_an_error_that_names_it(self, tmp_path: Path) -> None:
        (tmp_path / "aats.log").mkdir()
        with logs() as logging_, pytest.raises(StateError, match=r"aats\.log cannot be opened: Is a directory"):
            logging_.write_to(tmp_path)

    def test_a_disk_that_is_full_is_told_once_and_stops_nothing(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "aats.log").symlink_to("/dev/full")
        with logs(console_level=logging.ERROR) as logging_:
            logging_.write_to(tmp_path)
            for _ in range(5):
                logger.info("lost")
        assert capsys.readouterr().err.count("aats.log cannot be written") == 1


class TestConsole:
    def test_a_record_is_a_short_line_on_stderr(self, capsys: pytest.CaptureFixture[str]) -> None:
        with logs():
            logger.warning("the disk is nearly full")
        out, err = capsys.readouterr()
        assert out == ""
        clock, text = err.split(" ", 1)
        assert clock.count(":") == 2
        assert text == "warning aats.test: the disk is nearly full\n"

    def test_a_warning_is_one_too(self, capsys: pytest.CaptureFixture[str]) -> None:
        with logs(), warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn(f"it will change, {SECRET}", UserWarning, stacklevel=1)
        err = capsys.readouterr().err
        assert "warning py.warnings: " in err
        assert "UserWarning: it will change, ***" in err

    def test_of_a_traceback_only_the_error_is_shown(self, capsys: pytest.CaptureFixture[str]) -> None:
        with logs():
            try:
                raise ValueError("oops")
            except ValueError:
                logger.exception("it failed")
        assert capsys.readouterr().err.endswith("aats.test: it failed (ValueError: oops)\n")

    def test_it_has_a_level_of_its_own(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with logs(level=logging.DEBUG, console_level=logging.WARNING) as logging_:
            logging_.write_to(tmp_path)
            logger.debug("small")
            logger.warning("large")
        assert "small" not in capsys.readouterr().err
        assert [line["message"] for line in kept(tmp_path)] == ["small", "large"]

    def test_a_level_below_that_of_the_file_is_nowhere(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with logs(level=logging.WARNING, console_level=logging.DEBUG) as logging_:
            logging_.write_to(tmp_path)
            logger.info("small")
        assert capsys.readouterr().err == ""
        assert kept(tmp_path) == []

    def test_a_stderr_that_is_closed_is_no_problem(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Closed:
            def write(self, text: str) -> int:
                raise BrokenPipeError

            def flush(self) -> None: ...

        monkeypatch.setattr(sys, "stderr", Closed())
        with logs() as logging_:
            logging_.write_to(tmp_path)
            logger.warning("unseen")
        assert [line["message"] for line in kept(tmp_path)] == ["unseen"]


class TestSecrets:
    def test_they_are_in_no_message_argument_traceback_or_extra_field(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with logs() as logging_:
            logging_.write_to(tmp_path)
            try:
                raise ValueError(f"cannot log in with {SECRET}")
            except ValueError:
                logger.exception(
                    "login %s", {"password": SECRET}, extra={"dsn": f"db://{SECRET}@host"}, stack_info=True
                )
        text = (tmp_path / "aats.log").read_text() + capsys.readouterr().err
        assert SECRET not in text
        assert "cannot log in with ***" in text

    def test_the_record_that_others_see_is_left_alone(self, tmp_path: Path) -> None:
        seen: list[logging.LogRecord] = []

        class Observer(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                seen.append(record)

        observer = Observer()
        logger.addHandler(observer)
        try:
            with logs():
                logger.warning("n %d", 3)
        finally:
            logger.removeHandler(observer)
        assert (seen[0].msg, seen[0].args) == ("n %d", (3,))


class TestNeverWaiting:
    def test_a_console_that_stalls_holds_nobody_up_and_what_was_lost_is_counted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        free = threading.Event()

        class Stalled:
            def write(self, text: str) -> int:
                assert free.wait(20)
                return len(text)

            def flush(self) -> None: ...

        monkeypatch.setattr(log, "WAITING_LIMIT", 50)
        monkeypatch.setattr(sys, "stderr", Stalled())
        with logs() as logging_:
            logging_.write_to(tmp_path)
            for number in range(200):
                logger.info("%d", number)
            free.set()
            while logging_._queue.queue.qsize() > 10:
                pass
            logger.info("last")
        messages = [line["message"] for line in kept(tmp_path)]
        assert len(messages) <= 55
        assert messages[-1] == "last"
        assert any("log records were lost, there were too many at once" in message for message in messages)

    def test_a_record_with_wrong_arguments_harms_no_other(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(logging, "raiseExceptions", False)
        with logs() as logging_:
            logging_.write_to(tmp_path)
            logger.info("%d", "text")
            logger.info("good")
        assert [line["message"] for line in kept(tmp_path)] == ["good"]
