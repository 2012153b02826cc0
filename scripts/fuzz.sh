#!/usr/bin/env bash
# fuzz.sh BUILD_DIR RUNS: every libFuzzer target of BUILD_DIR for RUNS inputs from a fixed seed. Inputs that break a target
# are left in BUILD_DIR/fuzz-findings. A target's seed corpus is tests/golden/fuzz/TARGET, if there.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$(cd "$1" && pwd)
runs=$2
mkdir -p "$build/fuzz-findings"
shopt -s nullglob
failed=()
targets=("$build"/*_fuzz)
if [ ${#targets[@]} -eq 0 ]; then
  echo "fuzz: no target in $build" >&2
  exit 1
fi
for target in "${targets[@]}"; do
  name=$(basename "$target")
  corpus=$(mktemp -d)
  if [ -d "$root/tests/golden/fuzz/$name" ]; then cp "$root/tests/golden/fuzz/$name"/* "$corpus"; fi
  echo "fuzz: $name, $runs inputs"
  if ! "$target" -runs="$runs" -seed=1 -max_len=4096 -timeout=20 -rss_limit_mb=3000 -verbosity=0 \
    -artifact_prefix="$build/fuzz-findings/$name-" "$corpus" >"$build/fuzz-findings/$name.log" 2>&1; then
    tail -n 60 "$build/fuzz-findings/$name.log"
    failed+=("$name")
  fi
  rm -rf "$corpus"
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "fuzz: FAILED: ${failed[*]} (inputs in $build/fuzz-findings)" >&2
  exit 1
fi
echo "fuzz: ${#targets[@]} targets clean"
