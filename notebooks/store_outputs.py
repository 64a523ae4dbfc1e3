"""Runs the notebooks and stores their outputs in them: ``python notebooks/store_outputs.py [NOTEBOOK...]``, or ``make notebooks``.

Each runs in an empty temporary folder, which is removed with what the notebook wrote. Nothing that changes from run to run is stored: no
times, and no progress.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
HERE = Path(__file__).resolve().parent


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """A notebook as it is after a run in a folder. Raises CellExecutionError at the first cell that fails."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=600, record_timing=False, resources={"metadata": {"path": str(folder)}})
    here = str(Path(sys.executable).parent)  # where the command stemwright of this environment is
    inline = "module://matplotlib_inline.backend_inline"  # whatever MPLBACKEND says: figures belong into the notebook
    client.execute(env={**os.environ, "PATH": os.pathsep.join([here, os.environ.get("PATH", "")]), "MPLBACKEND": inline})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = _merged([output for output in cell.outputs if output.get("name") != "stderr"])
    return notebook


def _merged(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Text that was printed piece by piece in one piece, since the pieces are a matter of time; without a terminal's colours."""
    merged: list[nbformat.NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream":
            output.text = COLOUR.sub("", output.text)
            if merged and merged[-1].output_type == "stream":
                merged[-1].text += output.text
                continue
        merged.append(output)
    return merged


def main(paths: list[str]) -> None:
    """Runs notebooks, all of this folder if none is named, and writes each back with its outputs."""
    for path in [Path(each) for each in paths] or sorted(HERE.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(executed(path, Path(folder)), path)
        print(path.name)


if __name__ == "__main__":
    main(sys.argv[1:])
