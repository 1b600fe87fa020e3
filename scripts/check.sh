#!/bin/sh
# Formatting (clang-format 14), clang-tidy 16 over the sources, and the tidy rules.
set -eu
cd "$(dirname "$0")/.."
files=$(git ls-files 'src/*.h' 'src/*.cc' 'include/*.h' 'kernels/*.h' 'kernels/*.cc' 'tests/*.h' 'tests/*.cc' 'benchmarks/*.cc' 'benchmarks/*.h')
clang-format-14 --dry-run --Werror $files
python3 tests/tidy/tidy_test.py
cmake --preset dev -DSTET_BUILD_BENCHMARKS=OFF >/dev/null
cmake --build build/dev --target stet_proto stet_proto_grpc -j "$(nproc)" >/dev/null
# Kernels of one instruction set are left out: clang-tidy has nothing to say about intrinsics.
# One file per process, the largest first, so that no core waits for another at the end; 10 minutes per file, because some
# releases of clang-tidy 16 have hung on a file now and then.
git ls-files 'src/*.cc' | xargs wc -c | sort -rn | awk '$2 != "total" {print $2}' |
  xargs -P "$(nproc)" -n 1 timeout 600 clang-tidy-16 -p build/dev --quiet --warnings-as-errors='*'
