import pytest

from latency.latency import Latency
from nas.netadapt.final_network import FinalNetwork, latency_in, trusted
from tests.nas.netadapt.adapt_runs import NUM_TEST, final_document, latency_of


def test_a_network_of_the_comparison():
    network = FinalNetwork.from_dict(final_document("adapted", [790, 796]))
    assert network.accuracies == {0: 790 / NUM_TEST, 1: 796 / NUM_TEST}
    assert network.mean_correct == 793
    assert network.fine_tuned_correct == 760


def test_missing_is_not_zero():
    network = FinalNetwork.from_dict(final_document("uniform", [], measured=False))
    assert (network.accuracies, network.mean_correct, network.fine_tuned_correct, network.latency) == (
        {},
        None,
        None,
        None,
    )


def test_only_latencies_with_a_value_are_trusted():
    assert trusted(None) is None
    assert trusted(Latency.failure("no")) is None
    assert trusted(latency_of(3.0)) == latency_of(3.0)
    with pytest.raises(KeyError):
        latency_in({})
