import pytest

from nas.report_layers import group_name, layer_costs
from search_spaces.count import count
from search_spaces.lower import lower
from search_spaces.zoo import ZOO, get


@pytest.mark.parametrize("name", ZOO)
def test_layers_add_up(name):
    graph = lower(get(name), 97, 10)
    counts = count(graph)
    times = {op.name: 2.0 for op in graph.ops} | {"reorder_7": 5.0}
    costs = layer_costs(get(name), 97, 10, times)
    assert sum(cost.macs for cost in costs) == counts.macs
    assert sum(cost.params for cost in costs) == counts.params
    assert sum(cost.time_us for cost in costs) == 2.0 * len(graph.ops) + 5.0
    assert costs[0].shape == graph.ops[0].shape
    assert [costs[0].name, costs[-2].name, costs[-1].name] == ["stem", "classifier", "other"]


def test_group_names():
    names = ("b3.l2.se.pool", "b12.l1.conv", "head.conv", "stem", "batch.layer.x")
    assert [group_name(name) for name in names] == ["b3.l2", "b12.l1", "head", "stem", "batch"]
