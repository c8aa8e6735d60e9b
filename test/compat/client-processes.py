"""Runs Debian's OpenStack clients, each run a process of its own.

Most of the time of such a client is that of loading its modules. Here it is forked from a process that has them
loaded, and then runs the client's program as it is. Which modules those are is learnt: a run tells what it loaded,
and the next ones find it loaded.

A line of JSON on the standard input starts a run, or kills it: {"id", "program", "arguments", "environment", "out",
"err", "loaded"}, {"kill": id}. `out` and `err` are files for what it prints, `loaded` is one for the names of modules.
A line on the standard output says that it has ended: {"id", "code"}; a run that a signal ended has the negative
signal. All ends with the standard input.
"""

import atexit
import gc
import importlib
import json
import os
import re
import runpy
import select
import signal
import sys

runs = {}  # process id: request


def child(request):
    """Becomes the client: what runs from here on is its program, up to the end of the interpreter."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for stream, path in ((1, request["out"]), (2, request["err"])):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, stream)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    # What the program calls is loaded anew: it may take the arguments when it is loaded, and not when it is called.
    with open(request["program"]) as file:
        entries = re.findall(r"^from (\S+) import main$", file.read(), re.MULTILINE)
    for name in entries:
        sys.modules.pop(name, None)
    before = set(sys.modules)

    def tell():
        with open(request["loaded"], "w") as file:
            json.dump([name for name in sys.modules if name not in before and name not in entries], file)

    atexit.register(tell)
    sys.path[0] = os.path.dirname(request["program"])
    sys.argv = [request["program"], *request["arguments"]]
    runpy.run_path(request["program"], run_name="__main__")
    sys.exit(0)


def load(path):
    """Modules that a run has loaded; one that cannot be loaded here is loaded by each run."""
    try:
        with open(path) as file:
            names = json.load(file)
    except (OSError, ValueError):
        return
    for name in names:
        if name in sys.modules:
            continue
        try:
            importlib.import_module(name)
        except BaseException:
            pass
    gc.collect()
    gc.freeze()


def reap():
    """Says which runs have ended, and then learns from them."""
    ended = []
    while runs:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            break
        request = runs.pop(pid)
        print(json.dumps({"id": request["id"], "code": os.waitstatus_to_exitcode(status)}), flush=True)
        ended.append(request["loaded"])
    for path in ended:
        load(path)


def start(request):
    pid = os.fork()
    if pid == 0:
        child(request)
    runs[pid] = request


def kill(identity):
    for pid, request in runs.items():
        if request["id"] == identity:
            os.kill(pid, signal.SIGKILL)


woken, wake = os.pipe()
for end in (woken, wake):
    os.set_blocking(end, False)
signal.set_wakeup_fd(wake)
signal.signal(signal.SIGCHLD, lambda *_: None)
text = b""
while True:
    readable, _, _ = select.select([0, woken], [], [])
    if woken in readable:
        os.read(woken, 4096)
        reap()
    if 0 in readable:
        part = os.read(0, 65536)
        if part == b"":
            break
        *lines, text = (text + part).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if "kill" in order:
                kill(order["kill"])
            else:
                start(order)
for pid in runs:
    os.kill(pid, signal.SIGKILL)
