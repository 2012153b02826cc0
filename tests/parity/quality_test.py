"""What the program reports of quality, against scikit-learn; fp32 and bf16 against fp64 at the end of training."""
import csv
import io
import json
import unittest

import numpy as np
from sklearn.metrics import log_loss, roc_auc_score

import parity

ADAGRAD = {"name": "adagrad", "learning_rate": 0.05}
DEEPFM = {"preset": "deepfm", "dim": 4, "mlp": [12, 8]}


def labels(path):
    with open(path, encoding="ascii") as file:
        return np.array([int(line["label"]) for line in csv.DictReader(file)])


def scores(run_dir, path):
    text = parity.run("predict", run_dir, path, "--quiet")
    return np.array([float(line[-1]) for line in list(csv.reader(io.StringIO(text)))[1:]])


class QualityTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder, _ = parity.workplace()
        cls.test = f"{folder}/test.csv"
        cls.runs = {p: parity.Program(DEEPFM, ADAGRAD, 250, p) for p in ("fp64", "fp32", "bf16")}

    def test_metrics_are_those_of_scikit_learn(self):
        run_dir = self.runs["fp32"].run_dir
        parity.run("eval", run_dir, self.test, "--json", run_dir + "/eval.json")
        with open(run_dir + "/eval.json", encoding="utf-8") as file:
            reported = json.load(file)
        y, p = labels(self.test), scores(run_dir, self.test)
        self.assertEqual(len(y), len(p))
        self.assertAlmostEqual(reported["auc"], roc_auc_score(y, p), delta=1e-6)
        self.assertAlmostEqual(reported["logloss"], log_loss(y, p.astype(np.float64)), delta=1e-5)

    def test_precisions_reach_the_same_auc(self):
        y = labels(self.test)
        auc = {precision: roc_auc_score(y, scores(run.run_dir, self.test)) for precision, run in self.runs.items()}
        print(auc, flush=True)
        self.assertGreater(auc["fp64"], 0.7)
        self.assertAlmostEqual(auc["fp32"], auc["fp64"], delta=3e-4)
        self.assertAlmostEqual(auc["bf16"], auc["fp64"], delta=5e-3)
        # Products were made in bf16: those of fp32 come far closer.
        exact, single, half = (scores(self.runs[p].run_dir, self.test) for p in ("fp64", "fp32", "bf16"))
        self.assertGreater(np.abs(half - exact).max(), 10 * np.abs(single - exact).max())


if __name__ == "__main__":
    unittest.main()
