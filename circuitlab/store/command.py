"""What `circuitlab features` prints of a store: as plain values for --json, and as text.

Labels and tokens come from files of others: control characters are not sent to a terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from circuitlab.evidence import Evidence, Example

if TYPE_CHECKING:
    from circuitlab.store.store import Store

N_EXAMPLES = 5
CONTEXT = 12
"""Tokens shown on either side of a peak."""


def overview(store: Store) -> dict[str, Any]:
    """What a store holds, as plain values."""
    manifest = store.manifest
    imported = manifest.transcoder.get("imported")
    active = sum(count > 0 for count in store.summary["n_active"].tolist())
    return {
        "folder": str(store.folder),
        "model": manifest.model.get("name"),
        "transcoder": manifest.transcoder.get("name"),
        "corpus": manifest.corpus,
        **({} if imported else {"tokens": manifest.n_tokens, "records": manifest.n_records}),
        "skipped": dict(manifest.skipped),
        "layers": manifest.n_layers,
        "features per layer": manifest.n_features,
        "features with a row": len(store),
        "ever active": active,
        "labelled": len(store.labels),
    }


def overview_text(found: dict[str, Any]) -> str:
    return "\n".join(f"{name:<22}{printable(value)}" for name, value in found.items() if value not in (None, "", {}))


def evidence_text(evidence: Evidence) -> str:
    """One feature in some ten lines: density, tokens, the top examples with their peaks in «»."""
    density = "unknown" if evidence.density is None else f"{evidence.density:.3%} of tokens"
    largest = "" if evidence.largest is None else f", at most {evidence.largest:.3g}"
    lines = [
        f"{evidence.name}  {printable(evidence.label)}".rstrip(),
        f"  active on   {density}{largest}",
        f"  promotes    {_tokens(evidence, 'promoted')}",
        f"  suppresses  {_tokens(evidence, 'suppressed')}",
    ]
    if evidence.examples:
        lines += ["", *(f"  {_example(example)}" for example in evidence.examples[:N_EXAMPLES])]
    else:
        lines.append(f"  {evidence.missing.get('examples', 'no examples')}")
    return "\n".join([*lines, "", f"  {printable(evidence.note)}"])


def _tokens(evidence: Evidence, part: str) -> str:
    return " ".join(printable(repr(token.token)) for token in getattr(evidence, part)[:8]) or "unknown"


def _example(example: Example) -> str:
    first, last = max(0, example.peak - CONTEXT), example.peak + CONTEXT + 1
    before, after = "".join(example.tokens[first : example.peak]), "".join(example.tokens[example.peak + 1 : last])
    peak = example.tokens[example.peak]
    copies = f"  ({example.copies} times)" if example.copies > 1 else ""
    return f"{example.activations[example.peak]:8.3g}  {printable(f'{before}«{peak}»{after}')}{copies}"


NOTHING_FOUND = "nothing found in labels and promoted tokens; --examples looks at what examples peak at, too"


def table_text(table: pd.DataFrame, nothing: str = "no such feature") -> str:
    """A table of features as text; the sentence `nothing` where it is empty."""
    if table.empty:
        return nothing
    shown = table.drop(columns=["layer", "index"]).map(
        lambda value: printable(value) if isinstance(value, str) else value
    )
    return shown.to_string(index=False, float_format="{:.4g}".format, max_colwidth=60, na_rep="")


def printable(value: Any) -> str:
    """Text without what would move a terminal's cursor or change its colours."""
    return "".join(letter if letter.isprintable() else "⏎" if letter == "\n" else "·" for letter in str(value))
