"""docs/your-own-layer.md: what it shows runs, and its own assertions hold."""

import re
from pathlib import Path

DOCUMENT = Path(__file__).parents[3] / "docs" / "your-own-layer.md"


def test_every_program_of_the_document_runs():
    names = {"__name__": "your_own_layer"}
    for program in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL):
        exec(program, names)
    weight = names["TapedBlockDiagonal"](6, 4, groups=2).weight
    assert weight.shape == (4, 6)
    assert (weight == 0).sum() == 12
