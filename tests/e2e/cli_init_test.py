"""`sluice init`: what it writes for files of several kinds can be read back and says what was guessed."""
import gzip
import random
import sys

from harness import check, check_in, main, run, write_criteo


def write(path, lines):
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return path


def accepted(folder, yaml):
    """The configuration is a valid one: reading it gets as far as a value that is refused."""
    path = write(f"{folder}/made.yaml", [yaml])
    outcome = run("train", path, "--set", "train.batch_size=0", code=2)
    check_in("--set train.batch_size=0: train.batch_size", outcome.err)


def test_csv_with_header(folder):
    rng = random.Random(3)
    lines = ["user_id,age,city,tags,income"]
    for i in range(400):
        lines.append(f"u{i},{rng.uniform(18, 80):.2f},city{rng.randrange(30)},a|b,{'>50K' if rng.random() < .2 else '<=50K'}")
    yaml = run("init", write(f"{folder}/a.csv", lines)).out
    check_in('label: income   # guessed: the only column with two values', yaml)
    check_in('positive_label: ">50K"   # guessed: the rarest of 2 texts', yaml)
    check_in("age: {type: numeric", yaml)
    check_in("city: {type: categorical}", yaml)
    check_in("tags: {type: categorical, multi: true}", yaml)
    check_in("passthrough: [user_id]", yaml)
    check("  user_id:" not in yaml, yaml)
    accepted(folder, yaml)


def test_label_by_name_and_by_option(folder):
    path = write(f"{folder}/a.csv", ["a,click,b"] + [f"x{i % 5},{i % 2},y{i % 2}" for i in range(50)])
    check_in("label: click   # guessed by its name", run("init", path).out)
    check_in("label: b\n", run("init", path, "--label", "b").out)
    check_in('did you mean "click"?', run("init", path, "--label", "clock", code=2).err)
    path = write(f"{folder}/b.csv", ["a,b"] + [f"x{i},y{i}" for i in range(50)])
    check_in("name it with --label", run("init", path, code=2).err)


def test_other_separators_no_header_and_gzip(folder):
    path = f"{folder}/a.csv.gz"
    with gzip.open(path, "wt") as file:
        for i in range(300):
            file.write(f"{i * 0.37};k{i % 7};{i % 2}\n")
    yaml = run("init", path).out
    check_in('separator: ";"', yaml)
    check_in("header: false", yaml)
    check_in("columns: [c1, c2, c3]", yaml)
    check_in("label: c3", yaml)
    accepted(folder, yaml)


def test_regression(folder):
    path = write(f"{folder}/a.csv", ["x,response"] + [f"k{i % 9},{i * 1.5}" for i in range(100)])
    yaml = run("init", path).out
    check_in("label: response   # guessed by its name", yaml)
    check_in("loss: mse", yaml)
    accepted(folder, yaml)


def test_criteo_is_ranges(folder):
    yaml = run("init", write_criteo(f"{folder}/a.tsv", 100)).out
    check_in("I{1..13}: {type: numeric", yaml)
    check_in("C{1..26}: {type: categorical}", yaml)
    accepted(folder, yaml)


def test_bad_files(folder):
    for name, text in [("empty.csv", ""), ("bytes.csv", "\x00\x00,\x00\n" * 10)]:
        with open(f"{folder}/{name}", "w", encoding="utf-8") as file:
            file.write(text)
        outcome = run("init", f"{folder}/{name}", code=3)
        check_in(name, outcome.err)
    check_in("none.csv", run("init", f"{folder}/none.csv", code=3).err)
    check_in("fm", run("init", f"{folder}/none.csv", "--model", "fmm", code=2).err)


if __name__ == "__main__":
    main(sys.modules[__name__])
