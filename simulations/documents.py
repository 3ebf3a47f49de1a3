"""All pages that hold measured figures, each from what is stored below one folder."""

from pathlib import Path

from simulations.attacks.grid import Table
from simulations.attacks.page import read_reproductions, robustness_page
from simulations.benches.measurement import read_measurements
from simulations.benches.pages.earlier import read_earlier
from simulations.benches.pages.performance import performance_page
from simulations.benches.pages.privacy import privacy_page
from simulations.benches.plan import PRIVACY
from simulations.benches.quality.matrix import DATA
from simulations.benches.quality.page import quality_page
from simulations.benches.quality.published import read_published
from simulations.benches.quality.row import read_rows

BENCHES, EARLIER = "benches", "earlier.json"
ATTACKS, AUTHORS, QUALITY = "attacks.jsonl", "attacks-authors.jsonl", "quality.jsonl"
PUBLISHED = "quality-published.json"


def documents(stored: Path) -> dict[str, str]:
    """Return the pages by file name. ``stored``: folder of what was measured. A damaged file raises ``DataError``."""
    measured = read_measurements(stored / BENCHES)
    attacks = list(Table(stored / ATTACKS).rows().values())
    return {
        "performance.md": performance_page(measured, read_earlier(stored / EARLIER)),
        "privacy-figures.md": privacy_page(measured.get(PRIVACY)),
        "quality.md": quality_page(read_rows(stored / QUALITY), DATA, read_published(stored / PUBLISHED)),
        "robustness.md": robustness_page(attacks, read_reproductions(stored / AUTHORS)),
    }
