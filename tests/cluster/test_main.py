"""The command line: bad input is one line and exit code 2, writes nothing, and starts no Ray."""

import json
import os
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from cluster import jobs, serving
from cluster.commands import documents
from cluster.main import entry, handler, parser
from serve.settings import ServiceSettings

DESIGN = {
    "plan": ["demo"],
    "run": ["demo"],
    "submit": ["demo", "--address", "http://h:8265"],
    "status": ["j"],
    "logs": ["j"],
    "stop": ["j"],
    "show": ["r"],
    "report": ["r", "-o", "x.html"],
    "watch": ["r", "--json"],
    "columns": ["val_*"],
    "studies": ["r", "-o", "studies.db"],
    "compact": ["r"],
    "promote": ["r", "n", "--gallery", "g"],
    "rollback": ["n", "--gallery", "g"],
    "serve": ["--gallery", "g"],
    "demo": ["--out", "demo"],
}


@pytest.mark.parametrize("command", DESIGN)
def test_every_command_of_the_contract_is_there(command: str) -> None:
    assert callable(handler(parser().parse_args([command, *DESIGN[command]])))


def test_help_and_a_jobs_status_import_no_torch() -> None:
    code = """
import sys
from cluster.main import handler, parser
handler(parser().parse_args(["status", "j"]))
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0


def spec(folder: Path, text: str = "") -> str:
    """Write a spec file; return its path."""
    path = folder / "spec.yaml"
    path.write_text(text or "name: s\nmodels: cvae-mlp\nmethod: selective-amnesia\nforget: [0]\n")
    return str(path)


BAD = {
    "unknown key": (["--set", "lamda=3"], "unknown key 'lamda'"),
    "unknown model": (["--set", "models=[vae]"], "unknown model 'vae'; known:"),
    "empty axis": (["--set", "seeds=[]"], "empty axis 'seeds'"),
    "rho = 1.2": (
        ["--set", "models=[cnn]", "--set", "method=task-arithmetic", "--set", "grid.rho=[1.2]"],
        "rho must lie in",
    ),
    "forget class 10": (["--set", "forget=[10]"], "forget class 10 does not exist"),
    "missing data set": (["--set", "dataset=fashion-mnist"], "missing data set"),
    "results not writable": (["--results", "/dev/null/results"], "cannot write /dev/null/results"),
    "no such cluster": (["--address", "127.0.0.1:1"], "no Ray at 127.0.0.1:1"),
}


def offline(*_: object, **__: object) -> None:
    """Stand in for `urlopen` on a machine without a network."""
    raise OSError("no network")


def test_planning_imports_no_compiler(tmp_path: Path) -> None:
    """Not for networks as they stand: torch takes seconds for it, more than 100,000 cells take."""
    spec = tmp_path / "spec.yaml"
    document = {"name": "s", "dataset": "cifar10", "models": ["resnet18", "cnn"], "forget": [0]}
    spec.write_text(json.dumps({**document, "method": "task-arithmetic"}))
    places = f"'--store', '{tmp_path}/store', '--results', '{tmp_path}/results'"
    code = f"""
import sys
from cluster.main import entry
assert entry(['plan', '{spec}', {places}]) == 0
heavy = ('torch._dynamo', 'torchvision', 'triton', 'sympy', 'scipy', 'optuna', 'matplotlib')
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_writes_nothing(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, says = BAD[case]
    path = spec(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMNESIA_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(urllib.request, "urlopen", offline)
    before = sorted(tmp_path.rglob("*"))
    assert entry(["run", path, *arguments]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("amnesia: ")
    assert says in last
    after = [path for path in tmp_path.rglob("*") if path.is_file() or any(path.iterdir())]
    assert sorted(after) == before


def test_the_command_itself_ends_with_the_code_and_no_traceback(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "cluster", "run", spec(tmp_path), "--set", "lamda=3"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 2
    assert run.stderr.startswith("amnesia: unknown key 'lamda'")
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["plan", "no-such"], "shipped: "),
        (["plan"], "plan needs a SPEC"),
        (["show", "nowhere"], "no rows in"),
        (["report", "nowhere"], "no rows in"),
        (["promote", "nowhere", "n", "--gallery", "g"], "no rows in"),
        (["rollback", "n", "--gallery", "nowhere"], "no model 'n' in the gallery"),
        (["serve", "--gallery", "nowhere"], "no gallery at"),
        (["serve", "--gallery", ".", "--host", "0.0.0.0"], "AMNESIA_TOKEN"),
        (["status", "j", "--address", "http://127.0.0.1:1"], "no Jobs API answers"),
    ],
)
def test_other_commands_refuse_in_the_same_way(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMNESIA_TOKEN", raising=False)
    assert entry(arguments) == 2
    err = capsys.readouterr().err.strip()
    assert says in err
    assert "\n" not in err
    assert not list(tmp_path.iterdir())


def test_a_foreign_artifact_is_refused_by_name_before_ray_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sweeps.plan.plan import make_plan
    from sweeps.rows.results import Results
    from sweeps.spec.files import read_spec
    from unlearn.artifacts import Store

    store = Store(str(tmp_path / "store"))
    plan = make_plan(read_spec(spec(tmp_path), []), store, Results(str(tmp_path / "results")))
    recipe = plan.build[0]
    store.save(recipe.kind, recipe.key, {}, {})
    (tmp_path / "store" / recipe.kind / recipe.key / "weights.safetensors").write_bytes(
        b"somebody's checkpoint"
    )
    results = str(tmp_path / "results")
    assert entry(["run", spec(tmp_path), "--store", store.root, "--results", results]) == 2
    assert "damaged or foreign" in capsys.readouterr().err
    assert not Path(results).exists()


def test_a_failed_cell_counts_only_while_the_spec_plans_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sweeps.plan.plan import make_plan
    from sweeps.rows.results import Results
    from sweeps.rows.schema import row_of
    from sweeps.spec.files import read_spec
    from unlearn.artifacts import Store

    there = spec(
        tmp_path, "name: s\nmodels: cnn\nmethod: fine-tune\nforget: [0]\ngrid: {steps: [5, 6]}\n"
    )
    store, results = Store(str(tmp_path / "store")), Results(str(tmp_path / "results"))
    good, bad = make_plan(read_spec(there, []), store, results).work[0].cells_left()
    stamp = {"wall_s": 1.0, "created_at": datetime.now(UTC)}
    results.write("s", row_of(good, {"status": "ok", **stamp}))
    results.write("s", row_of(bad, {"status": "failed", "error": "by hand", **stamp}))
    places = [there, "--results", results.root, "--store", store.root]
    assert entry(["run", *places]) == 1
    assert f"failed: s {bad.cell_id}: by hand" in capsys.readouterr().err
    assert entry(["plan", *places]) == 0
    assert (
        "cells: 0 to run, 2 done, 1 of them with an error (again with --retry-failed)"
        in capsys.readouterr().out
    )
    assert entry(["plan", *places, "--retry-failed"]) == 0
    assert "cells: 1 to run, 1 done\n" in capsys.readouterr().out
    for changed in (["--set", "grid.steps=[5]"], ["--set", "grid.steps=[5]", "--retry-failed"]):
        assert entry(["run", *places, *changed]) == 0
        assert capsys.readouterr().err == "nothing to do: every cell has its row\n"
        assert entry(["plan", *places, *changed]) == 0
        assert "cells: 0 to run, 1 done\n" in capsys.readouterr().out


def test_plan_lists_the_shipped_specs(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry(["plan", "--list"]) == 0
    assert {"demo", "sa-mnist", "task-arithmetic-mnist"} <= set(capsys.readouterr().out.split())


def test_a_jobs_spec_names_its_files_by_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job runs in another folder, where a path relative to ours names nothing."""
    monkeypatch.chdir(tmp_path)
    for name in ("own.safetensors", "start.safetensors"):
        (tmp_path / name).write_bytes(b"weights")
    text = (
        "name: s\nmodels: vit_tiny_patch16_224\nmethod: cf-k\nforget: [0]\n"
        "weights: own.safetensors\n"
        "options: {img_size: 32, pretrained: start.safetensors}\n"
    )
    path = spec(tmp_path, text)
    [document] = documents(path, ["dataset=mnist5k"])
    assert document["weights"] == str(tmp_path / "own.safetensors")
    assert document["options"] == {
        "img_size": 32,
        "pretrained": str(tmp_path / "start.safetensors"),
    }
    assert document["dataset"] == "mnist5k"
    [flag] = documents(path, ["options.pretrained=true"])
    assert flag["options"]["pretrained"] is True


def test_plan_refuses_a_model_that_cannot_take_the_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "name: s\nmodels: vgg11_bn\nmethod: fine-tune\nforget: [0]\n"
    places = ["--store", str(tmp_path / "store"), "--results", str(tmp_path / "results")]
    threads = torch.get_num_threads()
    assert entry(["plan", spec(tmp_path, text), *places]) == 2
    assert (
        "model vgg11_bn cannot take 64 images of mnist5k, 1 x 28 x 28 each"
        in capsys.readouterr().err
    )
    assert torch.get_num_threads() == threads
    one_image = (
        "name: s\nmodels: mobilenet_v2\noptions: {stem: stock}\ndataset: cifar10\n"
        "method: fine-tune\nforget: [0]\ntrain: {batch: 1}\n"
    )
    assert entry(["plan", spec(tmp_path, one_image), *places]) == 2
    assert "model mobilenet_v2 cannot take 1 images of cifar10" in capsys.readouterr().err


def test_serve_passes_on_the_token_of_the_environment_and_the_allowed_builders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Seen(Exception):
        pass

    def check(settings: ServiceSettings) -> None:
        raise Seen(settings)

    monkeypatch.setattr(serving, "check", check)
    listen = ["--host", "127.0.0.1", "--port", "8123"]
    arguments = ["serve", "--gallery", str(tmp_path), *listen, "--builder", "a:b"]
    for token, expected in (("a-token", "a-token"), ("", None)):
        monkeypatch.setenv("AMNESIA_TOKEN", token)
        with pytest.raises(Seen) as seen:
            entry(arguments)
        where = {"host": "127.0.0.1", "port": 8123}
        settings = ServiceSettings(str(tmp_path), **where, token=expected, builders=("a:b",))
        assert seen.value.args == (settings,)


Submitted = list[tuple[str, jobs.Submission]]


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> Submitted:
    """What would be submitted, and where; no Jobs API runs."""
    seen: Submitted = []

    def submit(address: str, submission: jobs.Submission) -> str:
        seen.append((address, submission))
        return submission.name or "job-1"

    monkeypatch.setattr(jobs, "submit", submit)
    return seen


def test_submit_prints_the_commands_that_follow_the_job(
    tmp_path: Path, submitted: Submitted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry(["submit", spec(tmp_path), "--address", "http://head:8265"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "job-1\n"
    assert "amnesia logs job-1 --address http://head:8265" in printed.err


def test_columns_are_explained_by_name_or_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry(["columns", "unlearn_s", "val_b*"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("unlearn_s\n  type: double\n  unit: s\n")
    assert "\nval_bar\n" in out
    assert entry(["columns"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert {"cell_id", "alpha", "probe_latent_label_rate"} <= set(names)
    assert entry(["columns", "unlearn"]) == 2
    assert "no column 'unlearn'; like it: unlearn_s" in capsys.readouterr().err


def test_what_a_run_leaves_can_be_watched_and_opened_as_studies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sweeps.plan.plan import make_plan
    from sweeps.rows.results import Results
    from sweeps.rows.schema import row_of
    from sweeps.spec.files import read_spec
    from unlearn.artifacts import Store

    text = "name: s\nmodels: cnn\nmethod: fine-tune\nforget: [0]\ngrid: {steps: [5, 6]}\n"
    store, results = Store(str(tmp_path / "store")), Results(str(tmp_path / "results"))
    assert entry(["watch", results.root]) == 2
    assert "no run and no rows" in capsys.readouterr().err
    for cell in make_plan(read_spec(spec(tmp_path, text), []), store, results).work[0].cells_left():
        val = {"val_forget_accuracy": 0.1, "val_retain_accuracy": 0.9}
        stamp = {"wall_s": 1.0, "created_at": datetime.now(UTC)}
        results.write("s", row_of(cell, {"status": "ok", **val, **stamp}))
    assert entry(["watch", results.root, "--json"]) == 0
    [seen] = json.loads(capsys.readouterr().out)
    assert (seen["sweep"], seen["done"], seen["left"]) == ("s", 2, None)
    file = tmp_path / "studies.db"
    assert entry(["studies", results.root, "-o", str(file)]) == 0
    assert capsys.readouterr().out == "s: cnn, forget 0, seed 0, fine-tune\n"
    assert file.is_file()


def test_submit_names_the_address_that_the_environment_gives(
    tmp_path: Path,
    submitted: Submitted,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://other:8265")
    assert entry(["submit", spec(tmp_path)]) == 0
    [(address, _)] = submitted
    assert address == "http://other:8265"
    assert "amnesia stop job-1 --address http://other:8265" in capsys.readouterr().err


def test_submit_passes_on_the_budget_the_name_and_the_variables(
    tmp_path: Path, submitted: Submitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FSSPEC_S3_KEY", "a-key")
    options = ["--budget", "45m", "--name", "mine", "--env", "A=b=c", "--env", "FSSPEC_S3_KEY"]
    places = ["--results", "s3://r", "--store", "s3://s"]
    assert entry(["submit", spec(tmp_path), *places, *options]) == 0
    [(_, submission)] = submitted
    assert submission.arguments == [*places, "--budget", "45m"]
    assert submission.name == "mine"
    assert jobs.environment(submission.env) == {"A": "b=c", "FSSPEC_S3_KEY": "a-key"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--env", "1A=b"], "--env '1A=b' must be KEY=VALUE"),
        (["--env", "NOT_SET_HERE"], "--env NOT_SET_HERE: the variable is not set here"),
        (["--with", "nowhere"], "--with nowhere: no such folder"),
    ],
)
def test_submit_refuses_before_it_connects(
    options: list[str],
    says: str,
    tmp_path: Path,
    submitted: Submitted,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert entry(["submit", spec(tmp_path), *options]) == 2
    assert says in capsys.readouterr().err
    assert submitted == []


def test_submit_follows_to_the_jobs_exit_code(
    tmp_path: Path, submitted: Submitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "follow", lambda address, job: 7)
    assert entry(["submit", spec(tmp_path), "--follow"]) == 7
