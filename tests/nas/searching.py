"""A real `nas search` in a process of its own, and the processes that it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

MARK = "NAS_TEST_MARK"
PATIENCE_S = 240.0  # gives up waiting; asserts nothing
OPEN = {"RAY_AUTH_MODE": "disabled"}  # by default Ray asks for a token where its user happens to have one
LISTENS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
"""What a shell starts in the background ignores Ctrl-C, and so does all that it starts."""
UNDISTURBED = {
    "RAY_worker_niceness": "0",  # by default 15: beside other tests, or anything else, trials hardly get to run
    "RAY_memory_monitor_refresh_ms": "0",  # or Ray kills workers because of what others on this machine need
}


class Program:
    """A command in the background; whatever it starts inherits a mark by which the test finds it."""

    def __init__(self, *command: str, cwd: Path | None = None, variables: Mapping[str, str] | None = None) -> None:
        self.mark = uuid.uuid4().hex
        root = str(Path(__file__).resolve().parents[2])
        own = {MARK: self.mark, "PYTHONPATH": root, "COLUMNS": "200"}
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **UNDISTURBED, **own, **(variables or {})},
            cwd=cwd,
            start_new_session=True,
        )

    def wait(self) -> tuple[int, str]:
        """Exit status and everything printed."""
        output, _ = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, output

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for something to become true while the command runs."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, f"ended early:\n{self.process.communicate()[0]}"
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(0.1)

    def processes(self) -> list[psutil.Process]:
        """All live processes that bear the mark."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self.mark:
                    found.append(process)
        return found

    def kill_everything(self) -> None:
        """SIGKILL to every process, the command first."""
        self.process.kill()
        self.process.communicate()
        while remaining := self.processes():
            for process in remaining:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            time.sleep(0.1)

    def interrupt(self) -> None:
        """What Ctrl-C sends."""
        self.process.send_signal(signal.SIGINT)

    def wait_until_gone(self) -> None:
        """Processes of a finished command may need a moment to end."""
        deadline = time.monotonic() + 60
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.2)

    def finish(self) -> tuple[int, str]:
        """Exit status and everything printed; nothing of it is left running, and no traceback was shown."""
        try:
            status, output = self.wait()
            self.wait_until_gone()
            assert self.processes() == []
        finally:
            self.kill_everything()
        assert "Traceback" not in output
        return status, output


class Search(Program):
    """One `nas` command; `prelude` is Python that runs first, in the driver alone."""

    def __init__(
        self,
        *arguments: str,
        cwd: Path | None = None,
        prelude: str = "",
        variables: Mapping[str, str] | None = None,
    ) -> None:
        code = f"{LISTENS}\n{prelude}\nfrom nas.cli import main\nmain()"
        super().__init__(sys.executable, "-c", code, *arguments, cwd=cwd, variables=variables)


_IN_TURN = """
import json, sys
from nas.cli import main
for arguments in json.loads(sys.argv.pop()):
    sys.argv[1:] = arguments
    status = 0
    try:
        main()
    except SystemExit as stop:
        status = stop.code or 0
    print(f"exit status {status}", flush=True)
"""


def in_turn(*commands: Sequence[str]) -> list[tuple[int, str]]:
    """`nas` commands one after the other in one process, which imports torch and Ray once; as `Search.finish` of each."""
    program = Program(sys.executable, "-c", _IN_TURN, json.dumps(commands), variables=OPEN)
    status, output = program.finish()
    assert status == 0, output
    pieces = re.split(r"^exit status (\d+)\n", output, flags=re.MULTILINE)
    return [(int(code), text) for text, code in zip(pieces[::2], pieces[1::2], strict=False)]


def journal(run: Path) -> list[dict[str, Any]]:
    """Finished trials by number, times left out."""
    lines = (run / "trials.jsonl").read_text().splitlines()[1:]
    trials = [json.loads(line) for line in lines]
    return sorted(({k: v for k, v in t.items() if k != "times"} for t in trials), key=lambda t: t["number"])


def num_journalled(run: Path) -> int:
    """Whole trials on the disk so far."""
    path = run / "trials.jsonl"
    return max(0, path.read_bytes().count(b"\n") - 1) if path.is_file() else 0
