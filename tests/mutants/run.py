"""run.py [NAME-PART]...: plants each bug of mutants.py in a copy of the tree and expects its tests to fail.

A mutant that does not apply (its text is not found exactly once), does not compile, or passes every test is a failure.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from mutants import MUTANTS

ROOT = pathlib.Path(__file__).resolve().parents[2]
JOBS = str(os.cpu_count() or 2)


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def build(folder, targets):
    return run("cmake", "--build", str(folder), "--parallel", JOBS, "--target", *targets)


def failing_test(folder, tests):
    """The first test that fails, or None."""
    for test in tests:
        executable, colon, chosen = test.partition(":")
        if colon:
            outcome = run(str(folder / executable), f"--gtest_filter={chosen}", "--gtest_fail_fast")
            if "[==========] Running 0 tests" in outcome.stdout:
                sys.exit(f"{test}: there is no such test")
        else:
            outcome = run("ctest", "--test-dir", str(folder), "--tests-regex", f"^{test}$", "--no-tests=error")
        if outcome.returncode != 0:
            return test
    return None


def try_mutant(mutant, tree, folder):
    path = tree / mutant.file
    original = path.read_text()
    if original.count(mutant.old) != 1:
        return f"NOT APPLIED: its text occurs {original.count(mutant.old)} times in {mutant.file}"
    path.write_text(original.replace(mutant.old, mutant.new))
    try:
        compiled = build(folder, mutant.targets)
        if compiled.returncode != 0:
            return "DOES NOT COMPILE:\n" + compiled.stdout[-2000:]
        red = failing_test(folder, mutant.tests)
        return f"killed by {red}" if red else f"SURVIVED {', '.join(mutant.tests)}"
    finally:
        path.write_text(original)


def main():
    chosen = [m for m in MUTANTS if len(sys.argv) == 1 or any(part in m.name for part in sys.argv[1:])]
    with tempfile.TemporaryDirectory(prefix="sluice-mutants-") as scratch:
        tree, folder = pathlib.Path(scratch) / "tree", pathlib.Path(scratch) / "build"
        ignored = shutil.ignore_patterns(".git", ".venv", "build*", "out", "runs", "__pycache__")
        shutil.copytree(ROOT, tree, ignore=ignored)
        configured = run("cmake", "-S", str(tree), "-B", str(folder), "-G", "Ninja", "-DSLUICE_BENCHMARKS=OFF")
        if configured.returncode != 0:
            sys.exit(configured.stdout)
        targets = sorted({target for mutant in chosen for target in mutant.targets})
        tests = sorted({test for mutant in chosen for test in mutant.tests})
        built = build(folder, targets)
        if built.returncode != 0:
            sys.exit(built.stdout[-4000:])
        red = failing_test(folder, tests)
        if red:
            sys.exit(f"without any mutant {red} fails already")
        bad = 0
        for mutant in chosen:
            outcome = try_mutant(mutant, tree, folder)
            bad += not outcome.startswith("killed")
            print(f"{mutant.name}: {outcome}", flush=True)
    print(f"{len(chosen) - bad} of {len(chosen)} mutants killed")
    return 1 if bad or not chosen else 0


sys.exit(main())
