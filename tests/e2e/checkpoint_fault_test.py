"""Full disks, unwritable places and damaged checkpoints: a clear error, nothing half-written, the last good one kept."""
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys

from harness import (check, check_in, checkpoints, digest, finish, leftovers, main, run, start, train_arguments,
                     write_criteo)


def trained(folder, samples=4000, **settings):
    data = write_criteo(f"{folder}/train.tsv", samples)
    run(*train_arguments(data, f"{folder}/run", **settings))
    return data, f"{folder}/run"


def flip_bit(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 16]))


def check_full_disk(outcome, run_dir, kept):
    check(outcome.code == 3, f"expected exit code 3, got {outcome}")
    check(not leftovers(run_dir), f"left behind: {leftovers(run_dir)}")
    check(checkpoints(run_dir) == kept, f"{checkpoints(run_dir)} in place of {kept}; {outcome}")


def test_file_size_limit_keeps_the_last_good_checkpoint(folder):
    data, run_dir = trained(folder, train__max_steps=20)
    kept, before = checkpoints(run_dir), digest(run_dir)
    largest = max(os.path.getsize(os.path.join(kept[-1], name)) for name in os.listdir(kept[-1]))

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest // 2, largest // 2))

    outcome = finish(start(*train_arguments(data, run_dir), preexec_fn=limit))
    check_full_disk(outcome, run_dir, kept)
    check_in(".bin", outcome.err)
    check_in("File too large", outcome.err)
    check(digest(run_dir) == before, "the last good checkpoint has changed")


def test_full_disk_keeps_the_last_good_checkpoint(folder):
    mount = f"{folder}/small"
    os.mkdir(mount)
    mounted = os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", mount],
                                                   capture_output=True).returncode == 0
    if not mounted:
        print("a small file system cannot be mounted here; the limit on file sizes above stands for it")
        return
    try:
        data = write_criteo(f"{folder}/train.tsv", 4000)
        run_dir = f"{mount}/run"
        run(*train_arguments(data, run_dir, train__max_steps=10))
        kept, before = checkpoints(run_dir), digest(run_dir)
        with open(f"{mount}/filler", "wb") as filler:
            space = os.statvfs(mount)
            filler.write(b"x" * (space.f_bavail * space.f_frsize - 16384))
        outcome = finish(start(*train_arguments(data, run_dir)))
        check_full_disk(outcome, run_dir, kept)
        check_in("No space left on device", outcome.err)
        check(digest(run_dir) == before, "the last good checkpoint has changed")
        os.remove(f"{mount}/filler")
        run(*train_arguments(data, run_dir))  # there is room again: the run goes on
    finally:
        subprocess.run(["umount", mount], check=True)


def test_unwritable_run_folder_is_named(folder):
    data = write_criteo(f"{folder}/train.tsv", 100)
    with open(f"{folder}/file", "w", encoding="ascii") as file:
        file.write("not a folder")
    for place in (f"{folder}/file", f"{folder}/file/run", "/proc/nowhere/run"):
        outcome = run(*train_arguments(data, place), code=3)
        check_in(place.removesuffix("/run"), outcome.err)


def test_flipped_bits_name_file_and_section(folder):
    data, run_dir = trained(folder, train__max_steps=20)
    newest = checkpoints(run_dir)[-1]
    with open(f"{newest}/manifest.json", encoding="utf-8") as file:
        sections = json.load(file)["checkpoint"]["sections"]
    rows = next(name for name in sorted(sections) if name.startswith("table/") and sections[name]["size"] > 0)
    for name in (rows, "dense/params"):
        section = sections[name]
        path = os.path.join(newest, section["file"])
        flip_bit(path, section["offset"] + section["size"] // 2)
        for arguments in (["inspect", newest, "--digest"], ["eval", newest, data], train_arguments(data, run_dir)):
            outcome = run(*arguments, code=3)
            check_in(section["file"], outcome.err)
            check_in(name, outcome.err)
        flip_bit(path, section["offset"] + section["size"] // 2)
    run("inspect", newest, "--digest")


def test_torn_newest_checkpoint_is_passed_over(folder):
    data, run_dir = trained(folder)
    expected = digest(run_dir)
    older, newest = checkpoints(run_dir)[-2:]
    os.remove(f"{newest}/manifest.json")
    os.makedirs(f"{run_dir}/checkpoints/step-999999999")
    shutil.copytree(older, f"{run_dir}/checkpoints/.tmp-step-999999998-1")
    for name in ("config.yaml", "metrics.json", "train.jsonl"):
        pathlib.Path(f"{run_dir}/{name}.tmp-1").touch()   # by a process that was killed while it wrote
    outcome = run(*train_arguments(data, run_dir))
    check_in(newest, outcome.err)  # a warning says that it was passed over
    check(not leftovers(run_dir), f"left behind: {leftovers(run_dir)}")
    check(digest(run_dir) == expected, "the run that went on from the older checkpoint ends elsewhere")


def test_other_format_version_is_named(folder):
    _, run_dir = trained(folder, train__max_steps=10)
    path = f"{checkpoints(run_dir)[-1]}/manifest.json"
    with open(path, encoding="utf-8") as file:
        text = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace('"format_version": 1', '"format_version": 2'))
    outcome = run("inspect", checkpoints(run_dir)[-1], code=3)
    check_in("format 2", outcome.err)


def test_other_settings_are_refused_and_named(folder):
    data, run_dir = trained(folder, train__max_steps=10)
    before = digest(run_dir)
    outcome = run(*train_arguments(data, run_dir, model__dim=8), code=2)
    check_in("dim: 8", outcome.err)
    check(digest(run_dir) == before, "the run folder was touched")


main(sys.modules[__name__])
