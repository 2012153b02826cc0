"""sluice compare with real processes: what it lays side by side is what the runs do, and nothing is left behind."""
import json
import os
import signal
import subprocess
import sys
import time
import xml.dom.minidom

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e")]
import harness  # noqa: E402
import netns  # noqa: E402
from harness import check, check_in, metrics, run, write_criteo  # noqa: E402


def write_config(path, samples=3000, **more):
    data = write_criteo(os.path.join(path, "data.tsv"), samples)
    settings = {"data": {"train": [data], "format": "criteo", "split": {"kind": "tail", "fraction": 0.1}},
                "model": {"preset": "deepfm", "dim": 4, "mlp": [16]}, "train": {"batch_size": 128}, "threads": 1}
    settings.update(more)
    file = os.path.join(path, "config.yaml")
    with open(file, "w", encoding="utf-8") as out:
        json.dump(settings, out)   # JSON is YAML
    return file


def environment(path):
    temporary = os.path.join(path, "tmp")
    os.makedirs(temporary, exist_ok=True)
    return temporary, dict(os.environ, TMPDIR=temporary)


def namespaces():
    """Of comparisons that run no more."""
    names = os.listdir("/run/netns") if os.path.isdir("/run/netns") else []
    return [name for name in names
            if name.startswith("sluice-cmp-") and not os.path.exists(f"/proc/{name.split('-')[2]}")]


def compare(path, *arguments, code=0):
    temporary, env = environment(path)
    out = os.path.join(path, "compare.json")
    outcome = run("compare", *arguments, "--json", out, code=code, env=env)
    left = [name for name in os.listdir(temporary) if name.startswith("sluice-compare")]
    check(not left and not namespaces(), f"left behind: {left} {namespaces()}")
    with open(out, encoding="utf-8") as file:
        return outcome, json.load(file)


def by_preset(report):
    return {preset["preset"]: preset for preset in report["presets"]}


def test_the_table_holds_what_the_runs_report(path):
    config = write_config(path)
    kept = os.path.join(path, "kept")
    chart = os.path.join(path, "chart.svg")
    outcome, report = compare(path, config, "--presets", "one,des,rows_a2a", "--ranks", 2, "--samples", "1K", "--seeds",
                              "1,2", "--chart", chart, "--run-dir", kept)
    xml.dom.minidom.parse(chart)
    check(len(report["runs"]) == 6 and all(r["state"] == "done" for r in report["runs"]), f"{report['runs']}")
    for found in report["runs"]:
        told = metrics(os.path.join(kept, f"{found['preset']}-seed{found['seed']}"))
        check(found["samples"] == 1024 == told["samples"], f"{found}")
        for name in ["auc", "logloss", "samples_per_s"]:
            check(abs(found[name] - told[name]) <= 1e-9 * abs(told[name]), f"{name}: {found} {told}")
        check(found["cpu_us_per_sample"] > 0 and found["largest_rss_bytes"] >= max(found["peak_rss_bytes"]), f"{found}")
        check(len(found["peak_rss_bytes"]) == (1 if found["preset"] == "one" else 2), f"{found}")
    presets = by_preset(report)
    check(presets["one"]["sent_per_sample"]["mean"] == 0, f"{presets}")
    check(presets["des"]["bytes_per_sample"].get("rows", 0) == 0 and presets["des"]["sent_per_sample"]["mean"] > 0, f"{presets}")
    check(presets["rows_a2a"]["bytes_per_sample"]["rows"] > 0, f"{presets}")
    # The same model by every way, another one by every seed.
    aucs = {(r["preset"], r["seed"]): r["auc"] for r in report["runs"]}
    check(abs(aucs["des", 1] - aucs["one", 1]) < 3e-4 and aucs["des", 1] != aucs["des", 2], f"{aucs}")
    for word in ["samples/s", "one", "des", "rows_a2a", "partials"]:
        check_in(word, outcome.out)


def test_a_preset_that_is_refused_says_so_and_the_others_run(path):
    config = write_config(path, deterministic=True)
    # Deterministic mode takes 24 ranks at most; one process knows no ranks.
    outcome, report = compare(path, config, "--presets", "des,one", "--ranks", 25, "--samples", 128)
    runs = {r["preset"]: r for r in report["runs"]}
    check(runs["des"]["state"] == "not supported" and "24 ranks" in runs["des"]["why"], f"{runs}")
    check(runs["one"]["state"] == "done", f"{runs}")
    check_in("not supported: ", outcome.out)


def test_a_failure_is_told_with_code_4_and_errors_of_usage_with_2(path):
    config = write_config(path, data={"train": [os.path.join(path, "none.tsv")], "format": "criteo"})
    outcome, report = compare(path, config, "--presets", "des", code=4)
    check(report["runs"][0]["state"] == "failed" and "none.tsv" in report["runs"][0]["why"], f"{report}")
    check_in("none.tsv", outcome.err)
    for arguments, words in [(["--presets", "dse"], "did you mean des"), (["--samples", "0"], "--samples"),
                             (["--link", "fast"], "--link"), (["--seeds", "1,1"], "twice"), (["--ranks", "0"], "--ranks")]:
        check_in(words, run("compare", config, *arguments, code=2).err)


def test_an_interrupt_ends_it_with_code_130_and_leaves_nothing(path):
    config = write_config(path, train={"batch_size": 128, "epochs": 100000, "eval_every_epoch": False})
    temporary, env = environment(path)
    link = [] if netns.missing() else ["--link", "1Gbit"]
    process = harness.start("compare", config, "--presets", "one,des", "--samples", "1G", *link, env=env)

    def training():
        return any("train.jsonl" in files for _, _, files in os.walk(temporary))
    harness.wait_for(training, process)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    outcome = harness.finish(process, timeout=60)
    check(outcome.code == 130, f"{outcome}")
    check(not os.listdir(temporary) and not namespaces(), f"left behind: {os.listdir(temporary)} {namespaces()}")
    running = subprocess.run(["pgrep", "-f", config], capture_output=True, text=True, check=False).stdout
    check(not running, f"still running: {running}")


def test_a_shaped_link_is_counted_by_the_kernel_and_bounds_the_rate(path):
    if netns.missing():
        print(f"        skipped: {netns.missing()}")
        return
    config = write_config(path, samples=6000)
    _, report = compare(path, config, "--presets", "rows_a2a", "--ranks", 2, "--samples", "5K", "--link", "20Mbit")
    found = report["runs"][0]
    check(found["state"] == "done", f"{found}")
    check(report["link_mbit_per_s"] == 20, f"{report}")
    # Evaluation's rows and frames' headers come on top of the payload of training.
    check(found["sent_per_sample"] < found["wire_per_sample"] < 2.5 * found["sent_per_sample"] + 200, f"{found}")
    # Each of two ranks sends half of it.
    bound = 20e6 / 8 / (found["sent_per_sample"] / 2)
    check(found["samples_per_s"] < 1.1 * bound, f"{found['samples_per_s']} samples/s over a link for {bound}")


def test_servers_stand_beside_workers(path):
    data = {"train": [write_criteo(os.path.join(path, "d.tsv"), 3000)], "format": "criteo"}
    config = write_config(path, data=data, train={"batch_size": 128, "progressive": {"window": 500}})
    _, report = compare(path, config, "--presets", "one,ps-sync", "--ranks", 1)
    runs = {r["preset"]: r for r in report["runs"]}
    if "no parameter service" in runs["ps-sync"].get("why", ""):
        print("        skipped: this build has no parameter service")
        return
    check(all(r["state"] == "done" and r["samples"] == 3000 for r in runs.values()), f"{runs}")
    # One worker that waits for its push is one process, also in what it says of samples before it trains on them.
    check_in("scored before", report["evaluated"])
    for name in ["auc", "logloss"]:
        check(abs(runs["one"][name] - runs["ps-sync"][name]) < 3e-4, f"{runs}")
    link = [] if netns.missing() else ["--link", "1Gbit"]
    _, report = compare(path, config, "--presets", "ps-async", "--ranks", 2, "--servers", 2, *link)
    found = report["runs"][0]
    check(found["state"] == "done" and found["samples"] == 3000 and found["staleness"] >= 0, f"{found}")
    check(found["auc"] > 0.5 and found["sent_per_sample"] > 0, f"{found}")
    if link:   # half of the rows and parameters lie on the machine of the worker that asks
        check(found["wire_per_sample"] > 0.3 * found["sent_per_sample"], f"{found}")


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
