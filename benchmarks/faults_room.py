"""The bars of faults: what is lost, repeated or delayed when workers, the server or the network fail."""

from __future__ import annotations

from benchmarks import faults_database, faults_recovery, faults_siege
from benchmarks.bars import Measure

MEASUREMENTS: dict[str, Measure] = {**faults_siege.MEASUREMENTS, **faults_recovery.MEASUREMENTS, **faults_database.MEASUREMENTS}
