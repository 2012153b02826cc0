"""Wrong usage of every verb: one clear line on standard error, the documented exit code, nothing left behind."""
import os
import subprocess
import sys

from harness import SLUICE, check, check_in, main, run

VERBS = ["train", "eval", "predict", "export", "inspect", "init", "pack", "synth", "bench", "reference"]
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def fails(code, part, *arguments, **options):
    """Runs the program, expects a failure of one line that holds `part`, and returns the line."""
    outcome = run(*arguments, code=code, **options)
    check(outcome.out == "", f"nothing was expected on standard output: {outcome}")
    lines = outcome.err.splitlines()
    check(len(lines) == 1 and lines[0].startswith("sluice: "), f"one line was expected: {outcome}")
    check_in(part, lines[0])
    return lines[0]


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    return path


def test_help_and_version(folder):
    check_in("sluice ", run("--version").out)
    overview = run("--help").out
    for verb in VERBS:
        check_in(verb, overview)
        check_in(f"Usage: sluice {verb}", run(verb, "--help").out)
    check_in("batch_size", run("train", "--help").out)
    check_in("--samples", run("synth", "--help").out)


def test_verbs_and_options_that_do_not_exist(folder):
    fails(2, "a verb is missing")
    fails(2, 'unknown verb "trian"; did you mean "train"?', "trian")
    fails(2, 'unknown verb ""', "")
    fails(2, "unknown option --sett; did you mean --set?", "train", "c.yaml", "--sett", "a=1")
    fails(2, "unknown option --jsn; did you mean --json?", "bench", "c.yaml", "--jsn=x")
    fails(2, "unexpected argument", "export", "a", "b", "c")
    fails(2, "--set", "train", "c.yaml", "--set")
    for verb in ["train", "eval", "predict", "export", "inspect", "init", "pack", "bench"]:
        fails(2, "required", verb)


def test_options_that_contradict(folder):
    fails(2, "one configuration or data files", "train", "a.yaml", "b.csv")
    fails(2, "one configuration or data files", "train", "a.yaml", "b.yaml")
    fails(2, "bench needs one configuration", "bench", "a.csv")
    fails(2, "--key x: write --key FIELD=VALUE", "inspect", "m", "--key", "x")
    fails(2, "choose one of", "inspect", "m", "--key", "a=b", "--digest")
    fails(2, "go together", "inspect", "m", "--raw-key", "3")
    fails(2, "a running parameter server", "inspect", "localhost:1", "--digest")
    fails(2, "--output", "pack", "x.csv")
    fails(2, "--part both", "pack", "x.csv", "-o", "x.sluice", "--part", "both")
    fails(2, "--verbs goes with --markdown", "reference", "--verbs")
    fails(2, 'did you mean "train"?', "reference", "trian")
    fails(2, "--samples 0: samples: must be >= 1", "synth", "--samples", "0")
    fails(2, "--samples many: samples: must be a whole number", "synth", "--samples", "many")
    fails(2, '--model fmm: model.preset: unknown value "fmm"; did you mean "fm"?', "train", "x.csv", "--model", "fmm")


def test_bad_configurations(folder):
    def config(part, text, *options, code=2):
        path = write(folder, "c.yaml", text)
        message = fails(code, part, "train", path, "--run-dir", f"{folder}/run", *options)
        check(not os.path.exists(f"{folder}/run"), "a run folder was left behind")
        return message

    config('c.yaml:2:3: train.batch_sise: unknown key; did you mean "batch_size"?', "train:\n  batch_sise: 4\n")
    config("c.yaml:2:15: train.batch_size: must be", "train:\n  batch_size: 0\n")
    config("c.yaml:2:15: train.batch_size: must be a whole number", "train:\n  batch_size: large\n")
    config('c.yaml:1:17: model.preset: unknown value "deepfn"; did you mean "deepfm"?', "model: {preset: deepfn}\n")
    config("There is train.batch_size", "batch_size: 4\n")
    config('key "seed" is given twice, first in line 1', "seed: 1\nseed: 2\n")
    config("a tab is used for indentation", "train:\n\tbatch_size: 4\n")
    config("NUL byte", b"seed: 1\0\n")
    config("byte 0xff is not UTF-8", b"name: \xff\n")
    config("not valid YAML", "train: [1\n")
    config("is empty", "")
    config("holds no settings", "# nothing\n")
    config("nested more than", "data: " + "[" * 40 + "]" * 40 + "\n")
    config("longer than", "seed: 1 #" + "x" * (5 << 20))
    config("environment variable SLUICE_NOT_SET is not set", "data:\n  train: ${SLUICE_NOT_SET}/a.csv\n")
    config("--set train.batch_size=0: train.batch_size: must be", "seed: 1\n", "--set", "train.batch_size=0")
    config('did you mean "train"?', "seed: 1\n", "--set", "trian.batch_size=3")
    config('has no "="', "seed: 1\n", "--set", "seed")
    fails(3, "no such file", "train", f"{folder}/none.yaml")
    os.mkdir(f"{folder}/folder.yaml")
    fails(2, "is a folder", "train", f"{folder}/folder.yaml")
    fails(3, "none.tsv", "train", f"{folder}/none.tsv", "--model", "lr", "--run-dir", f"{folder}/run")


def test_output_that_cannot_be_written(folder):
    for arguments in [["--version"], ["reference"], ["reference", "--markdown"], ["train", "--help"]]:
        with open("/dev/full", "wb") as full:
            process = subprocess.run([SLUICE, *arguments], stdout=full, stderr=subprocess.PIPE, check=False)
        check(process.returncode == 3, f"{arguments}: exit code {process.returncode}")
        check_in(b"standard output cannot be written", process.stderr)
    fails(3, "none", "synth", "--samples", "10", "--output", f"{folder}/none/x.tsv")


def test_reference_is_up_to_date(folder):
    for name, arguments in [("config", ["--markdown"]), ("cli", ["--markdown", "--verbs"])]:
        with open(f"{ROOT}/docs/reference/{name}.md", encoding="utf-8") as file:
            written = file.read()
        made = run("reference", *arguments).out
        check(made == written, f"docs/reference/{name}.md is out of date: sluice reference {' '.join(arguments)} > it")


if __name__ == "__main__":
    main(sys.modules[__name__])
