"""Explanations stay on the device: nothing that sends or answers imports what makes them."""

import grimp
import pytest


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("fedrec", "clients", "server", cache_dir=None)


@pytest.mark.parametrize("sender", ["fedrec.flower", "clients", "server"])
@pytest.mark.parametrize("private", ["fedrec.explanations", "fedrec.training.attention"])
def test_nothing_that_speaks_to_others_can_reach_an_explanation(sender, private, graph):
    assert graph.find_shortest_chains(importer=sender, imported=private, as_packages=True) == set()


def test_the_map_of_imports_sees_those_that_are_there(graph):
    assert graph.find_shortest_chains(importer="fedrec.cli.recommend", imported="fedrec.explanations", as_packages=True)
