#!/usr/bin/env bash
# demo.sh: DeepFM and, for comparison, logistic regression, each from raw text in one pass, judged on the file's last tenth.
# DATA=FILE takes a file in the layout of Criteo's Kaggle set; without it a log is made whose best reachable AUC is known.
# Everything lies under out/demo; SAMPLES sets the length of the log.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
sluice=build/sluice
out=out/demo
samples=${SAMPLES:-3000000}
mkdir -p "$out"

data=${DATA:-}
teacher=
if [ -z "$data" ]; then
  data=$out/clicks-$samples.tsv
  teacher=$data.json
  if [ ! -f "$data" ] || [ ! -f "$teacher" ]; then
    echo "== $samples synthetic samples -> $data"
    "$sluice" synth --output "$data" --samples "$samples"
  fi
elif [ ! -f "$data" ]; then
  echo "demo: DATA=$data: no such file" >&2
  exit 3
fi

for model in deepfm lr; do
  echo "== $model"
  rm -rf "${out:?}/$model"
  "$sluice" train "examples/criteo/$model.yaml" --run-dir "$out/$model" --set "data.train=[\"$data\"]"
done
python3 scripts/demo_report.py "$out" "$data" $teacher
