import pytest


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Two threads of a busy machine wait for each other at every small layer; one does not."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
