"""The benches behind the page on performance: each by name, as it is run for the record on two cores in minutes."""

from dataclasses import dataclass

CENTRAL_MF, CENTRAL_TRIO = "central-mf", "central-trio"
PLACES_MF, PLACES_TRIO = "places-mf", "places-trio"
PFL, SCALE, CODECS, AGGREGATE = "pfl", "scale", "codecs", "aggregate"
CHURN, PACING, BUFFERED = "churn", "pacing", "buffered"
DEVICE_TRAINING, DEVICE_SERVICE, DEVICE_INFERENCE = "device-training", "device-service", "device-inference"
PRIVACY = "privacy"


SHORT = "--set model.members=[] --set training.rounds=30"
"""Of the codecs' runs: bytes do not depend on rounds, and quality is compared with the plain run of as many."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A bench of the record. ``words``: after ``fedrec bench``. ``minutes``: about, on two idle cores."""

    name: str
    words: str
    minutes: float


BENCHES = (
    Bench(name=CENTRAL_MF, words="central --data ml-100k --model mf --rounds 8", minutes=0.3),
    Bench(name=CENTRAL_TRIO, words="central --data ml-100k --model trio --rounds 2 --repeats 3", minutes=2),
    Bench(name=PLACES_MF, words="places --data ml-100k --model mf --rounds 3 --ray-users 200 --repeats 3", minutes=2.5),
    Bench(
        name=PLACES_TRIO, words="places --data ml-100k --model trio --rounds 2 --ray-users 50 --repeats 3", minutes=3
    ),
    Bench(name=PFL, words="pfl --rounds 3 --repeats 3", minutes=4),
    Bench(name=SCALE, words="scale --repeats 2", minutes=4),
    Bench(name=CODECS, words=f"codecs --seeds 0 --set privacy.enabled=false {SHORT}", minutes=2),
    Bench(name=AGGREGATE, words="aggregate --repeats 3", minutes=0.3),
    Bench(name=CHURN, words="churn", minutes=1),
    Bench(name=PACING, words="churn --pacing", minutes=0.2),
    Bench(name=DEVICE_TRAINING, words="device-training", minutes=1),
    Bench(name=DEVICE_SERVICE, words="device-service", minutes=0.7),
    Bench(name=DEVICE_INFERENCE, words="device-inference", minutes=0.7),
    Bench(name=PRIVACY, words="privacy", minutes=3),
)
"""In the order in which they run: about 25 minutes in all."""

LONG = (Bench(name=BUFFERED, words="buffered --seeds 0,1", minutes=12),)
"""Those that are run apart, when something of theirs was changed."""
