"""The process that ends an embedded server with its last client; run by its path, standard library alone.

`python -I -S _supervisor.py LOCK BINARY [ARGUMENT ...]` in the server's directory, where LOCK is an inherited
descriptor. All paths are relative to the directory, so that one that was removed and made anew is not taken for it.
Three files there are locks (flock): the kernel drops one with its last holder, however that one ends.

- `clients.lock`: shared, held by each client. Who gets it exclusively knows that no client is left.
- `supervisor.lock`: exclusive. A client locks it, starts this process and hands the descriptor over.
- `server.lock`: exclusive, held by the server and its own children (they rewrite the append-only file) and by
  nobody else. While one of them lives no second server starts, even if this process is killed.

`server.lock` also holds the server's process number, for a supervisor that comes later. The server leads a process
group, and the number of a group is not given out again while the group has a member: where the lock is held, the number
in it is safe to signal.
"""

from __future__ import annotations

import _thread
import fcntl
import os
import signal
import sys
import time

_SOCKET = "server.sock"
_STOP_BOUND_S = 10.0
_WATCH_INTERVAL_S = 1.0
_START_LOOK_INTERVAL_S = 0.005
_N_START_LOOKS = 1000
_MAX_RECORD_BYTES = 300
_STOP_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def main(lock: int, command: list[str]) -> None:
    """Leave the caller's process tree, then keep the server until it is not needed or not there.

    Args:
        lock: descriptor of `supervisor.lock`, locked. The end of this process frees it.
        command: the server's binary, absolute, and its arguments, with `server.sock` as its socket.
    """
    os.set_inheritable(lock, False)
    if os.fork():
        os._exit(0)  # the caller reaps this process at once, and is left without a child of ours
    _write_number(lock, os.getpid())
    os.umask(0o077)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a caller that ignores it would make the server ignore it
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    claims = _open_lock("clients.lock")
    server = Server(command)
    locks = {"clients.lock": claims, "supervisor.lock": lock, "server.lock": server.lock}
    _thread.start_new_thread(stop_without_clients, (server, claims))
    _thread.start_new_thread(stop_when_removed, (server, locks))
    _thread.start_new_thread(stop_on_signal, (server,))
    server.wait()
    os._exit(0)  # the three threads still wait


def stop_without_clients(server: Server, claims: int) -> None:
    """Stop the server when no client is left.

    The lock is kept: a client that comes now waits for it, and then finds neither server nor supervisor.
    """
    fcntl.flock(claims, fcntl.LOCK_EX)
    server.stop()


def stop_when_removed(server: Server, locks: dict[str, int]) -> None:
    """Stop the server when its socket or a lock was removed or replaced: it cannot be reached, or not be told of.

    A server removes the path of its socket as it ends. One that was replaced is killed, so that the other's stays.
    """
    first = _wait_for(_SOCKET)
    while first is not None and _identity(_SOCKET) == first and all(map(_is_at, locks, locks.values())):
        time.sleep(_WATCH_INTERVAL_S)
    if _identity(_SOCKET) not in {None, first}:
        server.kill()
    server.stop()


def stop_on_signal(server: Server) -> None:
    """Stop the server when this process is told to end."""
    signal.sigwait(_STOP_SIGNALS)
    server.stop()


class Server:
    """The one server of this directory: a child of this process, or one that outlived an earlier supervisor."""

    def __init__(self, command: list[str]) -> None:
        """Start the server unless one is alive."""
        self._child: int | None = None
        lock = _open_lock("server.lock")
        if _try_lock(lock):
            _remove(_SOCKET)  # of a server that was killed; it must not be taken for that of the new one
            self._child = _start(command, lock)
        os.close(lock)
        self.lock = _open_lock("server.lock")

    def wait(self) -> None:
        """Return when the server and all its children have ended."""
        if self._child is not None:
            os.waitpid(self._child, 0)
            self.kill()
        fcntl.flock(self.lock, fcntl.LOCK_EX)

    def stop(self) -> None:
        """Let the server complete its file and end; kill it if that takes too long."""
        _send(self._number(), signal.SIGTERM)
        time.sleep(_STOP_BOUND_S)  # this process ends with the server, most often within milliseconds
        self.kill()

    def kill(self) -> None:
        """End the server and its children at once. What they have written is with the kernel and not lost."""
        _send(-self._number(), signal.SIGKILL)

    def _number(self) -> int:
        """Return the number of the server's process and group; 0 when they have ended or are not of this machine."""
        return 0 if _try_lock(self.lock) else self._child or _read_number(self.lock)


def _start(command: list[str], lock: int) -> int:
    """Run the server in a session of its own, with the lock; return its process number."""
    _write_number(lock, 0)
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        _write_number(lock, os.getpid())
        os.set_inheritable(lock, True)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execv(command[0], command)  # noqa: S606 - a shell would only add quoting
    except OSError as error:
        os.write(2, b"%s\n" % os.fsencode(str(error)))
    finally:
        os._exit(127)


def _send(target: int, signal_number: int) -> None:
    """Signal a process, or a group as its negative number; 0 is nobody."""
    try:
        if target:
            os.kill(target, signal_number)
    except OSError:
        pass  # it has just ended


def _open_lock(name: str) -> int:
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(path: str) -> None:
    if _identity(path) is not None:
        os.unlink(path)  # noqa: PTH108 - importing pathlib takes as long as all the rest of the start


def _write_number(lock: int, number: int) -> None:
    """Say who holds the lock, and the name of the machine or container where the number means anything."""
    os.pwrite(lock, b"%d %s\n" % (number, _machine()), 0)


def _read_number(lock: int) -> int:
    line = os.pread(lock, _MAX_RECORD_BYTES, 0).partition(b"\n")[0]  # what follows is of an earlier, longer line
    number, _, machine = line.partition(b" ")
    return int(number) if machine == _machine() else 0


def _machine() -> bytes:
    return os.fsencode(os.uname().nodename)


def _wait_for(path: str) -> tuple[int, ...] | None:
    for _ in range(_N_START_LOOKS):
        if (found := _identity(path)) is not None:
            return found
        time.sleep(_START_LOOK_INTERVAL_S)
    return None


def _is_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _identity(path: str) -> tuple[int, ...] | None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
