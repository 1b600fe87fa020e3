#!/bin/sh
# The image without a container engine: the install tree and its libraries staged into a root directory, entered read-only in
# user, mount, PID and network namespaces as uid 65532 without capabilities; serves one request. Needs root.
#   stage_test.sh BUILD_DIR MODEL
set -eu
build=$1
model=$(realpath "$2")
cd "$(dirname "$0")/.."
[ "$(id -u)" -eq 0 ] || { echo "stage_test.sh: needs root, to map the uids of a user namespace" >&2; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
stage=$work/root
mkdir "$stage"

DESTDIR="$stage" cmake --install "$build" --prefix /usr --strip >/dev/null
mkdir -p "$stage/models" "$stage/proc" "$stage/tmp" "$stage/dev" "$stage/etc" "$stage/out"
touch "$stage/dev/null" "$stage/dev/urandom"
# The shared libraries the runtime packages would bring: by ldd, and the one that stetd opens by name.
{
  for file in stetd stet stet-proxy; do
    ldd "$stage/usr/bin/$file"
  done
  strings "$stage/usr/bin/stetd" | grep -x 'libgrpc++_reflection.so.*' | while read -r name; do
    library=$(ldconfig -p | awk '/libgrpc\+\+\.so/ { print $NF; exit }')
    echo "$(dirname "$library")/$name"
    ldd "$(dirname "$library")/$name"
  done
} | awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^\//) print $i }' | sort -u | while read -r library; do
  mkdir -p "$stage$(dirname "$library")"
  cp -L "$library" "$stage$library"
done
# Each of them must come with the image's runtime packages.
apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
  $(docker/deps.sh list runtime) | grep '^[a-z]' | sort -u >"$work/packages"
find "$stage" -name '*.so*' | while read -r library; do
  dpkg -S "*/${library##*/}" | cut -d: -f1 >"$work/owners"  # of any architecture
  grep -qxFf "$work/owners" "$work/packages" || {
    echo "stage_test.sh: ${library##*/} of package" $(cat "$work/owners") "would be missing: docker/deps.sh runtime does not bring it" >&2
    exit 1
  }
done
cp "$model" "$stage/models/model.gguf"
for tool in sh id; do
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
id
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

# The user namespace starts without ids; we give it 0..65535, those outside, and only then it goes on: opening the pipe for
# writing waits for its reader, which stands inside.
mkfifo "$work/mapped"
unshare --user sh -eu -c '
  read -r go <"$1"
  exec unshare --mount --pid --net --fork sh -eu -c "$3" sh "$2"
' sh "$work/mapped" "$stage" '
  stage=$1
  mount --bind "$stage" "$stage"
  mount -t proc proc "$stage/proc"
  for device in null urandom; do
    mount --bind "/dev/$device" "$stage/dev/$device"
  done
  mount -o remount,ro,bind "$stage"
  ip link set lo up
  exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all,+sys_chroot,+setuid,+setgid \
    env -i PATH=/usr/sbin:/usr/bin:/bin chroot --userspec=65532:65532 --groups= "$stage" /bin/sh /bin/serve-one
' >"$work/answer" 2>"$work/log" &
inside=$!
exec 3>"$work/mapped"
echo "0 0 65536" >"/proc/$inside/uid_map"
echo "0 0 65536" >"/proc/$inside/gid_map"
echo go >&3
exec 3>&-
wait "$inside" || {
  tail -n 20 "$work/log" >&2
  exit 1
}
answer=$(cat "$work/answer")
echo "$answer"
case $answer in
  "uid=65532 gid=65532"*Paris*) echo "stage_test.sh: the staged image serves, read-only, as uid 65532" ;;
  *) echo "stage_test.sh: expected uid 65532 and an answer with Paris" >&2; exit 1 ;;
esac
