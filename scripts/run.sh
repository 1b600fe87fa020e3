#!/bin/sh
# Starts stetd, waits until it is ready, asks it one question, shows what to try, and keeps serving.
# Environment: MODEL (file to serve), ONCE=1 (stop after the answer), GRPC, OPENAI (addresses).
set -eu
cd "$(dirname "$0")/.."

bin=build/release/bin
model=${MODEL:-models/SmolLM2-135M-Instruct.Q4_1.gguf}
grpc=${GRPC:-127.0.0.1:50051}
openai=${OPENAI:-127.0.0.1:8000}
log=build/stetd.log

"$bin/stetd" --model "$model" --grpc "$grpc" --openai "$openai" --set log.format=TEXT 2>"$log" &
daemon=$!
shown= # the process that shows the log; not while the answer is printed
show_log() {
  tail -n "$1" -f "$log" >&2 &
  shown=$!
}
hide_log() {
  [ -z "$shown" ] || kill "$shown" 2>/dev/null || true
  shown=
}
stop() {
  kill -TERM "$daemon" 2>/dev/null || true
  wait "$daemon" 2>/dev/null || true
  hide_log
}
trap 'stop; exit 130' INT TERM

show_log +1
until "$bin/stet" --address "$grpc" health --ready >/dev/null 2>&1; do
  if ! kill -0 "$daemon" 2>/dev/null; then
    code=0
    wait "$daemon" || code=$?
    hide_log
    echo "stetd ended with exit code $code before it was ready; the last lines above say why" >&2
    exit "$code"
  fi
  sleep 0.1
done
hide_log

question="Name the capital of France."
printf '\n> %s\n' "$question"
"$bin/stet" --address "$grpc" chat --temperature 0 --once "$question"

id=$(basename "$model" .gguf)
cat <<TXT

Serving $id (log: $log). Try, in another terminal:

  curl http://$openai/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{"messages":[{"role":"user","content":"Name three rivers."}],"temperature":0,"max_tokens":60}'

  $bin/stet --address $grpc chat          # a conversation; tokens/s at the end
  $bin/stet --address $grpc complete "Once upon a time"

  python3 -m venv /tmp/openai && /tmp/openai/bin/pip install -q openai && /tmp/openai/bin/python - <<'PY'
from openai import OpenAI
client = OpenAI(base_url='http://$openai/v1', api_key='none')
for part in client.chat.completions.create(model='default', stream=True,
        messages=[{'role': 'user', 'content': 'Name three rivers.'}]):
    print(part.choices[0].delta.content or '', end='', flush=True)
PY

TXT

if [ "${ONCE:-0}" = 1 ]; then
  stop
  exit 0
fi
echo "Ctrl-C drains and stops; the log goes on here."
show_log 0
wait "$daemon"
hide_log
