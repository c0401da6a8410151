#!/bin/sh
# A program that outlives the play which starts it: start, stop, and its last lines. Linux; needs setsid.
#   process.sh start FOLDER NAME COMMAND      process.sh stop FOLDER NAME SECONDS      process.sh lines FOLDER NAME
# FOLDER (default: below the home of the user) keeps NAME.pid and NAME.log. The pid file says which session,
# since which boot and tick, so that a number which somebody else has by now is not taken for ours.
set -eu
action=$1 folder=$2 name=$3
case $name in */* | .* | '') echo "no name for a process: '$name'" >&2; exit 2 ;; esac
[ -n "$folder" ] || folder=$(eval "echo ~$(id -un)")/.local/state/hestia-services
record=$folder/$name.pid log=$folder/$name.log

ticks() { # when process $1 began, or nothing
  sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20
}

living() { # the processes of session $1, zombies left out
  cat /proc/[0-9]*/stat 2>/dev/null | sed -n "s/^\([0-9]*\) (.*) [^ZX] [0-9]* [0-9]* $1 .*/\1/p"
}

ours() { # our processes that live
  [ -s "$record" ] || return 0
  read -r session boot began <"$record"
  [ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] || return 0
  now=$(ticks "$session") || now=
  [ -z "$now" ] || [ "$now" = "$began" ] || return 0
  living "$session"
}

within() { # whether the rest of the words comes true in $1 tenths of a second
  left=$1
  shift
  until "$@"; do
    [ "$left" -gt 0 ] || return 1
    left=$((left - 1))
    sleep 0.1
  done
}

recorded() { [ -s "$record" ]; }
none() { [ -z "$(ours)" ]; }

alone() { # one start or stop at a time, where there is a flock
  mkdir -p "$folder"
  exec 9>"$folder/$name.lock"
  command -v flock >/dev/null || return 0
  flock -w 60 9 || { echo "another start or stop does not come to its end" >&2; exit 1; }
}

case $action in
start)
  alone
  if ! none; then
    echo "already runs"
    exit 0
  fi
  rm -f "$record"
  # shellcheck disable=SC2016  # for the inner shell
  setsid sh -c '
    boot=$(cat /proc/sys/kernel/random/boot_id)
    began=$(sed "s/^.*) //" /proc/$$/stat | cut -d " " -f 20)
    echo "$$ $boot $began" >"$0.new" && mv "$0.new" "$0"
    exec sh -c "$1"' "$record" "$4" </dev/null >"$log" 2>&1 9>&- &
  within 100 recorded || { echo "no session of its own within 10 s; is setsid there?" >&2; exit 1; }
  if within 5 none; then
    echo "it ended at once" >&2
    exit 1
  fi
  echo "started"
  ;;
stop)
  alone
  if none; then
    rm -f "$record"
    echo "nothing runs"
    exit 0
  fi
  # shellcheck disable=SC2046  # numbers
  kill -TERM $(ours) 2>/dev/null || true
  if ! within $(($4 * 10)) none; then
    # shellcheck disable=SC2046
    kill -KILL $(ours) 2>/dev/null || true
    within 50 none || { echo "it does not end" >&2; exit 1; }
  fi
  rm -f "$record"
  echo "stopped"
  ;;
lines) tail -n 15 "$log" ;;
*) echo "start, stop or lines, not '$action'" >&2; exit 2 ;;
esac
