"""`cmake --install` gives a library that a user's own C++ program finds, builds with and runs: examples/embed_in_cpp."""
import os
import re
import subprocess
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout)
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}"
    return done.stdout


with tempfile.TemporaryDirectory() as folder:
    prefix, build, work = (os.path.join(folder, name) for name in ("prefix", "build", "work"))
    os.mkdir(work)
    run("cmake", "--install", os.environ["SLUICE_BUILD_DIR"], "--prefix", prefix)
    run("cmake", "-S", os.path.join(ROOT, "examples", "embed_in_cpp"), "-B", build, "-G", "Ninja",
        f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", build)
    out = run(os.path.join(build, "embed_in_cpp"), work)
    auc = float(re.search(r"AUC ([0-9.]+)", out).group(1))
    assert auc > 0.7, out
    with open(os.path.join(work, "scores.csv"), encoding="utf-8") as scores:
        assert sum(1 for _ in scores) == 20001, "a header and a line for each sample"
    run(os.path.join(prefix, "bin", "sluice"), "--version")
