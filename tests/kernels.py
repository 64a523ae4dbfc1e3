"""Runs tests under the kernels of other processors: `python tests/kernels.py [--only SETTING ...] [tests/test_x.py ...]`.

Libraries choose at run time which of their kernels a processor can run, and kernels add up in different orders. So what passes here may
fail elsewhere, if a test holds two ways of computing to equal bits. Each setting makes a library take an older processor's kernels; what
is really used is asked of the library and printed, since names are mapped (OpenBLAS has one set for Haswell and Zen) and older builds
ignore them. It runs what this processor can run: nothing newer.

Conventions
    Without files all tests run; the command's exit code is 1 if a setting's tests failed. Each setting's output is below --logs.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROBE = """
import json, os
import numpy as np, scipy.linalg, numba, torch, threadpoolctl
features = np.show_config(mode="dicts")["SIMD Extensions"]
print(json.dumps({
    "openblas": sorted({one["architecture"] for one in threadpoolctl.threadpool_info() if one.get("internal_api") == "openblas"}),
    "numpy": features.get("found", []),
    "torch": torch.backends.cpu.get_cpu_capability(),
    "numba": numba.config.CPU_NAME or "the machine's",
    "threads": torch.get_num_threads(),
}))
"""
NEW = re.compile(r"AVX512|X86_V4")  # numpy's names of the instruction sets after AVX2, before and since its version 2.4
AVX2 = {
    "OPENBLAS_CORETYPE": "Haswell",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "NUMBA_CPU_NAME": "haswell",
}
SSE = {
    "OPENBLAS_CORETYPE": "Nehalem",
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "NUMBA_CPU_NAME": "nehalem",
}


def probe(environment: dict[str, str]) -> dict[str, object]:
    """Which kernels the libraries say that they use."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PROBE], capture_output=True, text=True, check=True, env=environment)
    return dict(json.loads(done.stdout))


def settings(found: list[str]) -> dict[str, dict[str, str]]:
    """What to set for each; ``found`` are numpy's names of what this processor can do."""
    new, every = " ".join(one for one in found if NEW.search(one)), " ".join(found)
    one_by_one = {
        f"openblas-{name.lower()}": {"OPENBLAS_CORETYPE": name} for name in ("Haswell", "Zen", "SkylakeX", "Sapphirerapids", "Nehalem")
    }
    return {
        "as-it-is": {},
        **one_by_one,
        "numpy-avx2": {"NPY_DISABLE_CPU_FEATURES": new},
        "numpy-baseline": {"NPY_DISABLE_CPU_FEATURES": every},
        "torch-avx2": {key: AVX2[key] for key in ("ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")},
        "torch-default": {key: SSE[key] for key in ("ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")},
        "onednn-avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "PYTEST_ADDOPTS": "-k 'not openvino'"},  # OpenVINO crashes: it believes the processor
        "numba-haswell": {"NUMBA_CPU_NAME": "haswell"},
        "threads-2": {"STEMWRIGHT_TEST_THREADS": "2"},
        "avx2": {**AVX2, "NPY_DISABLE_CPU_FEATURES": new},  # all at once: a processor of 2013 to 2017
        "sse": {**SSE, "NPY_DISABLE_CPU_FEATURES": every},  # all at once: the oldest that the libraries run on
    }


def main() -> int:
    """Runs pytest once for each setting and prints what was used and how its tests ended."""
    known = settings([str(one) for one in probe(dict(os.environ))["numpy"]])  # type: ignore[attr-defined]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", choices=known, help="one setting (repeatable); all without it")
    parser.add_argument("--logs", type=Path, default=Path(tempfile.gettempdir()) / "stemwright-test-kernels", help="where outputs go")
    parser.add_argument("tests", nargs="*", default=["tests"], help="files, as pytest takes them")
    given = parser.parse_args()
    given.logs.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in given.only or known:
        # Compiled kernels are kept apart: numba's cache tells processors apart, but not every setting.
        changed = {
            "NUMBA_CACHE_DIR": str(given.logs / f"numba-{name}"),
            "STEMWRIGHT_CACHE": str(given.logs / f"cache-{name}"),
            **known[name],
        }
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", **changed}
        log = given.logs / f"{name}.log"
        with log.open("w") as output:
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *given.tests]
            code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=environment).returncode
        used = ", ".join(
            f"{key} {value}"
            for key, value in probe({**environment, "OMP_NUM_THREADS": environment.get("STEMWRIGHT_TEST_THREADS", "1")}).items()
        )
        print(f"{name}: {log.read_text().strip().splitlines()[-1].strip('= ')}\n    {used}", flush=True)
        failed += code != 0
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
