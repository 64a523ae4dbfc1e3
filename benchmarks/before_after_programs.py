"""What ``before_after.py`` runs by each of two checkouts, in processes of their own, without imports from this one.

LAUNCH      the command line, which notes the bytes that it hashed and wrote, its peak memory, and which heavy libraries it imported
DATASET     opens a dataset and pickles it
EFFECTS     effects on a batch of 64 x 2 x 5 s in one thread: time, a loop over the items against it, backward against forward
"""

LAUNCH = """
import atexit, hashlib, json, sys
from pathlib import Path

hashed, note, tree = [0], sys.argv.pop(1), sys.argv.pop(1)
of_file, plain = hashlib.file_digest, hashlib.sha256

class Counting:
    def __init__(self, data=b"", **how):
        self._hash = plain(data, **how)
        hashed[0] += len(data)
    def update(self, data):
        hashed[0] += memoryview(data).nbytes
        self._hash.update(data)
    def __getattr__(self, name):
        return getattr(self._hash, name)

def counted(file, *rest, **how):
    made = of_file(file, *rest, **how)
    hashed[0] += file.tell()
    return made

def report():
    def number(file, name):
        return int(next(line for line in Path("/proc/self", file).read_text().splitlines() if line.startswith(name)).split()[1])
    found = {"hashed": hashed[0], "written": number("io", "wchar"), "peak_mb": number("status", "VmHWM") / 1024}
    found["imported"] = [name for name in ("torch", "scipy") if name in sys.modules]
    Path(note).write_text(json.dumps(found))

hashlib.sha256, hashlib.file_digest = Counting, counted
atexit.register(report)
if Path(tree, "stemwright").is_dir():
    from stemwright.datagen.cli.app import main
else:  # an older layout
    from datagen.cli import main
main()
"""
DATASET = """
import gc, json, pickle, sys, time
import stemwright as sw
sw.PairDataset
gc.collect()
def resident():
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmRSS"))
before, began = resident(), time.process_time()
rows = sw.PairDataset(sys.argv[1])
took = time.process_time() - began
print(json.dumps({"rows": len(rows), "s": took, "mb": resident() - before, "pickled": len(pickle.dumps(rows)) / 1e6}))
"""
EFFECTS = """
import json, math, sys, time
import torch
try:  # the older layout first: elsewhere an installed stemwright would be found
    from datagen.effects import EFFECTS
except ImportError:
    from stemwright.datagen.effects import EFFECTS
noise = 0.2 * torch.randn(64, 2, 5 * 44_100, generator=torch.Generator().manual_seed(0))
def least(work):
    times = []
    for _ in range(3):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)
found = {}
for name, settings in json.loads(sys.argv[1]).items():
    apply, chosen = EFFECTS[name].apply, EFFECTS[name].Settings(**settings)
    torch.set_num_threads(1)
    apply(noise[:2], 44_100, chosen)
    leaf = noise.clone().requires_grad_()
    with torch.inference_mode():
        batch = least(lambda: apply(noise, 44_100, chosen))
        loop = least(lambda: [apply(item, 44_100, chosen) for item in noise])
    back = least(lambda: torch.autograd.grad(apply(leaf, 44_100, chosen), [leaf], noise))
    found[name] = batch, loop / batch, back / batch
print(json.dumps(found))
"""
