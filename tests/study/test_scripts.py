"""Training scripts are read without being run; what is made of them is a study, or one error."""

import ast
import random
import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icckd.errors import UsageError
from icckd.study.scripts.outputs import direction_of
from icckd.study.scripts.read import read_script
from icckd.study.scripts.write import TO_DO, part_of, remark, study_name, study_text, toml

SCRIPTS = Path(__file__).parents[1] / "tasks"
LANE = settings(deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def study(tmp_path):
    """Return what makes the study of a script: its tables, and its text."""

    def made(text, **files):
        path = tmp_path / "train.py"
        path.write_text(text)
        for name, content in files.items():
            file = tmp_path / name.replace("__", "/").replace("_yaml", ".yaml")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        return tables(path)

    return made


def tables(path):
    text = study_text(read_script(path), path=path.name).text
    return tomllib.loads(text), text


def options(study, lines, head="import argparse\np = argparse.ArgumentParser()\n"):
    found, text = study(head + "\n".join(lines) + "\np.parse_args()\n")
    return found["task"].get("config", {}), text


def removed(found):
    """Return what REMOVE puts in, by the part of each ablation."""
    off = found["task"].get("off", {})
    parts = [a["part"] for a in found.get("ablation", ()) if a["action"] == "REMOVE"]
    assert all(part.startswith("task.config.") for part in parts)
    return {
        part[len("task.config.") :]: off.get(part[len("task.config.") :], False) for part in parts
    }


# Scripts of every sort.


def test_argparse_with_groups_flags_and_a_csv_file():
    found, text = tables(SCRIPTS / "argparse_csv.py")

    assert found["study"]["name"] == "argparse_csv"
    assert (found["study"]["baseline"], found["study"]["seeds"]) == ("full", 8)
    assert found["study"]["primary"] == "task.test_acc"
    assert found["task"]["command"] == [
        "python", "argparse_csv.py", "{args}", "--seed", "{seed}", "--out", "{folder}",
    ]  # fmt: skip
    assert found["task"]["config"] == {
        "epochs": 20, "lr": 0.5, "weight-decay": 1e-3, "noise": 0.2,
        "no-shuffle": False, "no-center": False,
    }  # fmt: skip
    assert found["task"]["steps"] == "epochs"
    assert found["task"]["metrics"] == {
        "test_acc": {"csv": "metrics.csv", "step": "epoch", "direction": "higher"},
        "loss": {"csv": "metrics.csv", "step": "epoch", "direction": "lower"},
    }
    assert removed(found) == {"no-shuffle": True, "no-center": True}
    assert "# passes over the training images" in text
    assert '# name = "Weight decay"' in text


def test_click_with_pairs_of_flags_choices_and_json_lines():
    found, text = tables(SCRIPTS / "click_jsonl.py")

    assert found["task"]["command"][-3:] == ["{args}", "--random-seed", "{seed}"]
    assert found["task"]["config"] == {
        "steps": 50, "learning-rate": 0.3, "l2": 0.01, "loss": "squared", "no-bias": False,
        "average": False,
    }  # fmt: skip
    assert found["task"]["metrics"]["test_rmse"] == {
        "jsonl": "log.jsonl", "key": "test.rmse", "direction": "lower",
    }  # fmt: skip
    assert removed(found) == {"no-bias": True}
    assert "one of squared, huber" in text
    assert "-q has no long form" in text


def test_typer_with_annotated_options_enumerations_and_printed_lines():
    found, _ = tables(SCRIPTS / "typer_stdout.py")

    assert found["task"]["config"] == {
        "neighbours": 5, "distance": "euclidean", "no-scale": False, "nearest": False,
        "label-noise": 0.0, "held-out": 60,
    }  # fmt: skip
    assert found["study"]["primary"] == "task.test_accuracy"
    accuracy = found["task"]["metrics"]["test_accuracy"]
    assert (accuracy["unit"], accuracy["direction"]) == ("%", "higher")
    assert [(a["name"], a["arm"]) for a in found["ablation"]] == [
        ("Scale", "no-scale"), ("Vote", "no-vote"),
    ]  # fmt: skip


def test_a_dataclass_that_nothing_fills_gets_the_lines_that_make_it_a_task():
    found, text = tables(SCRIPTS / "dataclass_json.py")

    assert found["task"]["entry"] == "dataclass_json.py:icckd_task"
    assert found["task"]["config"] == {
        "ridge": 0.1, "clip": 3.0, "columns": list(range(10)),
        "features": {"squares": True, "pairs": False},
    }  # fmt: skip
    assert removed(found) == {"features.squares": False}
    lines = text.splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith("#     def icckd_task"))
    adapter = "\n".join(line[6:] for line in lines[begin : begin + 3])
    assert isinstance(ast.parse(adapter).body[0], ast.FunctionDef)
    assert '"features": Features(**config.features), "seed": run.seed' in adapter
    assert "seed" not in found["task"]["config"]


def test_a_function_of_config_and_run_is_the_entry():
    found, text = tables(SCRIPTS / "entry_function.py")

    assert found["task"]["entry"] == "entry_function.py:train"
    assert found["task"]["config"] == {"passes": 8, "lr": 0.1, "average": True, "margin": 0.5}
    assert found["task"]["metrics"] == {"top1": {"unit": "%", "direction": "higher"}}
    assert removed(found) == {"average": False}
    assert "run.seed" not in text


def test_hydra_with_its_defaults_list_and_tensorboard():
    found, text = tables(SCRIPTS / "hydra_app" / "train.py")

    assert found["task"]["command"] == [
        "python", "train.py", "hydra.run.dir=.", "{overrides}", "seed={seed}",
    ]  # fmt: skip
    assert found["task"]["config"] == {
        "epochs": 30, "augment": {"enabled": True, "noise": 0.1},
        "optimizer": {"lr": 0.3, "momentum": 0.9, "weight_decay": 5e-4},
    }  # fmt: skip
    assert found["task"]["metrics"]["test_accuracy"] == {
        "tensorboard": "events", "key": "test/accuracy", "unit": "%", "direction": "higher",
    }  # fmt: skip
    assert [(a["name"], a["part"]) for a in found["ablation"]] == [
        ("Augment", "task.config.augment.enabled")
    ]
    assert f"{TO_DO}: conf/config.yaml, line 7: it is required and has no default" in text
    assert "an interpolation: run-${seed}" in text


@pytest.mark.parametrize("path", sorted(SCRIPTS.rglob("*.py")), ids=lambda path: path.stem)
def test_every_guess_shows_the_line_it_rests_on(path):
    script = read_script(path)
    _, text = tables(path)

    for guess in script.guesses:
        assert remark(script.lines[guess.line - 1]) in text
    told = study_text(script, path=path.name)
    lines = told.text.split("\n")
    assert all(TO_DO in lines[number - 1] for number in told.open_lines)


# Nothing of a script runs.


def test_nothing_of_a_script_is_executed(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, _ = study(
        "import pathlib, argparse\n"
        "pathlib.Path('ran').write_text('x')\n"
        "p = argparse.ArgumentParser()\n"
        "p.add_argument('--lr', default=0.1, help=str(pathlib.Path('ran').write_text('x')))\n"
        "p.add_argument('--n', default=pathlib.Path('ran').write_text('x'))\n"
        "raise SystemExit(3)\n"
    )

    assert found["task"]["config"] == {"lr": 0.1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.py"]


# What cannot be read is said, never guessed.


def test_a_default_that_is_an_expression_is_a_comment_with_its_line(study):
    config, text = options(study, ["p.add_argument('--lr', type=float, default=0.1 * 2)"])

    assert config == {}
    assert "# lr =" in text
    assert "train.py, line 3: its default is an expression: 0.1 * 2" in text


def test_a_constant_of_the_script_is_read_and_one_that_changes_is_not(study):
    head = "import argparse\nLR = 0.3\nN = 1\nN = 2\np = argparse.ArgumentParser()\n"
    config, text = options(
        study, ["p.add_argument('--lr', default=LR)", "p.add_argument('--n', default=N)"], head
    )

    assert config == {"lr": 0.3}
    assert "its default is an expression: N" in text


def test_a_computed_name_and_settings_by_stars_are_said(study):
    config, text = options(
        study,
        ["for n in ('a', 'b'):", "    p.add_argument(f'--{n}', default=1)",
         "p.add_argument('--c', **common)"],
    )  # fmt: skip

    assert config == {}
    assert "line 4: its name is computed" in text
    assert "some of what it takes is given by ** and was not read" in text


def test_a_default_is_what_its_type_makes_of_it(study):
    config, text = options(
        study,
        ["p.add_argument('--a', type=int, default=1e3)",
         "p.add_argument('--b', type=int, default=1.5)",
         "p.add_argument('--c', type=float, default='1e-3')",
         "p.add_argument('--d', type=int, default='x')",
         "p.add_argument('--e', type=float, default=3)"],
    )  # fmt: skip

    assert config == {"a": 1000, "c": 1e-3, "e": 3.0}
    assert isinstance(config["a"], int)
    assert "its default 1.5 is no int" in text
    assert "its default 'x' is no int" in text


def test_a_required_option_is_left_to_the_user(study):
    _, text = options(study, ["p.add_argument('--data', required=True, help='where it is')"])

    line = next(line for line in text.splitlines() if line.startswith("# data ="))
    assert f"# {TO_DO}: train.py, line 3: where it is; it is required" in line


def test_what_is_not_a_value_of_toml_is_left_out(study):
    config, text = options(
        study,
        ["p.add_argument('--a', default=None)", "p.add_argument('--b', default=1e999)",
         "p.add_argument('--c', default=2**80)", "p.add_argument('--d', default='\\ud800')",
         f"p.add_argument('--e', default={1 << 70})", "p.add_argument('--f', default=b'x')",
         "p.add_argument('--g', default='\\x7f\\x00\\u202e')"],
    )  # fmt: skip

    assert config == {"g": "\x7f\x00\u202e"}
    assert "a number beyond 64 bits" in text
    assert "a number that is not finite" in text


# How options are spelled.


@pytest.mark.parametrize(
    ("line", "config", "off"),
    [
        ("'--mixup', action='store_true'", {"mixup": False}, {}),
        ("'--no-mixup', action='store_true'", {"no-mixup": False}, {"no-mixup": True}),
        ("'--no-mixup', dest='mixup', action='store_false'", {"no-mixup": False},
         {"no-mixup": True}),
        ("'--mixup', action=argparse.BooleanOptionalAction, default=True", {"no-mixup": False},
         {"no-mixup": True}),
        ("'--mixup', action=argparse.BooleanOptionalAction, default=False", {"mixup": False}, {}),
        ("'--mixup', type=str2bool, default=True", {"mixup": "true"}, {"mixup": "false"}),
        ("'--mixup', type=bool, default=True", {"mixup": "True"}, {"mixup": ""}),
        ("'--mixup', action='store_true', default=True", {}, {}),
        ("'-m', '--mixup', type=int, default='3'", {"mixup": 3}, {"mixup": 0}),
        ("'--use_mixup', type=float, default=1", {"use_mixup": 1.0}, {"use_mixup": 0.0}),
    ],
)  # fmt: skip
def test_a_switch_is_spelled_so_that_false_leaves_the_default_of_the_script(
    study, line, config, off
):
    found, _ = study(
        "import argparse\ndef str2bool(x): return x == 'true'\n"
        f"p = argparse.ArgumentParser()\np.add_argument({line})\np.add_argument('--k', default=1)\n"
    )

    assert found["task"]["config"] == {**config, "k": 1}
    assert removed(found) == off


def parser_of(line):
    import argparse

    parser = argparse.ArgumentParser()
    exec(f"parser.add_argument({line})", {"parser": parser, "argparse": argparse})
    return parser


@pytest.mark.parametrize(
    "line",
    [
        "'--no-mixup', dest='mixup', action='store_false'",
        "'--mixup', action=argparse.BooleanOptionalAction, default=True",
        "'--mixup', type=bool, default=True",
    ],
)
def test_what_remove_puts_in_switches_off_in_a_real_parser(study, line):
    found, _ = study(f"import argparse\np = argparse.ArgumentParser()\np.add_argument({line})\n")

    def parsed(config):
        words = []
        for key, value in config.items():
            words += (
                [f"--{key}"] if value is True else [f"--{key}", value] if value is not False else []
            )
        return parser_of(line).parse_args(words).mixup

    config = found["task"]["config"]
    assert parsed(config) is True
    assert parsed({**config, **removed(found)}) is False


def test_positional_and_short_options_stand_in_the_command(study):
    found, text = study(
        "import argparse\np = argparse.ArgumentParser()\n"
        "p.add_argument('data', help='the folder')\n"
        "p.add_argument('kind', nargs='?', default='a{b}')\n"
        "p.add_argument('-e', type=int, required=True)\np.add_argument('--lr', default=0.1)\n"
    )

    assert found["task"]["command"] == [
        "python", "train.py", "...", "a{{b}}", "-e", "...", "{args}"
    ]  # fmt: skip
    assert f"# {TO_DO}: train.py, line 3: the folder; a positional argument" in text
    assert f"# {TO_DO}: train.py, line 5: -e has no long form" in text


def test_options_with_one_dash_are_words_of_the_command_each(study):
    found, text = study(
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('-lr', default=0.1)\n"
        "p.add_argument('-wd', type=float, default=5e-4)\np.add_argument('-seed', default=0)\n"
        "p.add_argument('-gpu', action='store_true')\n"
    )

    assert found["task"]["command"] == [
        "python", "train.py", "-lr", "{lr}", "-wd", "{wd}", "-seed", "{seed}",
    ]  # fmt: skip
    assert found["task"]["config"] == {"lr": 0.1, "wd": 5e-4}
    assert removed(found) == {"wd": 0.0}
    assert "-gpu has no long form: it stands in `command` where it is wanted" in text


def test_of_several_subcommands_train_is_taken_with_what_its_parents_add(study):
    found, text = study(
        "import argparse\ncommon = argparse.ArgumentParser(add_help=False)\n"
        "common.add_argument('--lr', default=0.1)\n"
        "p = argparse.ArgumentParser()\np.add_argument('--verbose', default=1)\n"
        "s = p.add_subparsers()\n"
        "e = s.add_parser('evaluate')\ne.add_argument('--batch', default=7)\n"
        "t = s.add_parser('train', parents=[common])\nt.add_argument('--wd', default=0.5)\n"
    )

    assert found["task"]["command"] == ["python", "train.py", "train", "{args}"]
    assert found["task"]["config"] == {"lr": 0.1, "wd": 0.5}
    assert "the subcommand train was taken; others: evaluate" in text
    assert "stands before the subcommand in `command`: p.add_argument('--verbose'" in text


def test_commands_of_typer_and_click_are_named(study):
    typer, _ = study(
        "import typer\napp = typer.Typer()\n@app.command()\ndef train_model(lr: float = 0.1): ...\n"
        "@app.command('eval')\ndef other(n: int = 1): ...\n"
    )
    click, _ = study(
        "import click\n@click.group()\ndef cli(): ...\n"
        "@cli.command()\n@click.option('--lr', default=0.1)\ndef train(lr): ...\n"
    )

    assert typer["task"]["command"][:4] == ["python", "train.py", "train-model", "{args}"]
    assert click["task"]["command"][:4] == ["python", "train.py", "train", "{args}"]


def test_classes_are_spelled_as_what_fills_them_takes_them(study):
    body = "    lr: float = 0.1\n    use_ema: bool = True\n    seed: int = 0\n"
    tyro, _ = study(
        "import tyro\nfrom dataclasses import dataclass\n"
        f"@dataclass\nclass Args:\n{body}tyro.cli(Args)\n"
    )
    hf, _ = study(
        "from transformers import HfArgumentParser\nfrom dataclasses import dataclass\n"
        f"@dataclass\nclass Args:\n{body}HfArgumentParser((Args,)).parse_args_into_dataclasses()\n"
    )
    variables, _ = study(
        "from pydantic_settings import BaseSettings, SettingsConfigDict\n"
        "class Options(BaseSettings):\n    model_config = SettingsConfigDict(env_prefix='RUN_')\n"
        f"{body}print(Options())\n"
    )

    assert tyro["task"]["config"] == {"lr": 0.1, "no-use-ema": False}
    assert hf["task"]["config"] == {"lr": 0.1, "no_use_ema": False}
    assert removed(tyro) == {"no-use-ema": True}
    assert removed(hf) == {"no_use_ema": True}
    assert tyro["task"]["command"][-2:] == ["--seed", "{seed}"]
    assert variables["task"]["command"] == ["python", "train.py"]
    assert variables["task"]["env"] == {
        "RUN_LR": "{lr}", "RUN_USE_EMA": "{use_ema}", "RUN_SEED": "{seed}",
    }  # fmt: skip
    assert removed(variables) == {"use_ema": "false"}


def test_fire_and_absl_are_read(study):
    fire, _ = study("import fire\ndef f(lr=0.1, ema=True): ...\nfire.Fire(f)\n")
    absl, _ = study(
        "from absl import flags\nflags.DEFINE_float('lr', 0.1, 'step')\n"
        "flags.DEFINE_bool('ema', True, 'average')\nflags.DEFINE_integer('seed', 1, '')\n"
    )

    assert fire["task"]["config"] == {"lr": 0.1, "noema": False}
    assert absl["task"]["config"] == {"lr": 0.1, "noema": False}
    assert absl["task"]["command"][-2:] == ["--seed", "{seed}"]
    assert removed(fire) == removed(absl) == {"noema": True}


# The seed, the device, the folder.


def test_seed_device_and_folder_are_icckds_to_set(study):
    found, _ = study(
        "import argparse\np = argparse.ArgumentParser()\n"
        "p.add_argument('--random-seed', type=int)\np.add_argument('--device', default='cuda')\n"
        "p.add_argument('--output_dir', required=True)\n"
        "p.add_argument('--log-file', default='log.txt')\n"
    )

    assert found["task"]["config"] == {"log-file": "log.txt"}
    assert found["task"]["command"][2:] == [
        "{args}", "--random-seed", "{seed}", "--device", "{device}", "--output_dir", "{folder}",
    ]  # fmt: skip


def test_a_script_without_a_seed_is_told_so(study):
    _, without = options(study, ["p.add_argument('--lr', default=0.1)"])
    found, variable = study(
        "import argparse, os\nseed = int(os.environ.get('MY_SEED', 0))\n"
        "p = argparse.ArgumentParser()\np.add_argument('--lr', default=0.1)\n"
    )
    _, entry = study("def train(config, run):\n    run.log(loss=config.lr)\n")

    assert f"{TO_DO}: no option for the seed was found" in without
    assert found["task"]["env"] == {"MY_SEED": "{seed}"}
    assert "no option for the seed" not in variable
    assert f"{TO_DO}: it does not use run.seed" in entry


# What a script gives.


HEAD = "import argparse\np = argparse.ArgumentParser()\np.add_argument('--lr', default=0.1)\n"


@pytest.mark.parametrize(
    ("text", "metrics"),
    [
        ("import wandb\nwandb.init()\nwandb.log({'val/acc': a, 'epoch': 1})\n",
         {"val_acc": {"wandb": "wandb", "key": "val/acc", "direction": "higher"}}),
        ("import json\npathlib.Path('r.json').write_text(json.dumps({'test': {'nll': x}}))\n",
         {"test_nll": {"json": "r.json", "key": "test.nll", "direction": "lower"}}),
        ("import json\nprint(json.dumps({'acc': x}))\n",
         {"acc": {"stdout": '"acc": ([-+0-9.eE]+|nan|inf)', "direction": "higher"}}),
        ("import csv\nw = csv.DictWriter(open(a + '/m.csv', 'w'), fieldnames=['step', 'f1'])\n",
         {"f1": {"csv": "**/m.csv", "direction": "higher"}}),
        ("import pandas as pd\nd = pd.read_csv('in.csv')\nrows = []\n"
         "rows.append({'epoch': e, 'f1': x})\npd.DataFrame(rows).to_csv('out.csv')\n",
         {"f1": {"csv": "out.csv", "step": "epoch", "direction": "higher"}}),
        ("f = open('t.csv', 'w')\nf.write('epoch,mae\\n')\n",
         {"mae": {"csv": "t.csv", "step": "epoch", "direction": "lower"}}),
    ],
)  # fmt: skip
def test_numbers_that_are_written_are_found(study, text, metrics):
    found, _ = study(HEAD + text)

    assert found["task"]["metrics"] == metrics


@pytest.mark.parametrize(
    ("line", "shown", "values"),
    [
        ("print(f'acc={a:.4f}')", "acc=0.9312", {"acc": "0.9312"}),
        ("print(f'epoch {e}/{n}: loss {l:8.3f}, val acc {a:.2%}')",
         "epoch 7/20: loss    1.250, val acc 93.00%", {"loss": "1.250", "val_acc": "93.00"}),
        ("print('top1: %.2f top5: %.2f' % (a, b))", "top1: 71.50 top5: 90.10",
         {"top1": "71.50", "top5": "90.10"}),
        ("print('Test set: Average loss: {:.4f}, Accuracy: {}/{} ({:.0f}%)'.format(a, b, c, d))",
         "Test set: Average loss: 0.0268, Accuracy: 9915/10000 (99%)",
         {"test_loss": "0.0268", "test_accuracy": "99"}),
        ("print('rmse:', r)", "rmse: 1e-3", {"rmse": "1e-3"}),
        ("import logging\nlogging.info('f1 %.3f', f)", "INFO:root:f1 0.500", {"f1": "0.500"}),
        ("print(f'loss={l}')", "loss=nan", {"loss": "nan"}),
        ("print('best acc is {:.2f}'.format(a))", "best acc is 71.25", {"best_acc": "71.25"}),
        ("print(f'\\nepoch {e}\\nval nll: {x}')", "val nll: 0.5", {"val_nll": "0.5"}),
    ],
)  # fmt: skip
def test_an_expression_takes_the_number_out_of_the_line_that_is_printed(study, line, shown, values):
    import re

    found, _ = study(f"{HEAD}{line}\n")

    taken = {}
    for name, metric in found["task"]["metrics"].items():
        match = re.search(metric["stdout"], shown)
        assert match is not None, metric["stdout"]
        taken[name] = match.groupdict().get("value") or match[1]
        assert match.groupdict().get("step", "7") == "7"
    assert taken == values


def test_a_number_in_percent_has_its_unit(study):
    found, _ = study(f"{HEAD}print(f'acc={{a:.1f}}% err={{100 * e}} f1={{f:.2%}} loss={{l}}')\n")

    units = {name: metric.get("unit") for name, metric in found["task"]["metrics"].items()}
    assert units == {"acc": "%", "err": "%", "f1": "%", "loss": None}


def test_a_json_file_in_a_folder_that_is_not_known_is_left_to_the_user(study):
    found, text = study(f"{HEAD}import json\njson.dump({{'acc': a}}, open(f'{{d}}/r.json', 'w'))\n")

    assert found["task"]["metrics"]["acc"]["json"] == "r.json"
    assert f"# {TO_DO}: its path in the run folder" in text


def test_what_is_printed_and_no_result_is_left_alone(study):
    found, text = study(
        f"{HEAD}print(f'saving to {{path}}, device={{d}}, epoch {{e}} took time={{t:.1f}}')\n"
        "print(f'lr={x:.3f}, Train Time: {t:.1f}s, loss:\\n{table}')\n"
    )

    assert list(found["task"]["metrics"]) == ["score"]
    assert f"{TO_DO}: no number was seen that train.py writes or prints" in text


def test_the_number_of_the_test_set_answers_the_question(study):
    found, _ = study(f"{HEAD}print(f'train acc={{a}} loss={{l}} val acc={{b}} test acc={{c}}')\n")

    assert found["study"]["primary"] == "task.test_acc"


# Configurations in YAML.

MAIN = "import hydra\n@hydra.main(config_path='conf', config_name='config')\ndef main(cfg): ...\n"


def test_yaml_is_read_as_omegaconf_reads_it(study):
    found, _ = study(
        MAIN,
        conf__config_yaml="a: 1e-3\nb: 1.5e3\nc: .5\nd: yes\ne: '1e-3'\nf: [1, 2]\ng: 0x10\n"
        "h: 1_000\nbase: &b {x: 1}\nmore:\n  <<: *b\n  y: 2\n",
    )

    assert found["task"]["config"] == {
        "a": 1e-3, "b": 1500.0, "c": 0.5, "d": True, "e": "1e-3", "f": [1, 2], "g": 16, "h": 1000,
        "base": {"x": 1}, "more": {"x": 1, "y": 2},
    }  # fmt: skip


def test_what_comes_later_in_a_defaults_list_wins(study):
    found, text = study(
        MAIN,
        conf__config_yaml="defaults:\n  - model: small\n  - _self_\n  - last\nmodel:\n  width: 3\n",
        conf__model__small_yaml="width: 1\ndepth: 2\n",
        conf__last_yaml="model:\n  depth: 9\n",
    )

    assert found["task"]["config"] == {"model": {"width": 3, "depth": 9}}
    assert "model=small is the choice of model/small.yaml" in text


def test_where_a_file_of_yaml_puts_its_entries_is_what_its_head_says(study):
    found, _ = study(
        MAIN,
        conf__config_yaml="defaults:\n  - exp: big\n  - opt: sgd\nwidth: 1\n",
        conf__exp__big_yaml="# @package _global_\nlr: 0.1\n",
        conf__opt__sgd_yaml="# how it learns\n# @package optim\n_partial_: true\nlr: 0.3\n",
    )

    assert found["task"]["config"] == {"lr": 0.1, "optim": {"lr": 0.3}, "width": 1}


def test_a_structured_configuration_is_its_class(study):
    found, _ = study(
        "import hydra\nfrom dataclasses import dataclass\n"
        "from hydra.core.config_store import ConfigStore\n"
        "@dataclass\nclass C:\n    lr: float = 0.1\n    ema: bool = True\n"
        "ConfigStore.instance().store(name='config', node=C)\n"
        "@hydra.main(config_name='config')\ndef main(cfg): ...\n"
    )

    assert found["task"]["config"] == {"lr": 0.1, "ema": True}
    assert removed(found) == {"ema": False}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [1\nb: 2\n", "line 2 is not valid YAML"),
        ("a: " + "[" * 3000, "is not valid YAML"),
        ("a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
         "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]\n"
         "e: [*d, *d, *d, *d, *d, *d, *d, *d, *d]\n", "has more than 10000 values"),
        ("a: &a {b: *a}\n", "nests too deep"),
        ("x" * (1 << 18) + "yy", "larger than 256 KiB"),
    ],
)  # fmt: skip
def test_a_configuration_that_is_not_sound_is_one_error(study, content, words):
    with pytest.raises(UsageError, match=words):
        study(MAIN, conf__config_yaml=content)


def test_a_configuration_that_is_not_there_is_named(study):
    with pytest.raises(
        UsageError, match=r"line 2: the configuration conf/config.yaml is not there"
    ):
        study(MAIN)


# Errors.


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"def f(:\n", "line 1 is not valid Python"),
        (b"x = 1\nprint 'two'\n", "line 2 is not valid Python"),
        (b"x = '\xe9'\n", r"is not UTF-8 \(line 1\)"),
        (b"x = 1\n", "has no options"),
        (b"", "has no options"),
        (b"\0", "is not valid Python"),
        (b"(" * 10_000, "is not valid Python"),
        (b"x = " + b"-" * 100_000 + b"1", "is not valid Python"),
        (b"#" * (1 << 20) + b"#", "larger than 1 MiB"),
    ],
)
def test_a_script_that_cannot_be_read_is_one_error(tmp_path, data, words):
    path = tmp_path / "train.py"
    path.write_bytes(data)

    with pytest.raises(UsageError, match=words) as told:
        read_script(path)
    assert told.value.hint
    assert len(told.value.message) < 1000


def test_a_script_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read the script .*none.py: No such file"):
        read_script(tmp_path / "none.py")


@pytest.mark.parametrize(
    "lines",
    [
        "".join(f"p.add_argument('--a{n}', default=1)\n" for n in range(4000)),
        "f = open('a.csv', 'w')\n" + "w.writerow(['a', 'b'])\n" * 4000,
        "import json\n" + "".join(f"json.dump(d, open('{n}.json', 'w'))\n" for n in range(4000)),
        "C0 = 1\n"
        + "".join(f"C{n} = [{', '.join([f'C{n - 1}'] * 60)}]\n" for n in range(1, 8))
        + "p.add_argument('--z', default=C7)\n",
        "d = {}\nd['a'] = d\nimport json\njson.dump(d, open('x.json', 'w'))\n",
    ],
    ids=["options", "rows", "files", "lists of lists", "a table in itself"],
)
def test_what_a_script_costs_grows_with_its_length_alone(study, lines):
    began = time.process_time()

    found, text = study(HEAD + lines)

    assert time.process_time() - began < 15.0  # a minute and more where pairs of lines are compared
    assert found["task"]["config"]["lr"] == 0.1
    assert len(text) < 200_000


def test_classes_that_are_based_on_each_other_are_one_error(study):
    with pytest.raises(UsageError, match="nests too deep to be read"):
        study("class A(B): pass\nclass B(A): pass\nclass C(A): x: int = 1\n")


TEXTS = [path.read_text() for path in sorted(SCRIPTS.rglob("*.py"))]
WORDS = [
    "default=", "None", "**x", "f'{x}'", "(", ")", ":", ",", "'''", "\\", "1e999", "'--no-x'", "\n",
    "\x00", "\ud800", "\u202e", "\x1b]52;c;AAAA\x07", "import typer\n", "import click\n", "\t",
    "@app.command()\n", "bool = True", "-" * 300, "{" * 90, "é", "#", "\r", "\x0c", "add_argument",
]  # fmt: skip


def digest(folder, data):
    """Read a script as `icckd init` does; only a study or a deliberate error may come out."""
    path = folder / "train.py"
    path.write_bytes(data)
    try:
        text = study_text(read_script(path), path=path.name).text
    except UsageError as error:
        told = error.message
    else:
        assert tomllib.loads(text)["study"]["baseline"] == "full"
        return
    assert 0 < len(told) < 10_000


@LANE
@given(st.text(max_size=400) | st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
def test_any_text_as_a_script_gives_a_study_or_one_clear_error(tmp_path, text):
    digest(tmp_path, text.encode("utf-8", "surrogatepass"))


@LANE
@given(st.sampled_from(TEXTS), st.integers(0, 2**32), st.integers(1, 8))
def test_a_mangled_script_gives_a_study_or_one_clear_error(tmp_path, text, seed, rounds):
    chance = random.Random(seed)
    for _ in range(rounds):
        place, end = chance.randrange(len(text) + 1), chance.randrange(30)
        text = text[:place] + chance.choice([*WORDS, ""]) + text[place + chance.choice([0, end]) :]
    digest(tmp_path, text.encode("utf-8", "surrogatepass"))


NAMES = st.text("abAB_-.09é \"'{}=", max_size=6)
VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
    | st.lists(st.integers() | st.text(max_size=3), max_size=3)
)  # fmt: skip


@LANE
@given(st.lists(st.tuples(NAMES, VALUES, st.text(max_size=20)), max_size=6))
def test_any_options_give_valid_toml_with_their_defaults(tmp_path, wanted):
    lines = [
        f"p.add_argument({('--' + name)!r}, default={value!r}, help={about!r})"
        for name, value, about in wanted
    ]
    text = "import argparse\np = argparse.ArgumentParser()\n" + "\n".join(lines) + "\n"
    digest(tmp_path, text.encode("utf-8", "surrogatepass"))


# Words.


def test_names_are_taken_apart():
    assert part_of("use_mixup") == "mixup"
    assert part_of("model.no-label-smoothing") == "label smoothing"
    assert part_of("augment.enabled") == "augment"
    assert part_of("wd") == "weight decay"
    assert study_name("Train_CIFAR v2.py") == "train_cifar-v2"
    assert study_name("ä.py") == "study"
    assert [direction_of(n) for n in ("val_acc", "testLoss", "lr")] == ["higher", "lower", ""]


@LANE
@given(st.recursive(VALUES, lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=3)))
def test_values_are_written_as_toml_reads_them(value):
    if any(part in repr(value) for part in ("None", "nan", "inf", "\\ud")):
        return
    assert tomllib.loads(f"x = {toml(value)}")["x"] == value
