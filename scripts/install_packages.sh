#!/usr/bin/env bash
# install_packages.sh [GROUP]...: installs what is missing of scripts/packages.txt (default groups: build test).
# Where everything is there already it needs neither apt nor a network; elsewhere than on Debian it only lists the packages.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
groups=("$@")
[ ${#groups[@]} -gt 0 ] || groups=(build test)

packages=()
while read -r group package; do
  for wanted in "${groups[@]}"; do
    if [ "$group" = "$wanted" ]; then packages+=("$package"); fi
  done
done < <(grep -v '^ *#' "$here/packages.txt" | grep -v '^ *$')

if ! command -v dpkg-query >/dev/null; then
  echo "packages: not a Debian system; the equivalents of these must be there: ${packages[*]}"
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null || true)
  grep -qx installed <<<"$status" || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "packages: all ${#packages[@]} are there (${groups[*]})"
  exit 0
fi

echo "packages: missing: ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "packages: neither root nor sudo; as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
