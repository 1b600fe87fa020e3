#!/bin/sh
# The image without a container engine: the install tree and its libraries staged into a root directory, entered read-only in
# user, mount, PID and network namespaces as uid 65532 without capabilities; serves one request. Needs root or unprivileged
# user namespaces.   stage_test.sh BUILD_DIR MODEL
set -eu
build=$1
model=$(realpath "$2")
cd "$(dirname "$0")/.."
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT INT TERM

DESTDIR="$stage" cmake --install "$build" --prefix /usr --strip >/dev/null
mkdir -p "$stage/models" "$stage/proc" "$stage/tmp" "$stage/dev" "$stage/etc" "$stage/out"
# The shared libraries the runtime packages would bring, by ldd.
for file in stetd stet stet-proxy; do
  ldd "$stage/usr/bin/$file"
done | awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^\//) print $i }' | sort -u | while read -r library; do
  mkdir -p "$stage$(dirname "$library")"
  cp -L "$library" "$stage$library"
done
cp "$model" "$stage/models/model.gguf"
for tool in sh cat; do
  mkdir -p "$stage/bin"
  cp -L "$(command -v $tool)" "$stage/bin/$tool"
  ldd "$(command -v $tool)" | awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^\//) print $i }' | while read -r library; do
    mkdir -p "$stage$(dirname "$library")"
    cp -L "$library" "$stage$library" 2>/dev/null || true
  done
done
cat >"$stage/bin/serve-one" <<'SH'
#!/bin/sh
# Inside: start, wait for readiness by the image's own health check, ask, drain.
stetd --config /etc/stet/container.txtpb --model /models/model.gguf --set drain.announce_ms=0 &
pid=$!
tries=0
until stet health --ready >/dev/null 2>&1; do
  tries=$((tries + 1))
  if [ $tries -gt 2000 ] || ! kill -0 $pid 2>/dev/null; then
    echo "stage: the daemon did not become ready"
    exit 1
  fi
done
stet chat --temperature 0 --once "Name the capital of France." || exit 1
if (: >/usr/probe) 2>/dev/null; then
  echo "stage: the root is writable"
  exit 1
fi
kill -TERM $pid
wait $pid
SH
chmod 755 "$stage/bin/serve-one"
chmod -R a+rX "$stage"

answer=$(unshare --user --map-root-user --mount --pid --net --fork sh -eu -c '
  stage=$1
  mount --bind "$stage" "$stage"
  mount -t proc proc "$stage/proc"
  mount -o remount,ro,bind "$stage"
  ip link set lo up 2>/dev/null || true
  exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all \
    env -i PATH=/usr/bin:/bin chroot "$stage" /bin/sh /bin/serve-one
' sh "$stage" 2>"$stage.log") || {
  tail -n 20 "$stage.log" >&2
  exit 1
}
rm -f "$stage.log"
echo "$answer"
case $answer in
  *Paris*) echo "stage_test.sh: the staged image serves, read-only" ;;
  *) echo "stage_test.sh: expected an answer with Paris" >&2; exit 1 ;;
esac
