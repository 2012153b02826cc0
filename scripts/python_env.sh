#!/usr/bin/env bash
# Makes .venv with the pinned packages of tests/requirements.txt, once per version of that list. Only tests use it.
# Without a network the tests that need it are skipped and say so; with SLUICE_REQUIRE_PYTHON=1 (CI) that is a failure.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
requirements=$root/tests/requirements.txt
venv=$root/.venv
stamp=$venv/requirements.installed

if [ -f "$stamp" ] && cmp -s "$requirements" "$stamp"; then
  echo "python: $venv is up to date"
  exit 0
fi

fail() {
  echo "python: $1"
  if [ "${SLUICE_REQUIRE_PYTHON:-0}" = 1 ]; then exit 1; fi
  echo "python: tests that compare with JAX, NumPy or scikit-learn will be SKIPPED"
  exit 0
}

interpreter=
for candidate in /usr/bin/python3 python3; do
  if command -v "$candidate" >/dev/null &&
    "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    interpreter=$candidate
    break
  fi
done
[ -n "$interpreter" ] || fail "no Python 3.11 or newer with the venv module"

echo "python: installing tests/requirements.txt into $venv"
rm -rf "$venv"
"$interpreter" -m venv "$venv" || fail "could not make $venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --retries 2 -r "$requirements" || {
  rm -rf "$venv"
  fail "could not install tests/requirements.txt"
}
cp "$requirements" "$stamp"
