"""Every model against JAX: 1,000 steps on the float64 plain path, and 10 steps in fp32.

Bounds are on |ours - JAX's| over the largest magnitude in the same array (a weight matrix, a table, its slots).
"""
import unittest

import parity

ADAGRAD = {"name": "adagrad", "learning_rate": 0.05, "initial_accumulator": 0.01}
SMALL = {"dim": 4, "mlp": [12, 8], "bottom_mlp": [10], "top_mlp": [12], "cross_layers": 2, "cin_layers": [5, 3]}
MODELS = {
    "lr": {"preset": "lr"},
    "lr_two_labels": {"preset": "lr", "labels": ["label", "second"]},
    "lr_mse": {"preset": "lr", "labels": ["target"], "loss": "mse"},
    "fm": {"preset": "fm"},
    "wide_deep": {"preset": "wide_deep"},
    "wide_deep_two_tables": {"preset": "wide_deep", "separate_wide": True},
    "deepfm": {"preset": "deepfm"},
    "deepfm_mse": {"preset": "deepfm", "labels": ["target"], "loss": "mse"},
    "deepfm_two_tables": {"preset": "deepfm", "separate_wide": True},
    "dnn_two_labels": {"preset": "dnn", "labels": ["label", "second"]},
    "dnn_two_labels_mse": {"preset": "dnn", "labels": ["target", "label"], "loss": "mse"},
    "dnn_mean": {"preset": "dnn", "pooling": "mean"},
    "dnn_sqrtn": {"preset": "dnn", "pooling": "sqrtn"},
    "dnn_max": {"preset": "dnn", "pooling": "max"},
    "dlrm": {"preset": "dlrm"},
    "dcn": {"preset": "dcn"},
    "dcnv2": {"preset": "dcnv2"},
    "dcnv2_low_rank": {"preset": "dcnv2", "cross_rank": 3},
    "xdeepfm": {"preset": "xdeepfm"},
}


class ModelsTest(parity.Cases, unittest.TestCase):
    def cases(self):
        return [(name, {**SMALL, **settings}, ADAGRAD) for name, settings in MODELS.items()]


if __name__ == "__main__":
    unittest.main()
