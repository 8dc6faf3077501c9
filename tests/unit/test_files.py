"""Files that are replaced as a whole or not at all: permissions, links, names, full disks."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sksurv.datasets import load_veterans_lung_cancer

from sksurvtorch import CoxNNRegressor, _files, load, save
from sksurvtorch.nets import TrainingCheckpoint
from sksurvtorch.persistence import export_onnx

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="permissions and links of POSIX")
X, Y = load_veterans_lung_cancer()
X = X[["Age_in_years", "Karnofsky_score"]]


@pytest.fixture(scope="module")
def model():
    return CoxNNRegressor(
        n_estimators=1, hidden_layer_sizes=(2,), max_epochs=1, random_state=0
    ).fit(X, Y)


def write_model(model, path):
    save(model, path)


def write_checkpoint(model, path):
    CoxNNRegressor(
        n_estimators=1, max_epochs=2, random_state=0, callbacks=[TrainingCheckpoint(path)]
    ).fit(X, Y)


def write_onnx(model, path):
    export_onnx(model, path)


writers = pytest.mark.parametrize(
    "write", [write_model, write_checkpoint, write_onnx], ids=lambda f: f.__name__
)


def listed(folder):
    return sorted(os.listdir(folder))


@writers
def test_a_new_file_can_be_read_by_those_who_can_read_any_new_file(write, model, tmp_path):
    (tmp_path / "other").touch()
    write(model, tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert listed(tmp_path) == ["new", "other"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
def test_an_existing_file_keeps_its_permissions(mode, model, tmp_path):
    path = tmp_path / "model"
    save(model, path)
    path.chmod(mode)
    save(model, path)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_nobody_else_can_read_what_is_being_written_to_a_private_file(tmp_path):
    path = tmp_path / "private"
    path.touch(0o600)
    with _files.replaced(path) as file:
        file.write(b"1")
        modes = {stat.S_IMODE(part.stat().st_mode) for part in tmp_path.iterdir()}
    assert modes == {0o600}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may")
def test_a_file_of_another_user_stays_his(model, tmp_path):
    path = tmp_path / "model"
    path.touch()
    os.chown(path, 1234, 5678)
    save(model, path)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 5678)


@writers
def test_a_symbolic_link_is_followed(write, model, tmp_path):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target", tmp_path / "link"
    link.symlink_to("folder/target")
    (tmp_path / "second").symlink_to("link")
    write(model, link)  # the target is not there yet
    assert link.is_symlink()
    target.write_bytes(b"")
    if write is write_model:
        write(model, tmp_path / "second")
        assert target.stat().st_size > 0
    assert listed(tmp_path) == ["folder", "link", "second"]
    assert listed(tmp_path / "folder") == ["target"]


@pytest.mark.parametrize(
    "name",
    [
        b"x" * 255,
        "ü".encode() * 127,
        b"a b\n'\"*?[x]$(;)",
        b"\xff\xfe",
        b".hidden",
        b"-rf",
        b"%s{0}",
    ],
    ids=lambda name: repr(name[:8]),
)
def test_any_name_of_a_file_will_do(name, model, tmp_path):
    path = os.fsencode(tmp_path) + b"/" + name
    for given in (path, os.fsdecode(path), Path(os.fsdecode(path))):
        save(model, given)
        save(model, given)
        assert load(given).n_iter_ == 1
        os.unlink(path)
        write_checkpoint(model, given)
        write_checkpoint(model, given)  # which reads it
        os.unlink(path)
    assert listed(tmp_path) == []


@writers
@pytest.mark.parametrize("kind", ["folder", "device", "pipe", "loop", "no folder"])
def test_what_is_no_file_is_left_alone(write, kind, model, tmp_path):
    path = tmp_path / "other"
    if kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/null")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to("other")
    else:
        path = path / "model"
    before = os.path.lexists(path) and path.lstat().st_ino
    with pytest.raises(OSError, match=r"`path` must (name a file, got the |lie in a folder)"):
        write(model, path)
    assert (os.path.lexists(path) and path.lstat().st_ino) == before
    assert Path("/dev/null").is_char_device()


class FullDisk:
    """A file that takes some bytes, and then none."""

    def __init__(self, file, room, number):
        self.file, self.room, self.number = file, room, number

    def write(self, content):
        self.room -= len(content)
        if self.room < 0:
            raise OSError(self.number, os.strerror(self.number))
        return self.file.write(content)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.file.close()


@writers
@pytest.mark.parametrize(
    ("number", "room"), [(errno.ENOSPC, 0), (errno.ENOSPC, 700), (errno.EIO, 700)]
)
def test_a_full_disk_keeps_the_old_file_and_is_named(
    write, number, room, model, tmp_path, monkeypatch
):
    path = tmp_path / "file"
    begin, kept = _files._begin, []

    def full(*args):
        part, file = begin(*args)
        if write is write_checkpoint and not path.exists():
            return part, file  # the first epoch finds room
        kept.append(path.read_bytes())
        return part, FullDisk(file, room, number)

    if write is not write_checkpoint:
        path.write_bytes(b"before")
    monkeypatch.setattr(_files, "_begin", full)
    with pytest.raises(OSError, match=rf"{os.strerror(number)}\. The file was not") as told:
        write(model, path)
    assert told.value.errno == number
    assert told.value.filename == str(path)
    assert kept == [path.read_bytes()]
    assert listed(tmp_path) == ["file"]


LIMITED = """
import resource, signal, sys
import tests.unit.test_files as here
model = here.CoxNNRegressor(hidden_layer_sizes=(50,), max_epochs=1).fit(here.X, here.Y)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
for name in ("write_model", "write_checkpoint"):
    try:
        getattr(here, name)(model, sys.argv[1] + "/" + name)
    except OSError as error:
        print(error)
"""


def test_a_limit_of_the_system_is_named(tmp_path, forked):
    run = forked(LIMITED, arguments=[tmp_path])
    assert run.returncode == 0, run.stderr
    told = run.stdout.splitlines()
    assert len(told) == 2, run.stderr
    assert all(f"{os.strerror(errno.EFBIG)}. The file was not written" in line for line in told)
    assert listed(tmp_path) == []


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[2])  # without the package, which takes time to load
import _files
with _files.replaced(sys.argv[1]) as file:
    file.write(b"x" * 100_000)
    print("begun", flush=True)
    time.sleep(60)
"""


def test_what_a_kill_leaves_is_cleared_by_the_next_one_and_what_is_written_is_not(model, tmp_path):
    path = tmp_path / "model"
    save(model, path)
    before = path.read_bytes()
    processes = []
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path), Path(_files.__file__).parent],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "begun\n"
        processes.append(process)
    assert len(listed(tmp_path)) == 3  # the second one has left the first one alone
    processes[0].send_signal(signal.SIGKILL)
    processes[0].wait()
    assert len(listed(tmp_path)) == 3
    assert path.read_bytes() == before
    save(model, path)
    assert len(listed(tmp_path)) == 2  # of which one is still being written
    processes[1].send_signal(signal.SIGKILL)
    processes[1].wait()
    save(model, tmp_path / "another")
    assert len(listed(tmp_path)) == 3
    save(model, path)
    assert listed(tmp_path) == ["another", "model"]
    for process in processes:
        process.stdout.close()


def interrupted(path):
    with _files.replaced(path) as file:
        file.write(b"after")
        raise KeyboardInterrupt


def test_an_interruption_leaves_nothing(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        interrupted(path)
    assert path.read_bytes() == b"before"
    assert listed(tmp_path) == ["file"]


def test_something_that_is_no_path_is_refused(model):
    for given in (3, None, [], torch.zeros(1)):
        with pytest.raises(TypeError, match=r"^`path` must be the name of a file, got "):
            save(model, given)
        with pytest.raises(TypeError, match=r"^`path` must be the name of a file, got "):
            load(given)
