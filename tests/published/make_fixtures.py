"""``python -m tests.published.make_fixtures``: small packages by coremltools 6.3, 7.2 and 8.3, each in its environment.

What people have published was mostly written by coremltools before 8. The packages in ``fixtures/`` are the smallest of
each kind, and this script is their source. It needs a Python 3.10, since coremltools 6.3 has no build for 3.11, and a
Python 3.11; with pyenv, PYENV_VERSION has to name both. It downloads 60 MB and takes a minute. The weights are whole
numbers over a power of two, so that compression loses nothing and ``test_old_writers.py`` can compute what has to come
out.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FIXTURES = Path(__file__).with_name("fixtures")
_COMMON = ["attrs==23.2.0", "cattrs==23.2.3", "mpmath==1.3.0", "packaging==24.0", "pyaml==23.12.0", "PyYAML==6.0.1"]
_COMMON += ["protobuf==3.20.3", "sympy==1.12", "tqdm==4.66.2", "typing_extensions==4.10.0", "exceptiongroup==1.2.0"]
ENVIRONMENTS = {
    "6.3": ("python3.10", ["coremltools==6.3.0", "numpy==1.23.5"]),
    "7.2": ("python3.11", ["coremltools==7.2", "numpy==1.26.4"]),
    "8.3": ("python3.11", ["coremltools==8.3.0", "numpy==1.26.4"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="*", help=f"of {', '.join(ENVIRONMENTS)}; all without it")
    for version in parser.parse_args().versions or ENVIRONMENTS:
        interpreter, packages = ENVIRONMENTS[version]
        folder = FIXTURES / f"coremltools-{version}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as environment:
            subprocess.run([interpreter, "-m", "venv", environment], check=True)
            python = f"{environment}/bin/python"
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", *packages, *_COMMON], check=True)
            subprocess.run([python, str(Path(__file__).with_name("old_writer.py")), str(folder)], check=True)
        print(folder)


if __name__ == "__main__":
    sys.exit(main())
