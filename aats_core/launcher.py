"""The launcher: a small process that starts programs for `aats_core.processes`, and ends all that comes of them.

It runs as a script, on the standard library alone and with one thread, so that what has to happen between fork and
exec is safe however many threads the team's process has. For each program it forks a supervisor, which adopts
whatever the program leaves behind. A supervisor ends its program when it is told to, or when the socket to the team's
process closes, which it does however that process ends.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

ABANDONED = 0.5
"""Seconds between SIGTERM and SIGKILL where the team's process is gone, and may come back to run the task again."""

LAST = 5.0
"""Seconds to wait for what was sent SIGKILL; only a process stuck in the kernel takes longer."""

LENGTH = struct.Struct("!I")
MAX_FDS = 16
BEYOND = 64  # no program asks for a file descriptor from here on
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def main() -> None:
    """Fork a supervisor for every request, until the team's process closes its end."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the supervisors
    while True:
        asked, fds, _, _ = socket.recv_fds(requests, 1, MAX_FDS)
        if not asked:
            return
        if fds and os.fork() == 0:
            requests.close()
            supervise(fds)
        for fd in fds:
            os.close(fd)


def supervise(fds: list[int]) -> NoReturn:
    """Start one program, and exit once it and all that came of it have ended."""
    try:
        for fd in fds:
            os.set_inheritable(fd, False)  # noqa: FBT003 - its only signature
        control = socket.socket(fileno=fds[0])
        wake = _wake_on_child()
        adopts = _prctl(PR_SET_CHILD_SUBREAPER, 1) and _children_file().exists()
        request = _read_request(control)
        pid, problem = spawn(request, fds[1:])
        if problem:
            _say(control, problem)
        else:
            _say(control, {"pid": pid})
            tree = Tree(pid, wake, adopts=adopts)
            tree.end(tree.follow(control, request["grace"]))
            _say(control, {"code": tree.code})
        _await_end(control)
    except EOFError:
        pass  # the team's process was gone before it had said what to start
    except BaseException:  # noqa: BLE001 - contained: this process must not go on as the launcher
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(0)


def spawn(request: dict[str, Any], fds: list[int]) -> tuple[int, dict[str, Any]]:
    """Fork and execute the program; returns its process id, and what is wrong where it could not be executed."""
    heard, low = os.pipe()
    said = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, BEYOND)
    os.close(low)
    supervisor = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(request, fds, said, supervisor)
    for fd in (said, *fds):
        os.close(fd)
    with os.fdopen(heard, "rb") as pipe:
        problem = pipe.read()
    if not problem:
        return pid, {}
    os.waitpid(pid, 0)
    return 0, json.loads(problem)


def _become(request: dict[str, Any], fds: list[int], said: int, supervisor: int) -> NoReturn:
    """Turn this forked process into the program."""
    place = "program"
    try:
        os.setsid()
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(1)
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and exec would keep that
            signal.signal(ignored, signal.SIG_DFL)
        _arrange(dict(zip(request["targets"], fds, strict=True)))
        if request["cwd"] is not None:
            place = "cwd"
            os.chdir(request["cwd"])
            place = "program"
        os.execvpe(request["argv"][0], request["argv"], request["env"])  # noqa: S606 - what this file is for
    except OSError as error:
        _write(said, {"errno": error.errno, "place": place})
    except BaseException as error:  # noqa: BLE001 - contained: this process must not go on as the supervisor
        _write(said, {"errno": 0, "place": place, "reason": str(error)})
    finally:
        os._exit(1)


def _arrange(wanted: dict[int, int]) -> None:
    """Give the program its file descriptors, and /dev/null for those of the standard three that it was not given."""
    null = os.open(os.devnull, os.O_RDWR)
    sources = {target: wanted.get(target, null) for target in {0, 1, 2, *wanted}}
    moved = {target: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, BEYOND) for target, fd in sources.items()}
    for target, fd in moved.items():
        os.dup2(fd, target)


class Tree:
    """A program and all that came of it: its process group, and where the kernel lets us adopt them, every descendant.

    The program itself is reaped last, so that its group cannot become another's meanwhile.
    """

    def __init__(self, pid: int, wake: int, *, adopts: bool) -> None:
        self.pid = pid
        self.code: int | None = None
        self._wake = wake
        self._adopts = adopts

    def follow(self, control: socket.socket, grace: float) -> float:
        """Wait until the program has ended or is to be ended; returns the seconds that what is left has to end."""
        while self._look():
            ready, _, _ = select.select([control.fileno(), self._wake], [], [])
            if control.fileno() in ready:
                return grace if _told_to_end(control) else ABANDONED
            self._drain()
        return grace

    def end(self, grace: float) -> None:
        """End what is left: SIGTERM, and SIGKILL after that many seconds."""
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, LAST)):
            deadline = time.monotonic() + patience
            told: set[int] = set()
            while self._look() or self._orphans():
                self._tell(number, told)
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    break
                select.select([self._wake], [], [], remaining)
                self._drain()
        _kill_group(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)

    def _look(self) -> bool:
        """Tell whether the program runs, and note how it ended."""
        if self.code is None and hasattr(os, "waitid"):
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            if ended is not None:
                self.code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        elif self.code is None:  # macOS before Python 3.13
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is None

    def _orphans(self) -> list[int]:
        """Return what was adopted and still runs, and wait for what has ended."""
        if not self._adopts:
            return []
        adopted = [int(pid) for pid in _children_file().read_text().split() if int(pid) != self.pid]
        return [pid for pid in adopted if os.waitpid(pid, os.WNOHANG) == (0, 0)]

    def _tell(self, number: int, told: set[int]) -> None:
        """Signal the group and what was adopted, each of them once."""
        if self.pid not in told:
            _kill_group(self.pid, number)
        fresh = [pid for pid in self._orphans() if pid not in told]
        for pid in fresh:
            with suppress(PermissionError):  # it runs as another user, and ends when it likes
                os.kill(pid, number)  # not waited for yet, so it is still the same process
        told.update([self.pid, *fresh])

    def _drain(self) -> None:
        """Forget the wake-ups so far; what they were about is looked at next."""
        with suppress(BlockingIOError):
            os.read(self._wake, 4096)


def _kill_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # it is empty, or all of it runs as another user
        os.killpg(group, number)


def _wake_on_child() -> int:
    """Return a file descriptor that becomes readable whenever a child has ended."""
    woken, waker = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return woken


def _prctl(option: int, value: int) -> bool:
    """Set an attribute of this process; tells whether the kernel knows it, which only Linux does."""
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)


def _children_file() -> Path:
    return Path(f"/proc/self/task/{os.getpid()}/children")


def _read_request(control: socket.socket) -> dict[str, Any]:
    (length,) = LENGTH.unpack(_read(control, LENGTH.size))
    request: dict[str, Any] = json.loads(_read(control, length))
    return request


def _read(control: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = control.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


def _told_to_end(control: socket.socket) -> bool:
    """Read what came; tells whether it was a word, and not the end of the team's process."""
    try:
        return bool(control.recv(1))
    except ConnectionError:
        return False


def _say(control: socket.socket, what: dict[str, Any]) -> None:
    with suppress(ConnectionError):  # nobody is left who wants to know
        control.sendall(json.dumps(what).encode() + b"\n")


def _await_end(control: socket.socket) -> None:
    """Wait until the team's process has closed its end.

    What it writes until then must not fail: it would take the connection for lost before it has read what was said.
    """
    with suppress(OSError):
        control.shutdown(socket.SHUT_WR)
        while control.recv(64):
            pass


def _write(fd: int, what: dict[str, Any]) -> None:
    os.write(fd, json.dumps(what).encode())


if __name__ == "__main__":
    main()
