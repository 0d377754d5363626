#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Installs what packages.txt names and this machine lacks. Debian 12. Idempotent, asks nothing.
#   install-packages.sh           installs
#   install-packages.sh --check   only says what is missing; exit status 1 if anything is
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mode=${1:-install}
case $mode in
install | --check) ;;
*)
    echo "usage: install-packages.sh [--check]" >&2
    exit 2
    ;;
esac

wanted=$(sed -e 's/#.*//' -e 's/[[:space:]]*$//' "$here/packages.txt" | grep -v '^$')
missing=()
for package in $wanted; do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi
if [ "$mode" = --check ]; then
    echo "missing packages: ${missing[*]}"
    echo "install them with: $here/install-packages.sh"
    exit 1
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "install-packages.sh: not root and no sudo here; as root run: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
echo "installing ${#missing[@]} packages: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# An old list of packages is the usual reason why a first try fails: refresh it, then try again.
install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -q --no-install-recommends \
        -o DPkg::Lock::Timeout=120 install "${missing[@]}" >"$log" 2>&1
}
if ! install; then
    "${as_root[@]}" apt-get -q -o DPkg::Lock::Timeout=120 update >>"$log" 2>&1 || true
    if ! install; then
        tail -n 20 "$log" >&2
        echo "install-packages.sh: apt-get failed; is this Debian 12, and are its package mirrors reachable?" >&2
        exit 1
    fi
fi
