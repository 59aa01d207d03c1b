import subprocess
import sys

import pytest

COMMAND = (sys.executable, "-c", "from sartor.cli import main; main()")


@pytest.mark.parametrize(
    "option", [("--max-waiting", "0"), ("--deadline-s", "0"), ("--max-body-mb", "0"), ("--nonsense",)]
)
def test_options_out_of_range_are_usage_errors(tmp_path, option):
    done = subprocess.run([*COMMAND, "serve", str(tmp_path), *option], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert option[0] in done.stderr
