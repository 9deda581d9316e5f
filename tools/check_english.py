#!/usr/bin/env python3
"""Find function docstrings that do not begin with a verb, and words that this project replaces by plainer ones.

`make lint` runs it over the tracked files. A verb that it does not know yet is added to VERBS below; a word that
it refuses has its replacement beside it. Docstrings of tests need no verb in front.
"""

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# First words of function docstrings: what the function does, as an order.
VERBS = frozenset(
    """
    Accept Adapt Add Adjust Aggregate Align Allocate Allow Annotate Answer Append Apply Approximate Arrange Ask
    Assemble Assert Assign Attach Attend Average Begin Bin Bind Blend Block Bound Box Broadcast Build Cache Call
    Cast Center Centre Change Check Choose Clamp Clean Clear Clip Close Collate Collect Color Combine Compare
    Compose Compress Compute Concatenate Configure Connect Continue Convert Copy Correct Count Cover Create Crop
    Cut Deal Decide Declare Decode Define Delete Deliver Deprecate Derive Describe Detach Detect Determine
    Differentiate Distribute Divide Do Download Draw Drop Dump Embed Emit Empty Encode End Enter Escape Estimate
    Evaluate Exchange Exclude Exit Expand Explain Export Extend Extract Fail Fall Feed Fetch Fill Filter Find
    Finish Fit Flatten Flip Fold Follow Forget Format Forward Free Freeze Gather Generate Get Give Go Group
    Guard Guess Hand Handle Hash Hide Hold Hurt Identify Ignore Import Include Index Infer Initialise Initialize
    Inject Insert Inspect Install Interpolate Invert Iterate Join Judge Keep Kill Label Launch Lay Lead Leave Let
    Limit Link List Listen Load Locate Lock Log Look Lower Make Map Mark Mask Match Measure Merge Mirror Move Multiply
    Name Normalise Normalize Note Number Offer Open Order Pack Pad Paint Parse Pass Patch Perform Permute Pick
    Place Plan Plot Poll Pool Position Post Predict Prepare Print Process Produce Project Provide Prune Publish
    Put Queue Quote Raise Rank Read Rebuild Receive Recompute Record Reduce Refresh Refuse Register Relate
    Release Reload Remember Remove Rename Render Reopen Repeat Replace Reply Report Request Require Rescale
    Reserve Reset Reshape Resize Resolve Respond Restart Restore Restrict Resume Retry Return Reuse Rotate Round
    Run Sample Save Say Scale Scatter Schedule Score Search Seed Select Send Separate Serialise Serialize Serve
    Set Shade Share Shift Shorten Show Shrink Shuffle Simulate Skip Sleep Slice Smooth Snap Solve Sort Spawn
    Split Squeeze Stack Start State Step Stop Store Stream Stretch Style Subtract Sum Summarise Summarize
    Suppress Swap Switch Synchronise Synchronize Tabulate Take Tell Test Tie Time Toggle Total Touch Trace Track
    Train Transform Translate Transpose Traverse Treat Trim Truncate Try Turn Undo Unfold Unpack Update Upload
    Use Validate Verify Wait Walk Warn Watch Weigh Wrap Write Yield Zip
    """.split()
)
# First words of clauses without a subject.
HEADLESS = frozenset({"What", "Whether", "Who", "Whose", "Those"})
# Word to the one that takes its place. Patterns are searched in Python and Markdown, case ignored.
WORDS = {
    r"\banew\b": "again",
    r"\bnobody\b": "no one, or who it is",
    r"\bwhoever\b": "who it is",
    r"\bso many\b": "the number",
    r"\b(?<!leave )(?<!left )(?<!let )(?<!stand )(?!leave |left |let |stand )[a-z]+ alone\b": "only",
    # Not the names of version 0.1 that are deprecated: Picture, egtr.data.sources.Pictures, --pictures.
    r"(?<![\".-])\bpictures?\b": "image",
    r"\bdata sets?\b": "dataset",
}
# Files that quote old names or other people's words.
EXEMPT = {
    "CHANGELOG.md",
    "tests/golden/rule.py",
    "tests/tools/test_check_english.py",
    "tools/check_english.py",
}


def main(argv: list[str] | None = None) -> int:
    """Print all faults; return the exit status, 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="files to check (default: all that git tracks)")
    args = parser.parse_args(argv)
    names = args.files or subprocess.check_output(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py", "*.md"], cwd=ROOT, text=True
    ).split("\n")
    faults = [fault for name in names if name and (ROOT / name).is_file() for fault in check_file(name)]
    print(*faults, sep="\n", end="\n" if faults else "")
    plural = "" if len(faults) == 1 else "s"
    print(f"{len(faults)} sentence{plural} to rewrite" if faults else "plain English: nothing found")
    return int(bool(faults))


def check_file(name: str) -> Iterator[str]:
    """Yield ``file:line: what to change`` for each fault of a file, named relative to the root of the clone."""
    text = (ROOT / name).read_text(encoding="utf-8")
    if name.endswith(".py") and not name.startswith("tests/"):
        yield from check_docstrings(name, text)
    if name not in EXEMPT:
        if name.endswith(".py"):
            yield from check_first_words(name, text)
        for number, line in enumerate(text.splitlines(), 1):
            for pattern, better in WORDS.items():
                if found := re.search(pattern, line, re.IGNORECASE):
                    yield f"{name}:{number}: {found[0]!r}: write {better}"


def check_first_words(name: str, text: str) -> Iterator[str]:
    """Yield docstrings, of modules and classes too, and comments that are headless clauses."""
    kinds = (ast.Module, ast.ClassDef)
    # Functions of the library begin with a verb anyway.
    if name.startswith("tests/"):
        kinds += (ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, kinds):
            words = (ast.get_docstring(node) or "").split()
            if words and words[0] in HEADLESS:
                yield f"{name}:{getattr(node, 'lineno', 1)}: {' '.join(words[:4])!r}: give the sentence a subject"
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            words, line = token.string.lstrip("# ").split(), token.start[0]
            # The first line of a comment, not its continuation.
            if words and words[0] in HEADLESS and line != last + 1:
                yield f"{name}:{line}: {' '.join(words[:4])!r}: give the sentence a subject"
            last = line


def check_docstrings(name: str, text: str) -> Iterator[str]:
    """Yield the functions whose docstring does not begin with a verb; properties, which name a value, may not."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        docstring = ast.get_docstring(node)
        if docstring is None or any("property" in ast.unparse(d) for d in node.decorator_list):
            continue
        first = docstring.split(maxsplit=1)[0].rstrip(".,:;") if docstring.strip() else ""
        if first not in VERBS:
            yield f"{name}:{node.lineno}: {node.name}: the docstring begins with {first!r}; begin with a verb"


if __name__ == "__main__":
    sys.exit(main())
