"""What is known of a cluster before anything waits for it."""

import pytest

from nas.errors import UserError
from nas.ray_cluster import check_room

MACHINES = [{"CPU": 2.0}, {"CPU": 4.0, "GPU": 1.0}, {"memory": 1e9}]


@pytest.mark.parametrize(("cpus", "gpus"), [(1, 0.0), (4, 0.0), (4, 1.0), (2, 0.25)])
def test_a_task_that_fits_somewhere(cpus, gpus):
    check_room(MACHINES, cpus, gpus)


@pytest.mark.parametrize(("cpus", "gpus", "wanted"), [(5, 0.0, "5 CPUs,"), (1, 2.0, "1 CPUs and 2 GPUs,")])
def test_a_task_that_ray_would_wait_for_without_end(cpus, gpus, wanted):
    with pytest.raises(UserError, match="no machine of the cluster has them") as error:
        check_room(MACHINES, cpus, gpus)
    assert f"a task wants {wanted}" in str(error.value)
    assert "2 and 0; 4 and 1; 0 and 0" in str(error.value)
