"""A study on a real Slurm ends with the bytes that it has on this machine."""

import pytest

from tests.cluster.outcomes import artifacts, attempts_by_stage
from tests.support.desk import Desk
from tests.support.studies import TWO_STAGES

SECRET = "planted-7f3a90b1c2"


@pytest.mark.slow
def test_a_study_on_slurm_has_the_artifacts_of_the_local_executor(
    slurm_desk, tmp_path, fresh_process
):
    study = slurm_desk.write(TWO_STAGES)
    slurm_desk.environment["PLANTED_API_KEY"] = SECRET

    done = slurm_desk.run_apart("run", study, "--executor", "slurm", "--device", "cpu")

    assert done.returncode == 0, (done.stdout, done.stderr)
    here = Desk(tmp_path / "here")
    here.folder.mkdir()
    here.train("run", here.write(TWO_STAGES), "--device", "cpu")
    assert artifacts(slurm_desk.state) == artifacts(here.state)
    assert set(attempts_by_stage(slurm_desk.state).values()) == {("complete",)}
    assert "complete" in slurm_desk.run("status").stdout
    files = [path for path in slurm_desk.state.rglob("*") if path.is_file()]
    assert any(path.name == "script.sh" for path in files)
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
