#!/bin/sh
# The proof that needs root, the network and half an hour: a bare Debian 12 with a clone (make run ONCE=1, make test), the baseline binary
# on an emulated Nehalem, the staged image, the full grids of bad input. Prints a table of what passed and how long it took.
#   scripts/proof.sh [bare|baseline|image|grids ...]      default: all four
# The host's CA bundle and resolver are lent to the tree; nothing else of the host is visible in it.
set -eu
cd "$(dirname "$0")/.."
top=$PWD
work=$top/build/proof
root=$work/debian
mkdir -p "$work"
results=$work/results.txt
: >"$results"

record() { # record NAME COMMAND...: runs it, remembers how it ended and how long it took
  name=$1
  shift
  start=$(date +%s)
  set +e # not 'if "$@"': a condition would switch off -e inside
  (set -e; "$@") >"$work/$name.log" 2>&1
  code=$?
  set -e
  verdict=passed
  [ "$code" -eq 0 ] || verdict=FAILED
  line=$(printf '%-34s %-7s %5d s   %s' "$name" "$verdict" "$(($(date +%s) - start))" "build/proof/$name.log")
  echo "$line" | tee -a "$results"
}

in_tree() { # runs a shell line inside the bare tree, in its own mount and PID namespaces
  unshare --mount --pid --fork --mount-proc sh -eu -c '
    root=$1
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    exec env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 PIP_ROOT_USER_ACTION=ignore ${PIP_CERT:+PIP_CERT=/etc/ssl/certs/ca-certificates.crt} \
      chroot "$root" /bin/sh -euc "$2"
  ' sh "$root" "$1"
}

bare() {
  rm -rf "$root"
  record bare-debootstrap debootstrap --variant=minbase --include=git,make,python3,python3-pip,ca-certificates \
    bookworm "$root" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  git clone -q "$top" "$root/srv/stet"
  record bare-make-run in_tree 'cd /srv/stet && make run ONCE=1'
  record bare-answer grep Paris "$work/bare-make-run.log"
  record bare-make-run-again in_tree 'cd /srv/stet && make run ONCE=1'
  record bare-make-test in_tree 'cd /srv/stet && make test'
}

# Answers of the baseline kernels on an emulated CPU without AVX, F16C and FMA equal the native ones.
baseline_equal() {
  "$bin/make_tiny_gguf" --arch llama --seed 1 --out "$work/tiny.gguf"
  printf '{"a": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]}' >"$work/ids.json"
  "$bin/stet_score" --model "$work/tiny.gguf" --tokens "$work/ids.json" --isa scalar >"$work/native.json"
  qemu-x86_64 -cpu Nehalem "$bin/stet_score" --model "$work/tiny.gguf" --tokens "$work/ids.json" >"$work/nehalem.json"
  cmp "$work/native.json" "$work/nehalem.json"
  qemu-x86_64 -cpu Nehalem "$bin/stet" --version
  qemu-x86_64 -cpu Nehalem "$bin/stetd" --version
}

# What a whole daemon, started by COMMAND..., says to one prompt.
answer_of() {
  log=$work/baseline-stetd.log
  "$@" "$bin/stetd" --model "$work/tiny.gguf" --grpc "unix:$work/stet.sock" --openai "" --set drain.announce_ms=0 2>"$log" &
  daemon=$!
  until grep -q '"event":"daemon.ready"' "$log"; do
    kill -0 "$daemon" || { cat "$log"; return 1; }
    sleep 0.1
  done
  "$bin/stet" --address "unix:$work/stet.sock" complete --quiet --temperature 0 --max-tokens 24 "the baseline"
  kill -TERM "$daemon"
  wait "$daemon"
}

baseline_serves() {
  answer_of env >"$work/native.txt"
  answer_of qemu-x86_64 -cpu Nehalem >"$work/nehalem.txt"
  test -s "$work/native.txt"
  cmp "$work/native.txt" "$work/nehalem.txt"
}

baseline() {
  make build test-build >/dev/null
  bin=$top/build/release/bin
  record baseline-nehalem baseline_equal
  record baseline-nehalem-serves baseline_serves
}

image() {
  make build >/dev/null
  record image-staged scripts/stage_test.sh build/release models/SmolLM2-135M-Instruct.Q4_1.gguf
}

grids() {
  make test-build .venv/.stamp >/dev/null
  record grids-input env STET_FULL_GRIDS=1 STET_BIN="$top/build/release/bin" .venv/bin/python -m pytest -q tests/e2e
}

[ $# -gt 0 ] || set -- bare baseline image grids
for part in "$@"; do
  case $part in
    bare | baseline | image | grids) $part ;;
    *) echo "proof.sh: unknown part '$part'" >&2; exit 64 ;;
  esac
done
! grep -q FAILED "$results"
