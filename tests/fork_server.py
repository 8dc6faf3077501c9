"""Processes of their own, each a fork of one that has imported the packages, which takes seconds.

A line of standard input is a task: a script or code, its arguments and its folder. A line of
standard output is how it ended, and what it has written.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ["matplotlib.pyplot", "numpy", "pandas", "torch", "sksurv.metrics", "sksurv.datasets"]
PACKAGES += ["sklearn.compose", "sklearn.model_selection", "sklearn.pipeline", "lifelines"]
PACKAGES += ["sksurvtorch.displays", "sksurvtorch.losses", "sksurvtorch.nets.net"]
PACKAGES += ["sksurvtorch.persistence", "accelerate", "skimage.measure", "skimage.segmentation"]
PACKAGES += ["torch._dynamo"]  # which optimizers import when they are first used
#: Seconds after which a task is ended.
PATIENCE = 900


def main():
    """Fork for each task."""
    for name in PACKAGES:
        importlib.import_module(name)
    print("ready", flush=True)
    for line in iter(sys.stdin.readline, ""):
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = os.fork()
            if process == 0:
                with open(os.devnull) as nothing:
                    for number, file in enumerate((nothing, out, err)):
                        os.dup2(file.fileno(), number)
                task = json.loads(line)
                run(task) if task["to_the_end"] else end(task)
                sys.exit()
            status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            written = [file.seek(0) or file.read().decode() for file in (out, err)]
        print(json.dumps([status, *written]), flush=True)


def end(task):
    """Run a task, and end this process at once: Python takes a second to clear up."""
    status = 1
    try:
        run(task)
        status = 0
    except SystemExit as asked:
        status = asked.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run(task):
    """Run a script or code as Python would."""
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    os.chdir(task["folder"])
    sys.argv = [task["script"] or "-c", *task["arguments"]]
    if task["script"] is None:
        exec(compile(task["code"], "<code>", "exec"), {"__name__": "__main__"})
    else:
        sys.path.insert(0, str(Path(task["script"]).parent))
        runpy.run_path(task["script"], run_name="__main__")


@contextmanager
def serving():
    """A function that runs a task in a fork, and returns its end as `subprocess.run` does."""
    command = [sys.executable, "-m", "tests.fork_server"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes) as server:
        # What is said while the packages are imported, nobody would see otherwise.
        if server.stdout.readline() != "ready\n":
            raise RuntimeError(server.communicate()[1])

        def forked(code=None, *, script=None, arguments=(), folder=".", to_the_end=False):
            """With `to_the_end` Python clears up, and ends what the script has started."""
            task = {"code": code, "script": script and str(script), "folder": str(folder)}
            task |= {"arguments": list(map(str, arguments)), "to_the_end": to_the_end}
            print(json.dumps(task), file=server.stdin, flush=True)
            ended = json.loads(server.stdout.readline())
            return subprocess.CompletedProcess(task["arguments"], *ended)

        yield forked
        said = server.communicate()[1]
        if said:
            raise RuntimeError(said)


if __name__ == "__main__":
    main()
