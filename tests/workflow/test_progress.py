"""What a person sees of a run's progress."""

from io import StringIO

from lowdim.progress import BarProgress, LineProgress, SeveralProgress, duration, progress_on


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_a_log_gets_a_line_at_the_start_every_ten_seconds_and_at_the_end():
    lines, clock = [], Clock()
    progress = LineProgress(lines.append, clock)
    progress.start(4, 40, "train x")
    for _ in range(40):
        clock.now += 1
        progress.advance(1)
    progress.close()
    assert lines[0] == "train x: 4 replicas, 40 epochs in all"
    assert lines[1] == "train x: 25% done, 30 s left"
    assert lines[-1] == "train x: done in 40 s"
    assert len(lines) == 5


def test_an_interrupted_stage_says_how_far_it_came():
    lines = []
    progress = LineProgress(lines.append, Clock())
    progress.start(1, 10, "train x")
    progress.advance(3)
    progress.close()
    assert lines[-1] == "train x: 3 of 10 epochs in 0 s"


def test_closing_twice_says_the_end_once():
    lines = []
    progress = LineProgress(lines.append, Clock())
    progress.start(1, 1, "x")
    progress.advance(1)
    progress.close()
    progress.close()
    assert len(lines) == 2


def test_a_terminal_gets_a_bar_and_messages_above_it():
    stream = StringIO()
    progress = BarProgress(stream)
    progress.start(2, 10, "train x")
    progress.message("a [bold]remark[/bold]")
    progress.advance(10)
    progress.close()
    assert "a [bold]remark[/bold]" in stream.getvalue()
    assert "2/2 replicas" in stream.getvalue()


def test_a_log_file_gets_the_lines_beside_the_stream(tmp_path):
    stream, log = StringIO(), tmp_path / "train.log"
    progress = progress_on(stream, log)
    assert isinstance(progress, SeveralProgress)
    progress.message("half way")
    progress.close()
    assert stream.getvalue() == "half way\n"
    assert log.read_text().endswith(" half way\n")


def test_durations_read_as_a_person_says_them():
    said = [duration(s) for s in (7.6, 200, 7500)]
    assert said == ["8 s", "3 min 20 s", "2 h 5 min"]
