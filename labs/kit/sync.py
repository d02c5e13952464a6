"""Copy the shared block of kit/amqp.py into the three scripts: `make sync`."""

import re
from pathlib import Path

HERE = Path(__file__).resolve()
SCRIPTS = "producer.py", "consumer.py", "qprocessor.py"
BLOCK = re.compile(
    r"^# ---- shared block.*?^# ---- end of the shared block$", re.MULTILINE | re.DOTALL
)


def block_of(path: Path) -> str:
    """Return the shared block of a file, with its two marker lines."""
    (block,) = BLOCK.findall(path.read_text(encoding="utf-8"))
    return block


def main() -> None:
    """Write the block into each script."""
    block = block_of(HERE.with_name("amqp.py"))
    for name in SCRIPTS:
        script = HERE.parents[2] / name
        text = script.read_text(encoding="utf-8")
        script.write_text(BLOCK.sub(lambda _: block, text), encoding="utf-8")


if __name__ == "__main__":
    main()
