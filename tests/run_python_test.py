"""run_python_test.py SCRIPT [TEST]...: runs a test script, or some of its tests, under the project's .venv if it is there,
else under this interpreter.

A script that imports a package of tests/requirements.txt which is not installed counts as skipped (exit code 77), or as
failed where SLUICE_REQUIRE_PYTHON=1.
"""
import os
import re
import runpy
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SKIPPED = 77
IMPORT_NAMES = {"scikit-learn": "sklearn"}


def optional_modules():
    with open(os.path.join(ROOT, "tests", "requirements.txt"), encoding="utf-8") as lines:
        names = [re.split(r"[=<>~ #]", line.strip())[0] for line in lines]
    return {IMPORT_NAMES.get(name, name) for name in names if name}


def main():
    script = os.path.abspath(sys.argv[1])
    venv_python = os.path.join(ROOT, ".venv", "bin", "python")
    if os.path.exists(venv_python) and os.path.abspath(sys.executable) != venv_python:
        os.execv(venv_python, [venv_python, os.path.abspath(__file__), script, *sys.argv[2:]])
    sys.argv = [script, *sys.argv[2:]]
    sys.path.insert(0, os.path.dirname(script))
    try:
        runpy.run_path(script, run_name="__main__")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in optional_modules():
            raise
        print(f"SKIPPED: {os.path.basename(script)} needs the Python package {error.name} (scripts/python_env.sh)")
        sys.exit(1 if os.environ.get("SLUICE_REQUIRE_PYTHON") == "1" else SKIPPED)


main()
