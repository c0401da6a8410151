#!/usr/bin/env bash
# Installs the heavy apps of tests/e2e/test_apps.py into a folder outside the repository, 8 GB: some ten minutes
# the first time, nothing when they are there.
#
# HESTIA_E2E_APPS names the folder (~/.cache/hestia-e2e-apps); PYTHON the interpreter for Open WebUI (3.11 or 3.12).
# code-server 4.100 is the last one for Node 20; CODE_SERVER names another release.
set -euo pipefail

folder=${HESTIA_E2E_APPS:-$HOME/.cache/hestia-e2e-apps}
release=${CODE_SERVER:-4.100.3}
mkdir -p "$folder"
cd "$folder"

say() { printf 'apps.sh: %s\n' "$*" >&2; }

# Its own installation script downloads tools from elsewhere and gives up where it cannot. What the editor and its
# terminal need is built from the packages themselves; searching files, which needs such a tool, is not tried.
code_server() {
  local app=code-server/node_modules/code-server code=code-server/node_modules/code-server/lib/vscode
  [ ! -e "$app/.hestia-$release" ] || return 0
  say "code-server $release"
  rm -rf code-server
  mkdir code-server
  npm install --prefix code-server --silent --ignore-scripts --no-audit --no-fund "code-server@$release"
  npm rebuild --prefix code-server --silent argon2
  npm install --prefix "$code" --silent --ignore-scripts --no-audit --no-fund --omit=dev
  npm install --prefix "$code/extensions" --silent --ignore-scripts --no-audit --no-fund --omit=dev
  # node-pty is built, then its script asks for a tool that only its developers want.
  (cd "$code" && npm rebuild --silent @vscode/spdlog && npm rebuild --silent node-pty >/dev/null 2>&1) || true
  ls "$code"/node_modules/node-pty/build/Release/pty.node "$code"/node_modules/@vscode/spdlog/build/Release/*.node >/dev/null
  ln -sfn node_modules "$code/node_modules.asar"
  touch "$app/.hestia-$release"
}

open_webui() {
  [ ! -e open-webui/.hestia ] || return 0
  say "Open WebUI"
  rm -rf open-webui
  "${PYTHON:-python3}" -m venv open-webui
  open-webui/bin/python -m pip install --quiet --disable-pip-version-check open-webui
  touch open-webui/.hestia
}

# Headers of the Node that is here: the build would fetch them otherwise.
export npm_config_nodedir=${npm_config_nodedir:-$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")}
code_server
open_webui
