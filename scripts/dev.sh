#!/usr/bin/env bash
# Hestia's development commands. Needs Python 3.11 or newer; everything else goes into .venv.
#
# Owns the virtual environment and how the suite is called. What is tested stands in pyproject.toml.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=.venv
COMPILED=.venv-compiled
STAMP=$VENV/.hestia-stamp
PID_FILE=.hestia/dev.pid
BIN=$VENV/bin

usage() {
  cat <<'TEXT'
Usage: scripts/dev.sh COMMAND

  setup          make .venv with Hestia and the development tools (other commands do it on first use)
  compile        make .venv-compiled with the data path as machine code; `run` uses it while it is up to date
  run [OPTION…]  serve on http://localhost:8080; options as for `hestia serve`
  test [PART…]   run the whole suite, or parts: lint docs unit contract integration conformance e2e compiled
                 coverage all; and what takes long and is never run unasked: fuzz load apps
                 after `--`, arguments for pytest: scripts/dev.sh test unit -- -k queue
  status         whether the gateway of `run` is up, and its services
  stop           stop the gateway of `run` in order

PYTHON=…            the interpreter to make .venv with
HESTIA_TEST_JOBS=n  test processes; the number of cores otherwise
HESTIA_FUZZ_STREAMS=n, HESTIA_FUZZ_SEED=word  how long, and where, `test fuzz` searches
TEXT
}

say() { printf 'dev.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# -- setup -----------------------------------------------------------------------------------------

is_new_enough() { # interpreter
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
  local candidate
  if [ -n "${PYTHON:-}" ] && ! is_new_enough "$PYTHON"; then
    die "PYTHON=$PYTHON is not Python 3.11 or newer; name another one, or leave PYTHON out"
  fi
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.11 python3.12 python3.13 python3.14; do
    if is_new_enough "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  die "Python 3.11 or newer was not found. Install it (Debian: apt install python3 python3-venv)" \
    "or name it: PYTHON=/path/to/python scripts/dev.sh setup"
}

fingerprint() { # of everything that decides what .venv holds
  { cat pyproject.toml; pwd; "$BIN/python" -V; } 2>&1 | cksum
}

# Debian ships Python without the part that puts pip into a new environment.
make_venv() {
  local python=$1 package
  say "making $VENV with $("$python" -V)"
  rm -rf "$VENV"
  if "$python" -c 'import ensurepip' 2>/dev/null && "$python" -m venv "$VENV"; then return; fi
  rm -rf "$VENV"
  if "$python" -m pip --version >/dev/null 2>&1 && "$python" -m venv --without-pip "$VENV" 2>/dev/null; then
    "$python" -m pip --python "$BIN/python" install --quiet pip && return
    rm -rf "$VENV"
  fi
  package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "this Python has no ensurepip; installing $package"
    apt-get install -y -qq "$package" >/dev/null 2>&1 ||
      { apt-get update -qq && apt-get install -y -qq "$package" >/dev/null; } ||
      die "apt could not install $package; install it by hand, then call this again"
    "$python" -m venv "$VENV" && return
  fi
  rm -rf "$VENV"
  die "$python cannot make virtual environments: $package is missing." \
    "Install it (sudo apt install $package), then call this again"
}

setup() { # quick when nothing changed: one checksum
  if [ -x "$BIN/python" ] && [ "$(cat "$STAMP" 2>/dev/null)" = "$(fingerprint)" ]; then return; fi
  local python
  python=$(find_python)
  # An environment that was moved or whose Python went away cannot be repaired by installing into it.
  "$BIN/python" -c 'import pip' 2>/dev/null || make_venv "$python"
  say "installing Hestia and its development tools into $VENV"
  "$BIN/python" -m pip install --quiet --disable-pip-version-check --editable '.[dev]' ||
    die "pip could not install everything (see above). Once the cause is gone, call this again"
  fingerprint >"$STAMP"
}

# -- the compiled data path ------------------------------------------------------------------------

sources() { # what the compiled environment was made from
  { fingerprint; find src -name '*.py' -print0 | LC_ALL=C sort -z | xargs -0 cat; } | cksum
}

is_compiled() {
  [ -x "$COMPILED/bin/hestia" ] && [ "$(cat "$COMPILED/.hestia-stamp" 2>/dev/null)" = "$(sources)" ]
}

compile() {
  local folder header
  setup
  if is_compiled; then return; fi
  header=$("$BIN/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
  if ! command -v cc >/dev/null || ! [ -e "$header" ]; then
    die "compiling needs a C compiler and Python's headers. Debian: sudo apt install gcc python3-dev"
  fi
  say "compiling the data path; about a minute"
  folder=$(mktemp -d)
  # a copy, because the machine code would be left beside the sources and be taken instead of them
  cp -r src pyproject.toml README.md LICENSE CHANGELOG.md "$folder"
  (cd "$folder" && HATCH_BUILD_HOOK_ENABLE_MYPYC=1 "$OLDPWD/$BIN/python" -m hatchling build -t wheel >log 2>&1) ||
    { cat "$folder/log" >&2; rm -rf "$folder"; die "the data path could not be compiled (see above)"; }
  rm -rf "$COMPILED"
  VENV=$COMPILED BIN=$COMPILED/bin make_venv "$BIN/python"
  "$COMPILED/bin/python" -m pip install --quiet --disable-pip-version-check "$(echo "$folder"/dist/*.whl)[dev]"
  rm -rf "$folder"
  sources >"$COMPILED/.hestia-stamp"
  say "ready: $COMPILED/bin/hestia, and scripts/dev.sh run"
}

# -- run, status, stop -----------------------------------------------------------------------------

running_pid() { # prints the pid of the gateway of `run`; fails if there is none
  local pid
  pid=$(cat "$PID_FILE" 2>/dev/null) || return 1
  # The number may have been given to another program since.
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q 'hestia serve' || return 1
  echo "$pid"
}

run() {
  local pid
  setup
  if pid=$(running_pid); then die "already running (pid $pid); stop it with: scripts/dev.sh stop"; fi
  mkdir -p "$(dirname "$PID_FILE")"
  echo $$ >"$PID_FILE" # exec keeps the number
  if is_compiled; then exec "$COMPILED/bin/hestia" serve "$@"; fi
  exec "$BIN/hestia" serve "$@"
}

status() {
  local pid
  if ! pid=$(running_pid); then
    say "not running; start it with: scripts/dev.sh run"
    return 3
  fi
  say "running, pid $pid"
  # By its configuration the command finds the gateway itself, its certificate too; not where `run` said otherwise.
  if [ -z "${HESTIA_URL:-}" ] && tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qE '^--(port|host)'; then
    HESTIA_URL=$(url_of "$pid")
    export HESTIA_URL
  fi
  "$BIN/hestia" status "$@"
}

url_of() { # pid; `run --port` may have put it anywhere
  "$BIN/python" - "$1" <<'PYTHON'
import socket, ssl, sys, psutil
listening = [one for one in psutil.Process(int(sys.argv[1])).net_connections("tcp") if one.status == psutil.CONN_LISTEN]
if listening:
    local = min(listening, key=lambda one: one.fd).laddr  # services' own ports are opened behind the gateway's
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(local.ip, local.ip)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((host, local.port), 2) as sock, context.wrap_socket(sock):
            scheme = "https"
    except OSError:
        scheme = "http"
    print(f"{scheme}://[{host}]:{local.port}" if ":" in host else f"{scheme}://{host}:{local.port}")
PYTHON
}

stop() {
  local pid tenths
  if ! pid=$(running_pid); then
    say "not running"
    return 0
  fi
  kill -TERM "$pid"
  for ((tenths = 0; tenths < 700; tenths++)); do # open requests 30 s, services 30 s, and some
    if ! kill -0 "$pid" 2>/dev/null; then
      rm -f "$PID_FILE"
      say "stopped"
      return 0
    fi
    sleep 0.1
  done
  die "pid $pid is still there after 70 s; end it with: kill -TERM $pid"
}

# -- test ------------------------------------------------------------------------------------------

lint() {
  "$BIN/ruff" check
  "$BIN/ruff" format --check
  "$BIN/mypy"
  "$BIN/lint-imports"
  "$BIN/python" scripts/requirements.py >/dev/null # the gaps go to stderr
}

docs() { # every generated page says the same as the code
  local script
  for script in scripts/make_*.py; do "$BIN/python" "$script" --check; done
}

jobs_wanted() {
  local cores
  cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
  echo "${HESTIA_TEST_JOBS:-$((cores > 8 ? 8 : cores))}"
}

run_pytest() { # a file stays in one process: its fixtures may own ports and programs
  local jobs
  jobs=$(jobs_wanted)
  if [ "$jobs" -gt 1 ]; then set -- --numprocesses "$jobs" --dist loadfile "$@"; fi
  "$BIN/python" -m pytest "$@"
}

compiled() { # the same tests of the data path, with the machine code in place of the sources
  compile
  BIN=$COMPILED/bin run_pytest tests/unit tests/integration "$@"
}

run_tests() {
  local part folders=() checks=() marks=()
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    part=$1
    shift
    case $part in
      lint | docs | compiled) checks+=("$part") ;;
      unit | contract | integration | e2e) folders+=("tests/$part") ;;
      conformance) folders+=(tests/conformance tests/fuzz) ;;
      fuzz | load | apps) marks+=("$part") ;;
      coverage) checks+=(coverage) ;;
      all) checks+=(lint docs) folders+=(tests) ;;
      *)
        say "unknown part \"$part\"; there are: lint docs unit contract integration conformance e2e" \
          "compiled coverage all fuzz load apps"
        exit 2
        ;;
    esac
  done
  [ $# -gt 0 ] && shift # the `--`
  if [ ${#checks[@]} -eq 0 ] && [ ${#folders[@]} -eq 0 ] && [ ${#marks[@]} -eq 0 ]; then checks=(lint docs) folders=(tests); fi
  setup
  for part in "${checks[@]}"; do
    case $part in
      coverage) run_pytest --cov=hestia --cov-report=term-missing:skip-covered tests "$@" ;;
      compiled) compiled "$@" ;;
      *) "$part" ;;
    esac
  done
  if [ ${#folders[@]} -gt 0 ]; then run_pytest "${folders[@]}" "$@"; fi
  for part in "${marks[@]}"; do
    if [ "$part" = apps ]; then tests/e2e/install.sh && tests/e2e/apps.sh; fi
    # In one process, and what they print is shown: they search long, or measure.
    "$BIN/python" -m pytest -m "$part" --capture=no tests "$@"
  done
}

command=${1:-}
[ $# -gt 0 ] && shift
case $command in
  setup) setup; say "ready: scripts/dev.sh run" ;;
  compile) compile ;;
  run) run "$@" ;;
  test) run_tests "$@" ;;
  status) status "$@" ;;
  stop) stop ;;
  -h | --help | help) usage ;;
  *)
    usage >&2
    exit 2
    ;;
esac
