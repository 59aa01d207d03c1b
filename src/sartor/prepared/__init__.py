"""Prepared data as every stage reads it: splits of samples by index, decoded once per input size and kept on disk.

``stages.data.prepare`` writes it. Layout of ``data/<fingerprint>/`` in a workspace::

    current.json            which index is current: {"index": "index-…"}
    index-<digest>/         where the samples are; a second one appears when the same content moved elsewhere
        card.json           the DataCard
        sources.json        per source: root folder, and the pack file in this folder that holds its bytes, if any
        <split>-truths.npy  (n,) int64 of classes, float64 of numbers; or for structures:
        <split>-truths.bin, <split>-truth-ends.npy   the truths one after another, and where each ends
        <split>-spans.npy   int64 (n, 3): source, offset in the pack or -1 (a file of its own), length in bytes
        <split>-places.bin, <split>-ends.npy    where each is (file, or table and row), and where its name ends
    cache/                  prepared arrays, targets, statistics and learnt states by input size and encoding
"""

from sartor.prepared.opened import PreparedData, open_data
from sartor.prepared.placing import FORMAT, put_in_place, write_array
from sartor.prepared.samples import SampleSet
from sartor.prepared.stand_in import write_stand_in
from sartor.prepared.streams import alone, in_order, usable_threads
from sartor.prepared.truths import TYPES, Array, Kind, Truths, kind_of

__all__ = [
    "FORMAT",
    "TYPES",
    "Array",
    "Kind",
    "PreparedData",
    "SampleSet",
    "Truths",
    "alone",
    "in_order",
    "kind_of",
    "open_data",
    "put_in_place",
    "usable_threads",
    "write_array",
    "write_stand_in",
]
