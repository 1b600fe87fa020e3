#!/bin/sh
# The one list of Debian 12 packages. Everything that installs (make run, the container image, CI) calls this script.
#   deps.sh list GROUP...      print the packages
#   deps.sh install GROUP...   install what is missing (root, or sudo); does nothing, and needs no network, when all is there
# Groups: runtime (what stetd links), build, test (needed by make test), check (format, tidy, fuzz), proof (bare-machine proof).
set -eu

runtime="libgrpc++1.51 libprotobuf32 libssl3 libpcre2-8-0 libutf8proc2 libspdlog1.10 libfmt9 libprometheus-cpp-core1.0 ca-certificates"
build="g++ cmake ninja-build make pkg-config ccache
  libgrpc++-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev
  libssl-dev libspdlog-dev libfmt-dev nlohmann-json3-dev libboost1.81-dev libpcre2-dev libutf8proc-dev
  prometheus-cpp-dev libcurl4-openssl-dev libcli11-dev python3 python3-pip"
test="libgtest-dev libgmock-dev libbenchmark-dev python3-venv binutils"
check="clang-format-14 clang-tidy-16 clang-16 libclang-rt-16-dev"
proof="debootstrap qemu-user util-linux iproute2"

usage() {
  sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
  exit 64
}

[ $# -ge 2 ] || usage
action=$1
shift
packages=
for group in "$@"; do
  case $group in
    runtime) packages="$packages $runtime" ;;
    build) packages="$packages $build" ;;
    test) packages="$packages $test" ;;
    check) packages="$packages $check" ;;
    proof) packages="$packages $proof" ;;
    *) echo "deps.sh: unknown group '$group' (runtime, build, test, check, proof)" >&2; exit 64 ;;
  esac
done

case $action in
  list)
    printf '%s\n' $packages
    ;;
  install)
    missing=
    for package in $packages; do
      dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
    done
    if [ -z "$missing" ]; then
      exit 0
    fi
    sudo=
    if [ "$(id -u)" -ne 0 ]; then
      command -v sudo >/dev/null || {
        echo "deps.sh: these packages are missing and there is neither root nor sudo to install them:$missing" >&2
        exit 77
      }
      sudo=sudo
    fi
    echo "installing:$missing" >&2
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >&2
    ;;
  *) usage ;;
esac
