"""benchmarks/system/des_vs_ps: its arithmetic, and that one command runs cases, goes on where it was ended, and makes the tables."""
import glob
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
BENCHMARK = os.path.join(HERE, "..", "..", "benchmarks", "system", "des_vs_ps")
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e"), BENCHMARK]
import forms  # noqa: E402
import harness  # noqa: E402
import inputs  # noqa: E402
import results  # noqa: E402
import surface_report  # noqa: E402
from harness import check, check_in  # noqa: E402


def test_intervals_and_ratios(path):
    mean, half = results.interval([1, 2, 6])   # deviation sqrt(7), two degrees of freedom
    check(mean == 3 and abs(half - 4.303 * (7 / 3) ** 0.5) < 1e-12, f"{mean} {half}")
    check(results.difference([({"auc": 0.7}, {"auc": 0.6})], "auc") == "+0.1000", "one seed has no interval")
    check(results.ratio([({"x": 4.0}, {"x": 1.0}), ({"x": 1.0}, {"x": 1.0})], "x").startswith("2.00 ("), "geometric mean")


def test_where_one_overtakes_the_other(path):
    (keys,) = surface_report.crossings([(1, 4.0), (4, 1 / 4)])
    check(abs(keys - 2) < 1e-12, "half way in logarithms")
    check(surface_report.where_ahead([(1, 4.0), (4, 1 / 4)]) == "from 2.0", "overtakes")
    check(surface_report.where_ahead([(1, 1 / 4), (4, 4.0)]) == "up to 2.0", "is overtaken")
    check(surface_report.where_ahead([(1, 0.5), (4, 0.2)]) == "everywhere", "ahead everywhere")
    check(surface_report.where_ahead([(1, 2.0), (4, 1.5)]) == "nowhere", "behind everywhere")
    check("changes" in surface_report.where_ahead([(1, 2.0), (4, 0.5), (16, 2.0)]), "twice")


def test_keys_are_counted_by_batch_and_by_worker(path):
    file = os.path.join(path, "d.csv")
    with open(file, "w", encoding="utf-8") as out:
        out.write("label,I1,C1,C2\n1,1,a|b,x\n0,1,a,y\n1,1,c,x\n0,2,a|c,z\n")
    # Batches of two: {a b x y}, then {a c x z}, of which one worker knows a and x.
    check(inputs.count_keys(file, 2, [1, 2]) == {"1": {"unique": 2.0, "new": 1.5}, "2": {"unique": 2.0, "new": 2.0}},
          f"{inputs.count_keys(file, 2, [1, 2])}")


def test_forms_name_every_case_once(path):
    for form in forms.FORMS.values():
        names = [name for _, name, _ in forms.cases(form)]
        check(len(names) == len(set(names)), f"{names}")


def test_one_command_runs_goes_on_and_reports(path):
    command = [sys.executable, os.path.join(BENCHMARK, "run.py"), "--form", "small", "--sluice", harness.SLUICE, "--out",
               os.path.join(path, "out"), "--only"]
    first = subprocess.run(command + ["multi-lr-seed1"], capture_output=True, text=True, timeout=280, check=True)
    check_in("2 cases to run", first.stdout)
    check_in("| lr | des |", first.stdout)
    kept = glob.glob(os.path.join(path, "out", "multi-lr-seed1*.json"))
    check(len(kept) == 2 and not glob.glob(os.path.join(path, "out", "*.runs")), f"{os.listdir(os.path.join(path, 'out'))}")
    found = results.load(os.path.join(path, "out"))["models"]
    des = next(results.run_of(result, "des") for result in found if results.run_of(result, "des"))
    check(abs(des["sent_per_sample"] - 8) < 0.5, f"a sum of one number by two ranks: {des}")
    check(0.5 < des["late_auc"] < 1 and 9000 < des["late_samples"] <= 10000, f"{des}")
    again = subprocess.run(command + ["multi-lr-seed1"], capture_output=True, text=True, timeout=60, check=True)
    check_in("0 cases to run", again.stdout)


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
