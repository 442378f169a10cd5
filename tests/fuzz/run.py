"""`make fuzz`: damaged and hostile files for every reader, and a table of how they ended.

    python tests/fuzz/run.py --mutants 100000 --seed 0
    python tests/fuzz/run.py --reader trace --keep /tmp/kept

Exit code 1 if a reader raised anything but a ParityError, crashed, took more than 10 s, or ran a file's code.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.harness import OUTCOMES, Count, fuzz, mutant
from fuzz.readers import Reader, readers


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=100_000, help="of all readers together")
    parser.add_argument("--seed", type=int, default=0, help="another seed makes other mutants")
    parser.add_argument("--reader", help="this one alone gets them all")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="write the first mutant of each fault there")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-seeds-") as folder:
        known = readers(Path(folder))
        chosen = [reader for reader in known if asked.reader in (None, reader.name)]
        if not chosen:
            parser.error(f"--reader {asked.reader}: one of {', '.join(reader.name for reader in known)}")
        total = sum(reader.share for reader in chosen)
        counts = list[tuple[Reader, Count]]()
        for reader in chosen:
            counts.append((reader, fuzz(reader, -(-asked.mutants * reader.share // total), asked.seed)))
            if sys.stderr.isatty():
                print(f"{reader.name}: {counts[-1][1].mutants}", file=sys.stderr)
    print(table([(reader.name, count) for reader, count in counts]))
    for reader, count in counts:
        for words, numbers in count.told.items():
            print(f"{reader.name}: {words}: {len(numbers)} mutants, the first {numbers[0]} of seed {asked.seed}")
            if asked.keep is not None:
                asked.keep.mkdir(parents=True, exist_ok=True)
                kept = asked.keep / f"{reader.name.replace(' ', '_')}-{numbers[0]}{reader.ending}"
                kept.write_bytes(mutant(reader, asked.seed, numbers[0]))
    return int(any(count.faults for _, count in counts))


def table(counts: list[tuple[str, Count]]) -> str:
    """Return the counts as a table in Markdown, with their sums."""
    total = Count()
    for _, count in counts:
        total.mutants += count.mutants
        total.outcomes += count.outcomes
        total.memory, total.slowest = max(total.memory, count.memory), max(total.slowest, count.slowest)
    rows = [["reader", "mutants", *OUTCOMES, "most memory gained", "slowest"]]
    for name, count in (*counts, ("all", total)):
        ends = [f"{count.outcomes[each]:,}" for each in OUTCOMES]
        rows.append([name, f"{count.mutants:,}", *ends, f"{count.memory >> 20} MB", f"{count.slowest:.1f} s"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
