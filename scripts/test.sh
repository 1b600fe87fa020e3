#!/bin/sh
# Runs the tests of a build folder. test.sh BUILD_DIR PYTHON [ctest arguments...]
# Python tests (SDK and gRPC clients) run when PYTHON is given and the folder has the binaries.
set -eu
build=$1
python=$2
shift 2
cd "$(dirname "$0")/.."
export STET_TEST_MODEL="${STET_TEST_MODEL:-$PWD/models/SmolLM2-135M-Instruct.Q4_1.gguf}"
if [ -f models/gemma-3-270m-q4_k_m.gguf ]; then # make fetch-gemma
  export STET_TEST_GEMMA="${STET_TEST_GEMMA:-$PWD/models/gemma-3-270m-q4_k_m.gguf}"
fi

ctest --test-dir "$build" --output-on-failure --parallel "$(nproc)" "$@"
if [ -n "$python" ]; then
  STET_BIN="$PWD/$build/bin" "$python" -m pytest -q tests/e2e
fi
