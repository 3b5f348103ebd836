"""Bad input gives one clear error, the right exit code, and leaves nothing behind."""

import pytest


def message(done):
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout == ""
    first, *hint = done.stderr.splitlines()
    assert first.startswith("icckd: ")
    assert len(hint) <= 1
    return done.stderr


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("teacher.intra.margn.threshold=0.3", "unknown key 'teacher.intra.margn'"),
        ("teacher.views=two", "teacher.views"),
        ("teacher.model.kind=resnet9000", "teacher.model.kind"),
        ("study.primary=student.top2", "unknown metric 'student.top2'"),
        ("study.baseline=nobody", "is not an arm"),
        ("study.seeds.count=0", "study.seeds.count"),
    ],
)
def test_a_study_that_is_not_valid_is_refused(desk, override, words):
    for verb in ("plan", "run"):
        assert words in message(desk.run(verb, "small.toml", override, code=3))
    assert not desk.state.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[arm]]\nname = "full"\n', "defined twice"),
        (
            '[[arm]]\nname = "copy"\nset = { "teacher.intra.cache" = "off" }\n',
            "have the same settings",
        ),
        (
            '[[ablation]]\nname = "x"\narm = "x"\npart = "teacher.training"\naction = "REMOVE"\n',
            "no off-state",
        ),
        ("[[", "not valid TOML"),
    ],
)
def test_arms_that_are_not_sound_are_refused(desk, text, words):
    desk.write(desk.small + text)

    assert words in message(desk.run("run", "small.toml", code=3))
    assert not desk.state.exists()


def test_files_that_are_no_study_are_refused(desk):
    (desk.folder / "latin.toml").write_bytes(b"name = '\xe9'")
    with (desk.folder / "huge.toml").open("wb") as file:
        file.truncate(1 << 30)

    assert "not UTF-8" in message(desk.run("run", "latin.toml", code=3))
    assert "larger than 1 MiB" in message(desk.run("run", "huge.toml", code=3))
    assert "cannot read" in message(desk.run("run", "none.toml", code=3))


def test_a_gpu_that_is_not_there_is_an_error_of_the_machine(desk):
    desk.environment["CUDA_VISIBLE_DEVICES"] = ""

    assert "hint" in message(desk.run("run", "small.toml", "--device", "cuda", code=4))


def test_a_data_set_that_is_not_there_says_how_to_get_it(desk):
    done = desk.run("run", "small.toml", "data.kind=cifar100", code=4)

    assert "icckd fetch cifar100" in message(done)


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "small.toml", "--seeds", "3:1"),
        ("report",),
        ("status", "nothing"),
        ("show", "full"),
        ("fetch", "no-such-data"),
    ],
)
def test_what_cannot_be_done_is_an_error_of_usage(desk, arguments):
    message(desk.run(*arguments, code=2))


def test_names_that_do_not_exist_are_answered_with_the_nearest(finished):
    assert "'no-cache'" in message(finished.run("show", "no-cash", code=2))
    assert "'small'" in message(finished.run("report", "smal", code=2))
    assert "seeds: 0 to 1" in message(finished.run("show", "full/7", code=2))


@pytest.mark.parametrize(
    "query",
    [
        "selec 1",
        "drop table metric",
        "copy metric to 'x.csv'",
        "select * from read_text('small.toml')",
    ],
)
def test_sql_that_is_wrong_or_does_more_than_read_is_refused(finished, query):
    before = sorted(path.name for path in finished.folder.iterdir())

    done = finished.run("report", "--sql", query, code=2)

    assert done.stderr.startswith("icckd: SQL: ")
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in finished.folder.iterdir()) == before
