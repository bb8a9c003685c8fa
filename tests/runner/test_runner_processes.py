"""The runner's own mechanics: ports, processes, the guard, the scratch directory and its state file."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from copeck.testkit.waiting import eventually_sync
from deploy.devstack import running
from deploy.devstack import scratch as scratch_module
from deploy.devstack.console import RunnerError
from deploy.devstack.ports import HOST, Ports, is_free
from deploy.devstack.process import Guard, Process, Spec, start_ticks, uninterrupted
from deploy.devstack.scratch import ROOT, Scratch, read_state
from deploy.devstack.stack import Stack

PYTHON = sys.executable


@pytest.fixture
def guard() -> Iterator[Guard]:
    made = Guard()
    yield made
    made.close()


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COPECK_SCRATCH_DIR", str(tmp_path))
    monkeypatch.delenv("COPECK_STACK_FILE", raising=False)
    return tmp_path


def sleeper(name: str = "sleeper", **options: object) -> Spec:
    return Spec(name, [PYTHON, "-S", "-c", "import time; print('up', flush=True); time.sleep(60)"], **options)  # type: ignore[arg-type]


def lives(process: Process) -> bool:
    return process.alive


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_ports_are_free_and_distinct_and_the_same_next_time() -> None:
    first = [Ports("seed").take("postgres"), Ports("seed").take("postgres")]
    assert first[0] == first[1]
    ports = Ports("seed")
    taken = [ports.take("postgres") for _ in range(5)]
    assert len(set(taken)) == 5
    assert all(is_free(port) for port in taken)


def test_runners_that_start_at_once_choose_different_ports() -> None:
    """Nobody listens yet when the second looks; a runner that has ended claims nothing."""
    first, second = Ports("same"), Ports("same")
    port = first.take("postgres")
    assert second.take("postgres") != port
    del first
    assert Ports("same").take("postgres") == port


def test_a_signal_waits_until_what_was_started_is_in_the_list() -> None:
    heard: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("signal"))
    try:
        with uninterrupted():
            signal.raise_signal(signal.SIGTERM)
            heard.append("listed")
        assert heard == ["listed", "signal"]
        signal.raise_signal(signal.SIGTERM)
        assert heard == ["listed", "signal", "signal"]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_port_that_somebody_has_is_left_to_them() -> None:
    port = Ports("other").take("redis")
    with socket.socket() as sock:
        sock.bind((HOST, port))
        sock.listen()
        assert Ports("other").take("redis") != port
        assert Ports("other").take("public", preferred=(port,)) != port


def test_a_process_is_started_logged_and_stopped(tmp_path: Path, guard: Guard) -> None:
    log = tmp_path / "sleeper.log"
    process = Process(sleeper(health=lambda: None if "up" in log.read_text() else "not yet"), tmp_path, guard)
    process.start_and_wait()
    assert lives(process)
    pid = process.pid
    assert pid is not None
    process.stop()
    assert not lives(process)
    assert gone(pid)


def test_a_process_that_ends_says_why(tmp_path: Path, guard: Guard) -> None:
    spec = Spec("broken", [PYTHON, "-S", "-c", "raise SystemExit('no such table')"], health=lambda: "not yet")
    process = Process(spec, tmp_path, guard)
    process.start()
    with pytest.raises(RunnerError, match=r"broken ended with status 1(?s:.)*no such table"):
        process.wait_ready()


def test_a_process_that_does_not_answer_is_given_up(tmp_path: Path, guard: Guard) -> None:
    process = Process(sleeper(health=lambda: "connection refused", ready_timeout_s=0.1), tmp_path, guard)
    process.start()
    with pytest.raises(RunnerError, match=r"was not ready after 0 s \(connection refused\)"):
        process.wait_ready()
    process.kill()


def test_a_process_that_ignores_its_signal_is_killed(tmp_path: Path, guard: Guard) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    log = tmp_path / "deaf.log"
    spec = Spec(
        "deaf",
        [PYTHON, "-S", "-c", code],
        health=lambda: None if "up" in log.read_text() else "not yet",
        stop_timeout_s=0.2,
    )
    process = Process(spec, tmp_path, guard)
    process.start_and_wait()
    process.stop()
    assert process.exit_code == -signal.SIGKILL


def test_paused_processes_wake_and_killed_ones_start_again(tmp_path: Path, guard: Guard) -> None:
    process = Process(sleeper(), tmp_path, guard)
    process.start()
    process.pause()
    process.resume()
    process.kill()
    assert not lives(process)
    assert not process.wanted
    process.start()
    assert lives(process)
    process.stop()


def test_children_do_not_outlive_a_killed_runner(tmp_path: Path) -> None:
    code = textwrap.dedent(
        f"""
        import os, signal
        from pathlib import Path
        from deploy.devstack.process import Guard, Process, Spec
        grandchild = "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
        process = Process(Spec("child", [{PYTHON!r}, "-S", "-c", grandchild]), Path({str(tmp_path)!r}), Guard())
        process.start()
        print(process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    runner = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT, timeout=30)
    assert runner.returncode == -signal.SIGKILL
    pid = int(runner.stdout)
    eventually_sync(lambda: gone(pid), timeout_s=12)


def test_a_second_run_says_that_one_is_up(base: Path) -> None:
    first = Scratch()
    first.acquire()
    first.write_state({"urls": {"public": "http://127.0.0.1:8080"}})
    second = Scratch()
    with pytest.raises(RunnerError, match=r"already up at http://127.0.0.1:8080 .*make down"):
        second.acquire()
    second.release()
    state = read_state()
    assert state is not None
    assert state["runner"]["pid"] == os.getpid()
    assert (base / "stack.json").stat().st_mode & 0o777 == 0o600
    first.release()
    assert read_state() is None


def test_instances_do_not_meet(base: Path) -> None:
    main, test = Scratch(), Scratch("test")
    main.acquire()
    test.acquire()
    test.write_state({})
    main.release()
    assert read_state() is None
    assert read_state("test") is not None
    test.release()


def test_what_a_crashed_run_left_is_stopped(base: Path) -> None:
    left = subprocess.Popen(["sleep", "60"], start_new_session=True)
    state = {"processes": {"rabbitmq": {"pid": left.pid, "start_ticks": start_ticks(left.pid)}}}
    (base / "stack.json").write_text(json.dumps(state))
    assert read_state() is None
    scratch = Scratch()
    scratch.acquire()
    assert left.wait(timeout=5) == -signal.SIGKILL
    scratch.release()


def test_a_reused_pid_is_left_alone(base: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    ticks = start_ticks(stranger.pid)
    assert ticks is not None
    state = {"processes": {"rabbitmq": {"pid": stranger.pid, "start_ticks": ticks - 1}}, "outside": ["/etc"]}
    (base / "stack.json").write_text(json.dumps(state))
    scratch = Scratch()
    scratch.acquire()
    assert stranger.poll() is None
    scratch.release()
    stranger.kill()
    stranger.wait()


def test_a_server_of_another_user_gets_a_directory_that_it_can_reach(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch_module, "_others_may_enter", lambda _path: False)
    monkeypatch.setattr("deploy.devstack.scratch.shutil.chown", lambda *_arguments: None)
    scratch = Scratch()
    scratch.acquire()
    data = scratch.data_dir("postgres", "postgres")
    assert data.is_dir()
    assert base not in data.parents
    scratch.release()
    assert not data.exists()


def test_a_ctrl_c_that_something_swallows_while_it_starts_stops_it_all_the_same(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a finalizer or a library does, in whose midst it comes."""

    def start(_stack: Stack, *, announce: bool = True) -> None:
        assert not announce
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Stack, "start", start)
    running.foreground("swallowed")
