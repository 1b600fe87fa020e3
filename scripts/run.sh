#!/bin/sh
# Starts stetd, waits until it is ready, asks it one question, shows what to try, and keeps serving.
# Environment: MODEL (file to serve), ONCE=1 (stop after the answer), GRPC, OPENAI (addresses).
set -eu
cd "$(dirname "$0")/.."

bin=build/release/bin
model=${MODEL:-models/SmolLM2-135M-Instruct.Q4_1.gguf}
grpc=${GRPC:-127.0.0.1:50051}
openai=${OPENAI:-127.0.0.1:8000}

"$bin/stetd" --model "$model" --grpc "$grpc" --openai "$openai" &
daemon=$!
stop() {
  kill -TERM "$daemon" 2>/dev/null || true
  wait "$daemon" 2>/dev/null || true
}
trap 'stop; exit 130' INT TERM

# The daemon says on stderr what it is doing meanwhile.
until "$bin/stet" --address "$grpc" health --ready >/dev/null 2>&1; do
  if ! kill -0 "$daemon" 2>/dev/null; then
    code=0
    wait "$daemon" || code=$?
    echo "stetd ended with exit code $code before it was ready; its last lines above say why" >&2
    exit "$code"
  fi
  sleep 0.1
done

question="Name the capital of France."
printf '\n> %s\n' "$question"
"$bin/stet" --address "$grpc" chat --temperature 0 --once "$question"

id=$(basename "$model" .gguf)
cat <<TXT

Serving $id. Try, in another terminal:

  curl http://$openai/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{"messages":[{"role":"user","content":"Name three rivers."}],"temperature":0,"max_tokens":60}'

  $bin/stet chat                          # a conversation; tokens/s at the end
  $bin/stet complete "Once upon a time"

  python3 -c "
  from openai import OpenAI
  client = OpenAI(base_url='http://$openai/v1', api_key='none')
  for part in client.chat.completions.create(model='default', stream=True,
      messages=[{'role': 'user', 'content': 'Name three rivers.'}]):
    print(part.choices[0].delta.content or '', end='', flush=True)"

TXT

if [ "${ONCE:-0}" = 1 ]; then
  stop
  exit 0
fi
echo "Ctrl-C drains and stops."
wait "$daemon"
