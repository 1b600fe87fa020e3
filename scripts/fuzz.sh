#!/bin/sh
# Builds the libFuzzer targets with clang, JOBS at a time, and runs all at once for SECONDS. A finding prints its log and fails.
#   scripts/fuzz.sh SECONDS JOBS
set -eu
if [ "$1" = one ]; then # one SECONDS TARGET: called below, in parallel
  seconds=$2
  target=$3
  corpus=build/fuzz/corpus/$target
  seeds=tests/fuzz/seeds/$target
  [ -d "$seeds" ] || seeds=
  mkdir -p "$corpus"
  log=build/fuzz/$target.log
  if build/fuzz/bin/"$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=512 -artifact_prefix="build/fuzz/$target-" \
    "$corpus" $seeds >"$log" 2>&1; then
    echo "$target: $(grep -a '^Done ' "$log" || tail -n 1 "$log")"
    exit 0
  fi
  tail -n 60 "$log"
  echo "$target: FAILED, see $log"
  exit 255 # stops xargs
fi

seconds=$1
jobs=$2
cd "$(dirname "$0")/.."
cmake --preset fuzz >/dev/null
targets=$(ninja -C build/fuzz -t targets all | sed -n 's/^\([a-z_]*_fuzz\): phony$/\1/p' | grep -v '^cmake_')
[ -n "$targets" ] || { echo "fuzz.sh: no fuzz targets found" >&2; exit 70; }
cmake --build build/fuzz -j "$jobs" --target $targets
echo "fuzzing for $seconds s: $(echo $targets)"
printf '%s\n' $targets | xargs -P 0 -I {} sh scripts/fuzz.sh one "$seconds" {}
