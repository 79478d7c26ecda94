"""Toxiproxy's published clients drive our edge proxy: none of their calls knows that it is not Toxiproxy."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tracelab.testing.edgeproxy import EdgeProxy, Wire, is_quiet, read

pytestmark = pytest.mark.peers

PYTHON = """
import json, sys
from toxiproxy import Toxiproxy
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists
server = Toxiproxy()
server.update_api_consumer("127.0.0.1", int(sys.argv[1]))
said = {"running": server.running(), "version": server.version().decode()}
proxy = server.create(name="py", upstream=sys.argv[2], listen="127.0.0.1:0")
said["listen"] = proxy.listen
said["names"] = sorted(server.proxies())
try:
    server.create(name="py", upstream=sys.argv[2])
except ProxyExists:
    said["exists"] = True
proxy.add_toxic(type="latency", attributes={"latency": 60000})
proxy.add_toxic(name="up", stream="upstream", type="bandwidth", toxicity=0.5, attributes={"rate": 7})
try:
    proxy.add_toxic(type="none")
except InvalidToxic as wrong:
    said["invalid"] = str(wrong)
said["toxics"] = {n: [t.type, t.stream, t.toxicity, t.attributes] for n, t in proxy.toxics().items()}
proxy.destroy_toxic("up")
try:
    proxy.destroy_toxic("up")
except NotFound:
    said["not_found"] = True
with proxy.down():
    said["down"] = server.get_proxy("py").enabled
said["up"] = server.get_proxy("py").enabled
said["populated"] = [p.name for p in server.populate([
    {"name": "p1", "upstream": sys.argv[2], "listen": "127.0.0.1:0"},
    {"name": "p2", "upstream": sys.argv[2], "listen": "127.0.0.1:0", "enabled": False},
])]
server.reset()
said["after"] = {n: [p.enabled, len(p.toxics())] for n, p in server.proxies().items()}
server.destroy_all()
said["left"] = server.proxies()
print(json.dumps(said))
"""

NODE = """
const { Toxiproxy, Toxic } = require("toxiproxy-node-client");
const [port, upstream] = process.argv.slice(1);
(async () => {
  const said = {};
  const server = new Toxiproxy(`http://127.0.0.1:${port}`);
  said.version = await server.getVersion();
  let proxy = await server.createProxy({ name: "js", listen: "127.0.0.1:0", upstream });
  said.listen = proxy.listen;
  said.conflict = await server.createProxy({ name: "js", listen: "127.0.0.1:0", upstream }).catch((e) => e.message);
  const latency = await proxy.addToxic({ type: "latency", attributes: { latency: 60000, jitter: 0 } });
  const cut = { name: "cut", type: "timeout", stream: "upstream", toxicity: 0.25, attributes: { timeout: 0 } };
  await proxy.addToxic(cut);
  said.toxic = (await proxy.getToxic("cut")).toJson();
  await (await proxy.getToxic("cut")).remove();
  said.missing = await proxy.getToxic("cut").catch((e) => e.message);
  proxy = await proxy.update({ enabled: false, listen: proxy.listen, upstream });
  said.disabled = proxy.enabled;
  said.populated = Object.keys(await server.populate([{ name: "n1", listen: "127.0.0.1:0", upstream }]));
  await server.reset();
  said.all = Object.keys(await server.getAll());
  said.enabled = (await server.get("js")).enabled;
  for (const each of Object.values(await server.getAll())) await each.remove();
  said.left = Object.keys(await server.getAll());
  console.log(JSON.stringify(said));
})().catch((e) => { console.error(e); process.exit(1); });
"""


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[EdgeProxy]:
    with EdgeProxy(tmp_path / "ours.log") as proxy:
        yield proxy


def run(command: list[str], **environment: str) -> dict[str, Any]:
    """Run a client; return what it says."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}, check=False
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_the_python_client(ours: EdgeProxy, peer: Callable[[str], Path]) -> None:
    """toxiproxy-python: all that it can do."""
    folder = str(peer("toxiproxy-python"))
    said = run([sys.executable, "-c", PYTHON, str(ours.port), "127.0.0.1:9"], PYTHONPATH=folder)
    assert said.pop("listen").startswith("127.0.0.1:")
    assert "invalid toxic type" in said.pop("invalid")
    assert said == {
        "running": True,
        "version": '{"version": "2.12.0"}\n',
        "names": ["py"],
        "exists": True,
        "toxics": {
            "up": ["bandwidth", "upstream", 0.5, {"rate": 7}],
            "latency_downstream": ["latency", "downstream", 1, {"latency": 60000, "jitter": 0}],
        },
        "not_found": True,
        "down": False,
        "up": True,
        "populated": ["p1", "p2"],
        "after": {"py": [True, 0], "p1": [True, 0], "p2": [True, 0]},
        "left": {},
    }


def test_the_node_client(ours: EdgeProxy, peer: Callable[[str], Path]) -> None:
    """toxiproxy-node-client: all that it can do."""
    modules = str(peer("toxiproxy-node") / "node_modules")
    said = run(["node", "-e", NODE, str(ours.port), "127.0.0.1:9"], NODE_PATH=modules)
    assert said.pop("listen").startswith("127.0.0.1:")
    assert "409" in said.pop("conflict")
    assert "404" in said.pop("missing")
    assert "2.12.0" in str(said.pop("version"))
    assert said.pop("populated")
    assert said == {
        "toxic": {
            "name": "cut",
            "type": "timeout",
            "stream": "upstream",
            "toxicity": 0.25,
            "attributes": {"timeout": 0},
        },
        "disabled": False,
        "all": ["js", "n1"],
        "enabled": True,
        "left": [],
    }


def test_a_clients_toxic_harms(ours: EdgeProxy, peer: Callable[[str], Path]) -> None:
    """What a foreign client adds works on a connection that was there before."""
    folder = str(peer("toxiproxy-python"))
    program = (
        "import sys; from toxiproxy import Toxiproxy; s = Toxiproxy(); "
        "s.update_api_consumer('127.0.0.1', sys.argv[1]); "
        "s.get_proxy('edge').add_toxic(type='bandwidth', attributes={'rate': 0}); print('{}')"
    )
    with Wire(ours) as wire:
        client, server = wire.pair()
        server.sendall(b"before")
        assert read(client, 6) == b"before"
        run([sys.executable, "-c", program, str(ours.port)], PYTHONPATH=folder)
        server.sendall(b"after")
        assert is_quiet(client, 0.3)
