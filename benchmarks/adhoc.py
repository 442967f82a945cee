import sys, tempfile, time
from pathlib import Path
import gpu_training as g
from gpu_ground import CUDA, OPTIONS, Setting, log, wait
from gpu_eight import Eight
import torch
class W:
    def __init__(self, e): self.e=e
    def step(self): self.e.together(1)
found={}; res=g.Results()
setting=Setting(OPTIONS.sizes, Path(tempfile.mkdtemp()))
g.joint(setting, found, res)
e=Eight(setting); e.together(12)
t=time.perf_counter(); e.together(1); log("one", time.perf_counter()-t)
log(g.profiled(W(e)))
