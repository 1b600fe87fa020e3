#!/bin/sh
# fuzz.sh SECONDS JOBS: builds the libFuzzer targets with clang and runs each for SECONDS. A finding stops it.
set -eu
seconds=$1
jobs=$2
cd "$(dirname "$0")/.."
cmake --preset fuzz >/dev/null
targets=$(ninja -C build/fuzz -t targets all | sed -n 's/^\([a-z_]*_fuzz\): phony$/\1/p')
[ -n "$targets" ] || { echo "fuzz.sh: no fuzz targets found" >&2; exit 70; }
cmake --build build/fuzz -j "$jobs" --target $targets
for target in $targets; do
  echo "== $target, $seconds s"
  corpus=build/fuzz/corpus/$target
  mkdir -p "$corpus"
  seeds=
  [ -d "tests/fuzz/seeds/$target" ] && seeds=tests/fuzz/seeds/$target
  log=build/fuzz/$target.log
  if ! build/fuzz/bin/"$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=512 -artifact_prefix=build/fuzz/ \
      "$corpus" $seeds >"$log" 2>&1; then
    tail -n 60 "$log"
    exit 1
  fi
  tail -n 2 "$log"
done
