"""The bars of faults: what is lost, repeated or delayed when workers, the server or the network fail, or the version changes."""

from __future__ import annotations

from benchmarks import faults_database, faults_recovery, faults_siege, faults_upgrade
from benchmarks.bars import Measure

MEASUREMENTS: dict[str, Measure] = {
    **faults_siege.MEASUREMENTS,
    **faults_recovery.MEASUREMENTS,
    **faults_database.MEASUREMENTS,
    **faults_upgrade.MEASUREMENTS,
}
