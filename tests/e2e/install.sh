#!/usr/bin/env bash
# Installs what the tests need beside Python: real clients and a browser (tests/e2e), a C compiler (dev.sh compile).
# Quick when all is there.
#
# Programs come from Debian's packages where they are missing, Node's packages from the lock file. Go's standard
# library is compiled here, so that no test has to wait for it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/clients"

missing=()
need() { # program package
  command -v "$1" >/dev/null || missing+=("$2")
}
need curl curl
need wget wget
need chromium chromium
need node nodejs
need npm npm
need go golang-go
need cc gcc
need /lib/systemd/systemd systemd
header=$("${PYTHON:-../../../.venv/bin/python}" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
[ -e "$header" ] || missing+=(python3-dev)

apt() { # others may be installing, too: wait for them
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq "$@" >/dev/null
}
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "install.sh: not here, and apt is not to be had: ${missing[*]}" >&2
    exit 1
  fi
  apt install -y --no-install-recommends "${missing[@]}" 2>/dev/null ||
    { apt update && apt install -y --no-install-recommends "${missing[@]}"; }
fi

# promtool alone, out of Debian's package: the server that it comes with is of no use here, nor is its 90 MB.
if ! command -v promtool >/dev/null && [ ! -x prometheus/promtool ]; then
  folder=$(mktemp -d)
  (cd "$folder" && { apt-get -qq download prometheus 2>/dev/null || { apt update && apt-get -qq download prometheus; }; })
  mkdir -p prometheus
  dpkg-deb --fsys-tarfile "$folder"/prometheus_*.deb | tar xO ./usr/bin/promtool >"$folder/promtool"
  install -m 755 "$folder/promtool" prometheus/promtool
  rm -r "$folder"
fi

stamp=node/node_modules/.hestia-stamp
if [ "$(cat "$stamp" 2>/dev/null)" != "$(cksum <node/package-lock.json)" ]; then
  npm ci --prefix node --loglevel=error --no-audit --no-fund >/dev/null
  cksum <node/package-lock.json >"$stamp"
fi

(cd go && CGO_ENABLED=0 go build -o /dev/null .)
