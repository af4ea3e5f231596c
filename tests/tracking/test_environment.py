import os
import subprocess
import sys
from dataclasses import replace

import pytest

from tsfm.tracking.environment import Process, describe, describe_code


@pytest.fixture
def repository(tmp_path, monkeypatch):
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "ada@example.org")
    root = tmp_path / "repository"
    (root / "tsfm").mkdir(parents=True)
    (root / "tsfm" / "model.py").write_text("size = 1\n")
    (root / "data.bin").write_bytes(bytes(range(256)))
    (root / ".gitignore").write_text("ignored\n")
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


def test_a_clean_copy_has_a_commit_and_no_difference(repository):
    code = describe_code(repository)
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=repository, text=True)
    assert (code.commit, code.branch, code.diff) == (head.strip(), "main", "")
    assert not code.is_dirty


def test_the_difference_restores_the_working_copy(repository, tmp_path):
    (repository / "tsfm" / "model.py").write_text("size = 2\n")
    (repository / "tsfm" / "new.py").write_text("new = True")
    (repository / "data.bin").write_bytes(bytes(range(255, -1, -1)))
    (repository / "ignored").write_text("secret")
    status = subprocess.check_output(["git", "status", "--short"], cwd=repository)
    code = describe_code(repository)
    assert subprocess.check_output(["git", "status", "--short"], cwd=repository) == status

    copy = tmp_path / "copy"
    subprocess.run(["git", "clone", "-q", repository, copy], check=True)
    subprocess.run(["git", "apply", "-"], cwd=copy, input=code.diff.encode(), check=True)
    for name in ("tsfm/model.py", "tsfm/new.py", "data.bin"):
        assert (copy / name).read_bytes() == (repository / name).read_bytes()
    assert describe_code(copy).sources == code.sources
    assert not (copy / "ignored").exists()


def test_outside_a_repository_only_the_sources_are_known(tmp_path):
    (tmp_path / "tsfm").mkdir()
    (tmp_path / "tsfm" / "model.py").write_text("size = 1\n")
    code = describe_code(tmp_path)
    (tmp_path / "tsfm" / "model.py").write_text("size = 2\n")
    assert code.commit is None
    assert code.sources != describe_code(tmp_path).sources


def test_a_process_is_told_from_a_dead_one_and_from_another_with_its_number():
    own = Process.current()
    assert own.is_alive()
    assert not replace(own, started=own.started - 3600).is_alive()
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert not replace(own, pid=child.pid).is_alive()


def test_an_environment_names_what_results_depend_on():
    environment = describe(model=3)
    values = environment.to_dict()
    assert values["seeds"] == {"model": 3}
    assert values["machine"]["cpus"] <= (os.cpu_count() or 1)
    assert "numpy==" in environment.requirements()
    assert "diff" not in values["code"]
