"""Nothing that looks like a secret reaches a journal, and what does not look so is left alone."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icckd.journal.file import decode, encode
from icckd.journal.redact import MARK, Redactor

SECRETS = [
    "https://me:hunter2@example.org/x.git", "ghp_" + "a1B2" * 9, "github_pat_" + "x" * 40,
    "hf_" + "Q" * 34, "sk-proj-" + "k" * 40, "AKIA" + "Z9" * 8, "xoxb-1234567890-abc",
    "glpat-" + "a" * 20,
]  # fmt: skip
PLAIN = [
    "https://example.org/a:b", "sha256:abc", "a@b.org", "teacher.intra.margin", "12:30 @ noon",
    "hf_hub", "0" * 64, "task-list", "C:\\data\\x",
]  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_in_any_place_of_a_line_is_left_out(secret):
    raw = encode("l", 0, 1.0, {"text": f"look: {secret} end", "deep": {secret: [secret]}})

    line = decode(raw[:-1])
    assert line is not None
    assert MARK in line.body["text"]
    assert secret.encode() not in raw
    assert b"hunter2" not in raw


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_secret_is_left_alone(text):
    assert Redactor({})(json.dumps(text)) == json.dumps(text)


def test_a_key_of_aws_is_a_secret_though_it_begins_like_a_path():
    key = "/Rq8zV0dYx1LmN5tC7uE3wB9aHsJ4kGpFoIi6TeX"

    assert Redactor({"AWS_SECRET_ACCESS_KEY": key})(f"with {key}") == f"with {MARK}"
    assert Redactor({"TOKEN_FILE": key})(f"with {key}") == f"with {key}"


@given(st.text(min_size=8, max_size=40).filter(lambda v: v[0] not in "/." and "\0" not in v))
def test_the_values_of_secret_variables_are_left_out(value):
    redactor = Redactor({"WANDB_API_KEY": value, "HOME": "/root", "SSH_PASSWORD": "/a/path"})

    text = redactor(json.dumps({"text": f"before {value} after /a/path"}))

    left = json.loads(text)["text"]
    assert value not in left.removeprefix("before ").removesuffix(" after /a/path") or value in MARK
    assert left.endswith("/a/path") or value in " after /a/path"


@pytest.mark.slow
def test_a_planted_token_is_in_no_file_of_a_run(tmp_path):
    """In the environment, in the study, in a change of it, and in the address of a git remote."""
    token = "planted-4711-token-value"
    study = tmp_path / "s.toml"
    study.write_text(
        '[study]\nname = "s"\nbaseline = "full"\nseeds = { count = 1 }\n'
        f'question = "see https://me:{token}@example.org"\n'
        "[teacher.training]\nepochs = 1\nlr = 1e30\n[student.training]\nepochs = 1\n"
        f'[[arm]]\nname = "full"\nabout = "{token}"\n'
    )
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "remote", "add", "origin", f"https://me:{token}@example.org/x.git")
    git(tmp_path, "add", "s.toml")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.org", "commit", "--quiet", "-m", "s")
    with study.open("a") as file:
        file.write(f"# a change with {token} in it\n")
    done = subprocess.run(
        [sys.executable, "-m", "icckd.cli.main", "run", "s.toml"], cwd=tmp_path,
        env={**os.environ, "HF_TOKEN": token}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr

    files = [path for path in (tmp_path / ".icckd").rglob("*") if path.is_file()]
    assert any(b"a change with" in path.read_bytes() for path in files), "the patch is captured"
    assert len(files) > 5
    assert [path for path in files if token.encode() in path.read_bytes()] == []


def git(folder, *arguments):
    subprocess.run(["git", "-C", folder, *arguments], check=True)
