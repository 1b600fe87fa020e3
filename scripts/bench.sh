#!/bin/sh
# Kernels and whole steps against limits measured in the same process; JSON and tables go to benchmarks/results/.
#   scripts/bench.sh BUILD_DIR
set -eu
build=$1
cd "$(dirname "$0")/.."
mkdir -p benchmarks/results/kernels benchmarks/results/engine
"$build/bin/kernel_bench" --benchmark_out=benchmarks/results/kernels/latest.json --benchmark_out_format=json
"$build/bin/step_bench" models/SmolLM2-135M-Instruct.Q4_1.gguf | tee benchmarks/results/engine/latest.txt
