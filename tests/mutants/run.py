"""run.py [NAME-PART]...: plants each bug of mutants.py, or those whose names hold one of the parts, in a copy of the tree
and expects its tests to fail.

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
TEST_TIMEOUT_S = 300   # of a test that a mutant makes hang


def run(*command, timeout=None):
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, stdout=f"not at its end after {timeout} s")


def build(folder, targets):
    return run("cmake", "--build", str(folder), "--parallel", JOBS, "--target", *targets)


def failing_test(folder, tests):
    """The first test that fails, or None."""
    for test in tests:
        executable, colon, chosen = test.partition(":")
        if colon:
            outcome = run(str(folder / executable), f"--gtest_filter={chosen}", "--gtest_fail_fast",
                          timeout=TEST_TIMEOUT_S)
            if "[==========] Running 0 tests" in outcome.stdout:
                sys.exit(f"{test}: there is no such test")
        else:
            outcome = run("ctest", "--test-dir", str(folder), "--tests-regex", f"^{test}$", "--no-tests=error",
                          "--timeout", str(TEST_TIMEOUT_S))
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
    if not chosen:
        sys.exit(f"no mutant has a name with {' or '.join(sys.argv[1:])}; there are:\n" +
                 "\n".join(m.name for m in MUTANTS))
    with tempfile.TemporaryDirectory(prefix="sluice-mutants-") as scratch:
        tree = pathlib.Path(scratch) / "tree"
        folder = tree / "build"   # where it lies in a checkout, so that a compiler cache has its objects
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
    return 1 if bad else 0


sys.exit(main())
