"""Harvest: a corpus through a model and its transcoder into a store of feature evidence.

`harvest(model, corpus, out)` reads in one pass with bounded memory, goes on where it was killed, and gives the same
store bit for bit whether one process did it, several, or shards that were merged (`merge`).
"""

from circuitlab.harvest.fingerprint import fingerprint
from circuitlab.harvest.merge import merge
from circuitlab.harvest.run import HarvestResult, harvest
from circuitlab.harvest.settings import HarvestSettings

__all__ = ["HarvestResult", "HarvestSettings", "fingerprint", "harvest", "merge"]
