from nas.announcing_journal import AnnouncingJournal
from tests.nas.test_standing import failed, trial


class Kept(list):
    """A journal in memory."""


def test_listeners_hear_of_what_is_there_and_then_of_what_is_kept():
    kept, heard = Kept(), []
    journal = AnnouncingJournal(kept, [trial(0)], [heard.append, lambda told: heard.append(told in kept)])
    assert kept == []
    journal.append(failed(1, "rejected"))
    assert kept == [failed(1, "rejected")]
    assert heard == [trial(0), False, failed(1, "rejected"), True]
