"""The service's processes start without what they do not need."""

import subprocess
import sys
from pathlib import Path

import psutil

from serve.launch import Server

ROOT = Path(__file__).parents[2]
LEFT_OUT = ("dashboard/dashboard.py", "monitor.py")  # the second is the autoscaler's and the logs'


def test_ray_serve_is_imported_without_pandas_which_others_still_find() -> None:
    code = (
        "import sys, serve.lean\n"
        "assert 'ray.serve' in sys.modules and 'pandas' not in sys.modules\n"
        "import pandas; print(pandas.DataFrame([1]).shape)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout == "(1, 1)\n"


def test_what_has_imported_pandas_keeps_it() -> None:
    code = "import pandas, sys, serve.lean; assert sys.modules['pandas'] is pandas"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_its_ray_has_no_dashboard_and_no_autoscaler(server: Server) -> None:
    children = psutil.Process().children()  # not those of a command of other tests
    commands = [" ".join(child.cmdline()) for child in children]
    assert any("raylet" in command for command in commands)
    assert not [command for command in commands if any(name in command for name in LEFT_OUT)]
