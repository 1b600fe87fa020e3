"""Drain, disconnects and idle, seen from outside."""
import asyncio
import json
import random
import socket
import threading
import time

import aiohttp
import pytest



def blocks_used(daemon):
    """Blocks that live sequences hold."""
    return sum(v for k, v in daemon.metrics().items()
               if k.startswith("stet_kv_blocks{") and ('state="private"' in k or 'state="shared"' in k))


def until(condition, timeout=20):
    """Waits for a condition that another process makes true."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


async def stream_chat(session, url, max_tokens, read_events=None):
    """Returns (text, ending): 'done', 'error' or 'cut'."""
    body = {"messages": [{"role": "user", "content": "Tell me a long story."}], "max_tokens": max_tokens,
            "ignore_eos": True, "stream": True, "temperature": 0}
    text, ending = "", "cut"
    async with session.post(url + "/v1/chat/completions", json=body) as response:
        if response.status != 200:
            error = await response.json()
            return error["error"]["code"], "error"
        seen = 0
        async for line in response.content:
            if not line.startswith(b"data: "):
                continue
            data = line[6:].strip()
            if data == b"[DONE]":
                return text, "done"
            event = json.loads(data)
            if "error" in event:
                return text, "error"
            for choice in event["choices"]:
                text += choice["delta"].get("content") or ""
            seen += 1
            if read_events is not None and seen >= read_events:
                return text, "left"
    return text, ending


def test_sigterm_under_16_streams_lets_all_finish(own_daemon):
    daemon = own_daemon()

    async def run():
        async with aiohttp.ClientSession() as session:
            tasks = [asyncio.create_task(stream_chat(session, daemon.http, 60)) for _ in range(16)]
            await asyncio.to_thread(until, lambda: daemon.metric("vllm:num_requests_running") >= 16)
            daemon.process.terminate()
            return await asyncio.gather(*tasks)

    endings = asyncio.run(run())
    assert [e for _, e in endings] == ["done"] * 16
    assert len({text for text, _ in endings}) == 1, "16 equal greedy requests, one answer"
    assert daemon.process.wait(30) == 0


def test_drain_timeout_ends_streams_with_a_clear_error(own_daemon):
    daemon = own_daemon("--set", "drain.timeout_ms=300")

    async def run():
        async with aiohttp.ClientSession() as session:
            tasks = [asyncio.create_task(stream_chat(session, daemon.http, 4000)) for _ in range(4)]
            await asyncio.to_thread(until, lambda: daemon.metric("vllm:num_requests_running") >= 4)
            daemon.process.terminate()
            return await asyncio.gather(*tasks)

    assert [e for _, e in asyncio.run(run())] == ["error"] * 4
    assert daemon.process.wait(30) == 75


def test_a_dropped_client_frees_its_blocks(own_daemon):
    daemon = own_daemon("--prefix-cache", "false")
    body = json.dumps({"prompt": "Once upon a time", "max_tokens": 4000, "ignore_eos": True, "stream": True})
    host, port = daemon.http.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as s:
        s.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
        assert s.recv(100).startswith(b"HTTP/1.1 200")
        assert blocks_used(daemon) > 0
    assert until(lambda: blocks_used(daemon) == 0)
    assert daemon.stop() == 0


def test_a_thousand_random_disconnects_leave_the_cache_idle(own_daemon):
    daemon = own_daemon("--prefix-cache", "false")
    rng = random.Random(1)

    async def one(session, limit):
        async with limit:
            try:
                await asyncio.wait_for(stream_chat(session, daemon.http, 200, rng.randint(1, 4)), rng.uniform(0.001, 0.3))
            except (asyncio.TimeoutError, aiohttp.ClientError):
                pass

    async def run():
        limit = asyncio.Semaphore(32)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:
            await asyncio.gather(*(one(session, limit) for _ in range(1000)))

    asyncio.run(run())
    assert until(lambda: blocks_used(daemon) == 0)
    assert until(lambda: daemon.metric("vllm:num_requests_running") == 0)
    assert daemon.stop() == 0


def test_a_second_signal_ends_at_once(own_daemon):
    daemon = own_daemon()

    def run():
        asyncio.run(_one_long(daemon))

    thread = threading.Thread(target=run)
    thread.start()
    assert until(lambda: daemon.metric("vllm:num_requests_running") >= 1)
    daemon.process.terminate()
    daemon.wait_event("daemon.draining")
    daemon.process.terminate()
    assert daemon.process.wait(5) == 75
    thread.join()


async def _one_long(daemon):
    async with aiohttp.ClientSession() as session:
        try:
            await stream_chat(session, daemon.http, 4000)
        except aiohttp.ClientError:
            pass


@pytest.mark.parametrize("flags, code, says", [
    (["--model", "/no/such/file.gguf"], 66, "/no/such/file.gguf"),
    (["--no-such-flag"], 64, "no-such-flag"),
    ([], 78, "model"),
])
def test_exit_codes(flags, code, says):
    import subprocess
    from conftest import BIN
    free_ports = ["--grpc", "127.0.0.1:0", "--openai", "127.0.0.1:0"]
    result = subprocess.run([str(BIN / "stetd"), *flags, *free_ports], capture_output=True, text=True, timeout=20)
    assert result.returncode == code
    assert says in result.stderr
