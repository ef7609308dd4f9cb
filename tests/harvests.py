"""What a harvest must find, worked out from all activations at once in float64: the oracle of the harvest's tests."""

from collections import defaultdict

import numpy as np
import torch

from circuitlab.harvest.blocks import Block, Pieces, read_block
from circuitlab.harvest.hashing import combine, prefix_hashes
from circuitlab.harvest.settings import HarvestSettings
from circuitlab.replacement import ReplacementModel


def all_pieces(model: ReplacementModel, records, settings: HarvestSettings) -> Pieces:
    block = Block(0, 0, tuple(records), "", 0)
    return read_block(model.model, block, min(settings.piece, model.model.n_ctx))


class Oracle:
    """Activations [pos, feature] of every piece run on its own; and per feature what follows from them."""

    def __init__(self, model: ReplacementModel, records, settings: HarvestSettings) -> None:
        self.model, self.settings = model, settings
        self.pieces = all_pieces(model, records, settings)
        config = model.transcoder.config
        sites = [f"blocks.{layer}.{config.input_hook}" for layer in range(config.n_layers)]
        self.activations = []
        for row in self.pieces.rows:
            seen = model.model.capture(torch.tensor([row]), sites)[1]
            layers = [model.transcoder.encode(layer, seen[site][0]) for layer, site in enumerate(sites)]
            dense = torch.cat(layers, dim=1).double().numpy()
            dense[0] = 0
            self.activations.append(dense)
        self.stacked = np.concatenate([dense[1:] for dense in self.activations])

    def contexts(self, feature: int) -> dict[tuple, list[tuple]]:
        """By tokens up to the peak: (peak activation, record, position, piece, place) of every copy."""
        found = defaultdict(list)
        for number, (row, dense) in enumerate(zip(self.pieces.rows, self.activations, strict=True)):
            along = dense[:, feature].astype(np.float32)
            if along.max() > 0:
                place = int(along.argmax())
                where = (self.pieces.record[number], self.pieces.start[number] + place)
                found[tuple(row[: place + 1])].append((along[place], *where, number, place))
        return found

    def hash(self, prefix: tuple, feature: int) -> int:
        hashed = prefix_hashes(np.array([prefix]), self.settings.seed)[0, -1:]
        return int(combine(hashed, np.array([feature]))[0])

    def examples(self, feature: int) -> list[tuple]:
        """(quantile, record, position, copies, tokens, activations, peak), as the store lists them."""
        contexts = self.contexts(feature)
        best = {prefix: max(copies, key=lambda c: (c[0], -c[1], -c[2])) for prefix, copies in contexts.items()}
        largest = self.stacked[:, feature].astype(np.float32).max()
        edge = 2.0 ** np.frexp(largest)[1] / 8
        ranges = defaultdict(set)
        for prefix, copies in contexts.items():
            for copy in copies:
                ranges[int(copy[0] // edge)].add(prefix)
        falling = sorted(best, key=lambda prefix: (-best[prefix][0], self.hash(prefix, feature)))
        top = falling[: self.settings.n_top]
        chosen = [(0, prefix) for prefix in top]
        for part in sorted(ranges, reverse=True):
            drawn = sorted(ranges[part], key=lambda prefix: self.hash(prefix, feature))[: self.settings.n_lower]
            kept = sorted((p for p in drawn if p not in top), key=lambda p: (-best[p][0], self.hash(p, feature)))
            chosen += [(1 + int(largest // edge) - part, prefix) for prefix in kept]
        return [self._example(quantile, best[p], len(contexts[p]), feature) for quantile, p in chosen]

    def _example(self, quantile: int, copy: tuple, copies: int, feature: int) -> tuple:
        _, record, position, number, place = copy
        low, high = max(place - self.settings.before, 0), place + 1 + self.settings.after
        tokens = self.pieces.rows[number][low:high]
        along = self.activations[number][low:high, feature]
        return quantile, record, position, copies, tokens, along, place - low
