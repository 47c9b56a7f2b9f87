"""Start the servers that the tests use, print where they are, and keep them until Ctrl-C.

Names choose some of them: `nox -s services -- redis nats`. Their data is gone afterwards.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.services import SERVERS
from tests.services.service import ServiceError


def main(names: list[str]) -> int:
    """Run the servers named, or all that can be had."""
    unknown = sorted(set(names) - set(SERVERS))
    if unknown:
        print(f"no such server: {', '.join(unknown)}; there are: {', '.join(SERVERS)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="aats-services-") as directory, ExitStack() as stack:
        for name in names or SERVERS:
            kind = SERVERS[name]
            if reason := kind.missing():
                print(f"# {name}: {reason}")
                continue
            server = kind(Path(directory) / name)
            stack.callback(server.stop)
            try:
                server.start()
            except ServiceError as error:
                print(f"# {name}: {error}", file=sys.stderr)
                return 1
            print(f"export AATS_TEST_{name.upper()}_URL={server.url}", flush=True)
        print("# running; Ctrl-C stops them", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    return 0


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    sys.exit(main(sys.argv[1:]))
